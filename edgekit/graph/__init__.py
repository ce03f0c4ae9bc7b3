"""ONNX to ONNX passes, one per file. Each docstring says what it requires and what it ensures."""
