package ai.onnxruntime;

/** A stub of ONNX Runtime's class. */
public final class OrtEpDevice {
    private final String name;

    OrtEpDevice(String name) { this.name = name; }

    public String getEpName() { return name; }
}
