package ai.onnxruntime.genai;

/** A stub of ONNX Runtime GenAI's class. */
public final class Sequences implements AutoCloseable {
    private final int[] first;

    Sequences(int[] first) { this.first = first; }

    public int[] getSequence(long sequenceIndex) { return first.clone(); }

    @Override
    public void close() {}
}
