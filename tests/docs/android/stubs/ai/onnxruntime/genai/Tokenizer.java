package ai.onnxruntime.genai;

import java.util.Objects;
import stub.Bridge;

/** A stub of ONNX Runtime GenAI's class. */
public class Tokenizer extends Handle {
    public Tokenizer(Model model) throws GenAIException { super("genai-tokenizer", model.id); }

    public Sequences encode(String string) throws GenAIException {
        return new Sequences(numbers(ask("genai-encode", id, string)[0]));
    }

    /** `templateStr` and `messages` must not be null: the real one reads them without looking, in native code. */
    public String applyChatTemplate(String templateStr, String messages, String tools, boolean addGenerationPrompt)
        throws GenAIException {
        Objects.requireNonNull(templateStr);
        Objects.requireNonNull(messages);
        return Bridge.text(ask("genai-template", id, templateStr, messages, addGenerationPrompt)[0]);
    }
}
