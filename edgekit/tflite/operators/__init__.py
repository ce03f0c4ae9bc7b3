"""What each ONNX operator becomes in TFLite; importing this package registers all of them in HANDLERS."""

from edgekit.tflite.operators import activation, matrix, pointwise, reduction, resizing, sampling, shaping, spatial
from edgekit.tflite.state import HANDLERS

__all__ = ["HANDLERS", "activation", "matrix", "pointwise", "reduction", "resizing", "sampling", "shaping", "spatial"]
