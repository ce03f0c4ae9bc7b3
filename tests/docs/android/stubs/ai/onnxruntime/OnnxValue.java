package ai.onnxruntime;

/** A stub of ONNX Runtime's class. */
public interface OnnxValue extends AutoCloseable {
    @Override
    void close();
}
