package ai.onnxruntime.genai;

import stub.Bridge;

/** What the stubs of ONNX Runtime GenAI share: an object that the test has, in Python. */
abstract class Handle implements AutoCloseable {
    final String id;

    Handle(String word, Object... parts) throws GenAIException { id = Bridge.text(ask(word, parts)[0]); }

    static byte[][] ask(String word, Object... parts) throws GenAIException {
        try {
            return Bridge.ask(word, parts);
        } catch (IllegalStateException e) {
            throw new GenAIException(e.getMessage());
        }
    }

    static int[] numbers(byte[] text) {
        String all = Bridge.text(text);
        return all.isEmpty() ? new int[0] : java.util.Arrays.stream(all.split(" ")).mapToInt(Integer::parseInt).toArray();
    }

    @Override
    public void close() { Bridge.ask("genai-close", id); }
}
