package ai.onnxruntime;

/** A stub of ONNX Runtime's class. */
public class OrtException extends Exception {
    public OrtException(String message) { super(message); }
}
