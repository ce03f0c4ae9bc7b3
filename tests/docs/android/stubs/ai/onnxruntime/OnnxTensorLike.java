package ai.onnxruntime;

/** A stub of ONNX Runtime's class. */
public abstract class OnnxTensorLike implements OnnxValue {
    boolean closed;

    @Override
    public synchronized void close() { closed = true; }
}
