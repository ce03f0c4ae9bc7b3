package ai.onnxruntime.genai;

/** A stub of ONNX Runtime GenAI's class. */
public final class GeneratorParams extends Handle {
    public GeneratorParams(Model model) throws GenAIException { super("genai-params", model.id); }

    public void setSearchOption(String optionName, double value) throws GenAIException {
        ask("genai-search", id, optionName, value);
    }

    public void setSearchOption(String optionName, boolean value) throws GenAIException {
        ask("genai-search", id, optionName, value);
    }
}
