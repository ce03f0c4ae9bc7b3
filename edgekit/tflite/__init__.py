"""From the canonical ONNX graph to TensorFlow Lite flatbuffers."""
