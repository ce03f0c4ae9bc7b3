package ai.onnxruntime;

import java.util.ArrayList;
import java.util.List;

/** A stub of ONNX Runtime's class. */
public final class OrtEnvironment implements AutoCloseable {
    private static final OrtEnvironment ONLY = new OrtEnvironment();
    private final List<OrtEpDevice> devices = new ArrayList<>(List.of(new OrtEpDevice("CPUExecutionProvider")));

    public static OrtEnvironment getEnvironment() { return ONLY; }

    public OrtSession createSession(String path, OrtSession.SessionOptions options) throws OrtException {
        return new OrtSession(path, options);
    }

    public OrtSession createSession(byte[] model) throws OrtException {
        return new OrtSession(model, new OrtSession.SessionOptions());
    }

    public void registerExecutionProviderLibrary(String registrationName, String libraryPath) throws OrtException {
        if (devices.size() > 1) throw new OrtException("library has already been registered");
        devices.add(new OrtEpDevice(registrationName));
    }

    public List<OrtEpDevice> getEpDevices() throws OrtException { return List.copyOf(devices); }

    @Override
    public void close() {}
}
