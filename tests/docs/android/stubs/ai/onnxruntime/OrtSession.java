package ai.onnxruntime;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import stub.Bridge;

/** A stub of ONNX Runtime's class: the session itself is opened and run by the test, in Python. */
public class OrtSession implements AutoCloseable {
    private final String id;

    OrtSession(Object model, SessionOptions options) throws OrtException {
        id = Bridge.text(call("ort-open", model, options.settings.toString())[0]);
    }

    public Result run(Map<String, ? extends OnnxTensorLike> inputs) throws OrtException {
        List<Object> parts = new ArrayList<>(List.of(id));
        for (Map.Entry<String, ? extends OnnxTensorLike> input : inputs.entrySet()) {
            OnnxTensor tensor = (OnnxTensor) input.getValue();
            if (tensor.closed) throw new IllegalStateException("the tensor " + input.getKey() + " is closed");
            String shape = LongStream.of(tensor.shape).mapToObj(String::valueOf).collect(Collectors.joining(" "));
            parts.addAll(List.of(input.getKey(), tensor.dtype, shape, tensor.bytes));
        }
        return new Result(call("ort-run", parts.toArray()));
    }

    @Override
    public void close() throws OrtException { call("ort-close", id); }

    private static byte[][] call(String word, Object... parts) throws OrtException {
        try {
            return Bridge.ask(word, parts);
        } catch (IllegalStateException e) {
            throw new OrtException(e.getMessage());
        }
    }

    /** What the session gave, until it is closed. */
    public static class Result implements AutoCloseable {
        private final Map<String, OnnxTensor> values = new LinkedHashMap<>();

        Result(byte[][] parts) {
            for (int i = 0; i < parts.length; i += 4) {
                String[] shape = Bridge.text(parts[i + 2]).split(" ");
                long[] sizes = LongStream.range(0, shape.length).map(k -> Long.parseLong(shape[(int) k])).toArray();
                values.put(Bridge.text(parts[i]), new OnnxTensor(Bridge.text(parts[i + 1]), sizes, parts[i + 3]));
            }
        }

        public Optional<OnnxValue> get(String key) { return Optional.ofNullable(values.get(key)); }

        public OnnxValue get(int index) { return new ArrayList<>(values.values()).get(index); }

        @Override
        public void close() { values.values().forEach(OnnxTensor::close); }
    }

    /** A stub of ONNX Runtime's class. */
    public static class SessionOptions implements AutoCloseable {
        final Map<String, String> settings = new TreeMap<>();

        public void setIntraOpNumThreads(int numThreads) throws OrtException { settings.put("threads", "" + numThreads); }

        public void addConfigEntry(String key, String value) throws OrtException { settings.put(key, value); }

        public void addExecutionProvider(List<OrtEpDevice> devices, Map<String, String> options) throws OrtException {
            devices.forEach(d -> settings.put("provider", d.getEpName()));
            settings.putAll(options);
        }

        @Override
        public void close() {}
    }
}
