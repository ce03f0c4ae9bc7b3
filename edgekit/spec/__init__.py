"""What a model is, in plain data: tensors, image pre-processing, detection post-processing, text.

Frozen dataclasses that turn into plain JSON and back. Both halves of edgekit read them: the conversion writes them
into the manifest, the runtime follows them. Standard library only.
"""

from edgekit.spec.detection import DetectionSpec
from edgekit.spec.graph import GraphSpec, graph_of
from edgekit.spec.lookup import ModelSpec, read_spec, spec_as
from edgekit.spec.plain import from_json, to_json
from edgekit.spec.text import Sampling, TextSpec
from edgekit.spec.values import ImageSpec, Precision, TensorSpec

__all__ = [
    "DetectionSpec",
    "GraphSpec",
    "ImageSpec",
    "ModelSpec",
    "Precision",
    "Sampling",
    "TensorSpec",
    "TextSpec",
    "from_json",
    "graph_of",
    "read_spec",
    "spec_as",
    "to_json",
]
