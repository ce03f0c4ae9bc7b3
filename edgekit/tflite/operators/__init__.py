"""What each ONNX operator becomes in TFLite; importing this package registers all of them."""

from edgekit.tflite.operators import matrix, pointwise, reduction, resizing, sampling, shaping, spatial

__all__ = ["matrix", "pointwise", "reduction", "resizing", "sampling", "shaping", "spatial"]
