package ai.onnxruntime.genai;

/** A stub of ONNX Runtime GenAI's class. */
public final class Model extends Handle {
    public Model(Config config) throws GenAIException { super("genai-model", config.id); }
}
