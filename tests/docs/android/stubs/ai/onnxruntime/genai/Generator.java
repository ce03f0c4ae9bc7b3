package ai.onnxruntime.genai;

import stub.Bridge;

/** A stub of ONNX Runtime GenAI's class. */
public final class Generator extends Handle {
    public Generator(Model model, GeneratorParams generatorParams) throws GenAIException {
        super("genai-generator", model.id, generatorParams.id);
    }

    public boolean isDone() { return Bridge.text(Bridge.ask("genai-done", id)[0]).equals("true"); }

    public void appendTokens(int[] inputIDs) throws GenAIException {
        ask("genai-append", id, java.util.Arrays.stream(inputIDs).mapToObj(String::valueOf)
            .collect(java.util.stream.Collectors.joining(" ")));
    }

    public void generateNextToken() throws GenAIException { ask("genai-next", id); }

    /** All tokens so far. A token that ends the text is not among them. */
    public int[] getSequence(long sequenceIndex) throws GenAIException {
        return numbers(ask("genai-sequence", id)[0]);
    }
}
