package org.tensorflow.lite;

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Map;
import stub.Bridge;

/** A stub of LiteRT's class: the interpreter itself is opened and run by the test, in Python. */
public final class Interpreter implements AutoCloseable {
    private final String id;
    private final String[] outputs;

    /** A stub of LiteRT's class. */
    public static class Options {
        private int threads = -1;

        public Options setNumThreads(int numThreads) {
            threads = numThreads;
            return this;
        }
    }

    public Interpreter(File modelFile, Options options) {
        byte[][] answer = Bridge.ask("lite-open", modelFile.getAbsolutePath(), options.threads);
        id = Bridge.text(answer[0]);
        outputs = new String[answer.length - 1];
        for (int i = 0; i < outputs.length; i++) outputs[i] = Bridge.text(answer[i + 1]);
    }

    public int getOutputIndex(String opName) {
        for (int i = 0; i < outputs.length; i++) if (outputs[i].equals(opName)) return i;
        throw new IllegalArgumentException("'" + opName + "' is not a valid name for any output.");
    }

    public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
        byte[][] answer = Bridge.ask("lite-run", id, bytes((ByteBuffer) inputs[0]));
        outputs.forEach((index, output) -> ((ByteBuffer) output).put(answer[index])); // from where it stands, as the real one
    }

    /** The real one takes a buffer's rest, and copies of others than direct ones in native order go wrong. */
    private static byte[] bytes(ByteBuffer input) {
        if (!input.isDirect() || input.order() != ByteOrder.nativeOrder() || input.position() != 0)
            throw new IllegalArgumentException("not a direct buffer in native order, at its start");
        return Bridge.bytes(input);
    }

    @Override
    public void close() { Bridge.ask("lite-close", id); }
}
