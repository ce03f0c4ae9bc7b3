package ai.onnxruntime.genai;

/** A stub of ONNX Runtime GenAI's class. */
public class GenAIException extends Exception {
    GenAIException(String message) { super(message); }
}
