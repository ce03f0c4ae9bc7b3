package ai.onnxruntime.genai;

import stub.Bridge;

/** A stub of ONNX Runtime GenAI's class. */
public final class Config extends Handle {
    public Config(String modelPath) throws GenAIException { super("genai-config", modelPath); }

    public void overlay(String json) { Bridge.ask("genai-overlay", id, json); }
}
