"""TFLite Model Metadata: what a .tflite says of its own input, outputs and labels.

The standard is https://ai.google.dev/edge/litert/conversion/tensorflow/metadata, its tables those of
github.com/tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs. No
maintained package has classes for them, so they are written here by slot number: fields count
from 0 in the order the schema declares them, and a union takes two, its type and its value.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.spec import DetectionSpec

if TYPE_CHECKING:
    import flatbuffers


FIELD = "TFLITE_METADATA"
LABELS = "labels.txt"
_MIN_PARSER_VERSION = "1.0.0"  # all that is written below was in the schema's first version
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3  # union ContentProperties
_NORMALIZATION, _SCORE_THRESHOLDING = 1, 3  # union ProcessUnitOptions
_AXIS_LABELS, _VALUE_LABELS = 2, 3  # enum AssociatedFileType
_UNKNOWN, _RGB, _GRAYSCALE = 0, 1, 2  # enum ColorSpaceType
_BOUNDARIES, _PIXEL = 1, 1  # enum BoundingBoxType, enum CoordinateType
_REF, _BYTE, _INT, _UINT, _FLOAT = "UOffsetTRelative", "Int8", "Int32", "Uint32", "Float32"


def attach_metadata(model: bytes, spec: DetectionSpec, name: str) -> bytes:
    """`model` with TFLite Model Metadata that says what `spec` says, and labels.txt in a zip behind it.

    `model` is a .tflite without metadata, with one input and the outputs of `spec` by name, in any
    order; ValueError otherwise. Its digest becomes the version. The same arguments give the same
    bytes. The zip is stored, not deflated: the standard's readers take the labels in place.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    from edgekit.tflite.writer import pack, unpack

    if not schema.Model.ModelBufferHasIdentifier(model, 0):
        raise ValueError("not a TFLite model")
    parts = unpack(model)
    graph, parts.metadata = parts.subgraphs[0], parts.metadata or []
    outputs = [graph.tensors[i].name.decode() for i in graph.outputs]
    if len(graph.inputs) != 1 or sorted(outputs) != sorted(o.name for o in spec.outputs):
        raise ValueError(f"the model has {len(graph.inputs)} inputs, and as outputs {outputs}")
    if any(m.name == FIELD.encode() for m in parts.metadata):
        raise ValueError("the model has metadata already")
    quantization = graph.tensors[graph.inputs[0]].quantization
    quantized = quantization is not None and quantization.scale is not None
    version = hashlib.sha256(model).hexdigest()[:12]
    described = _model_metadata(spec, name, version, outputs, quantized)
    parts.metadata.append(schema.MetadataT(FIELD, len(parts.buffers)))
    parts.buffers.append(schema.BufferT(np.frombuffer(described, np.uint8)))
    whole = io.BytesIO(pack(parts))
    if spec.labels:
        with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
            info = zipfile.ZipInfo(LABELS, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, _lines(spec.labels).encode())
    return whole.getvalue()


def _lines(labels: Sequence[str]) -> str:
    """The labels, one line a class. A blank line is filled, since readers skip it and the classes that follow
    would shift."""
    lines = (" ".join(label.splitlines()).strip() for label in labels)
    return "\n".join(line or f"class {i}" for i, line in enumerate(lines))


def _model_metadata(spec: DetectionSpec, name: str, version: str, outputs: Sequence[str], quantized: bool) -> bytes:
    """A ModelMetadata flatbuffer; `outputs` in the model's own order."""
    import flatbuffers

    b = flatbuffers.Builder(4096)
    inputs = _vector(b, _REF, [_input(b, spec, quantized)])
    described = _vector(b, _REF, [_output(b, spec, output) for output in outputs])
    graph = _table(b, (2, _REF, inputs), (3, _REF, described))
    text = f"Object detector of {len(spec.labels)} classes. Duplicates are "
    if spec.nms_in_graph:
        text += "suppressed."
    else:
        text += "not suppressed yet: keep scores from "
        text += f"{spec.score_threshold:g}, then suppress above an IoU of {spec.iou_threshold:g}."
    strings = {0: name, 1: text, 2: version, 7: _MIN_PARSER_VERSION}
    fields = [(slot, _REF, b.CreateString(value)) for slot, value in strings.items()]
    b.Finish(_table(b, *fields, (3, _REF, _vector(b, _REF, [graph]))), b"M001")
    return bytes(b.Output())


def _input(b: flatbuffers.Builder, spec: DetectionSpec, quantized: bool) -> int:
    """The image. The standard's normalization is ImageSpec's, and before any quantization.

    A plain uint8 input takes pixels as they are. There is no BGR: such an input is of unknown colour.
    """
    image, raw = spec.image, spec.input.dtype == "uint8"
    grey = dict(zip(spec.input.layout, spec.input.shape)).get("C") == 1
    count = 1 if grey else 3
    mean, std = image.mean[:count], image.std[:count]
    if raw and not quantized:
        mean, std = (0.0,) * count, (1.0,) * count
    ends = [(0.0, 255.0) if raw else sorted(((0 - m) / s, (255 - m) / s)) for m, s in zip(mean, std)]
    low, high = zip(*ends)
    color = _GRAYSCALE if grey else _RGB if image.color == "rgb" else _UNKNOWN
    text = f"{image.width} x {image.height} pixels, {spec.input.layout}, channels "
    text += f"{'grey' if grey else image.color.upper()}, {image.resize}"
    text += "" if image.resize == "stretch" else f" on {image.pad}"
    size = _table(b, (0, _UINT, image.width), (1, _UINT, image.height))
    content = _content(b, _IMAGE, _table(b, (0, _BYTE, color), (1, _REF, size)))
    options = _table(b, (0, _REF, _vector(b, _FLOAT, mean)), (1, _REF, _vector(b, _FLOAT, std)))
    unit = _table(b, (0, _BYTE, _NORMALIZATION), (1, _REF, options))
    return _tensor(b, spec.input.name, text, content, units=[unit], stats=_stats(b, low, high))


def _output(b: flatbuffers.Builder, spec: DetectionSpec, name: str) -> int:
    """`boxes`, `scores` or `classes`, each with the axes that the content of one box takes up.

    For content of a single number the schema puts the number of axes there.
    """
    if name == "boxes":
        index = _vector(b, _UINT, range(4))  # where left, top, right and bottom are
        box = _table(b, (0, _REF, index), (1, _BYTE, _BOUNDARIES), (2, _BYTE, _PIXEL))
        text = "x1 y1 x2 y2 in pixels of the input, with fractions"
        return _tensor(b, name, text, _content(b, _BOUNDING_BOX, box, 2), ("batch", "box", "side"))
    per_class = name == "scores" and not spec.nms_in_graph
    content = _content(b, _FEATURE, _table(b), 1 if per_class else 2)
    axes = ("batch", "class", "box") if per_class else ("batch", "box")
    if name == "classes":
        text, files = "class of each box, from 0", _files(b, spec, _VALUE_LABELS)
        return _tensor(b, name, text, content, axes, files=files)
    options = _table(b, (0, _FLOAT, spec.score_threshold))
    unit = _table(b, (0, _BYTE, _SCORE_THRESHOLDING), (1, _REF, options))
    text = "probability of each class in each box" if per_class else "probability of each box"
    files = _files(b, spec, _AXIS_LABELS) if per_class else ()
    return _tensor(b, name, text, content, axes, [unit], _stats(b, [0.0], [1.0]), files)


def _tensor(
    b: flatbuffers.Builder,
    name: str,
    text: str,
    content: int,
    axes: Sequence[str] = (),
    units: Sequence[int] = (),
    stats: int = 0,
    files: Sequence[int] = (),
) -> int:
    lists = {2: [b.CreateString(axis) for axis in axes], 4: units, 6: files}
    fields = [(slot, _REF, _vector(b, _REF, items)) for slot, items in lists.items() if items]
    fields += [(slot, _REF, b.CreateString(words)) for slot, words in ((0, name), (1, text))]
    return _table(b, *fields, (3, _REF, content), (5, _REF, stats))


def _content(b: flatbuffers.Builder, kind: int, properties: int, axis: int = 0) -> int:
    axes = _table(b, (0, _INT, axis), (1, _INT, axis)) if axis else 0
    return _table(b, (0, _BYTE, kind), (1, _REF, properties), (2, _REF, axes))


def _files(b: flatbuffers.Builder, spec: DetectionSpec, kind: int) -> Sequence[int]:
    return [_table(b, (0, _REF, b.CreateString(LABELS)), (2, _BYTE, kind))] if spec.labels else ()


def _stats(b: flatbuffers.Builder, low: Sequence[float], high: Sequence[float]) -> int:
    return _table(b, (0, _REF, _vector(b, _FLOAT, high)), (1, _REF, _vector(b, _FLOAT, low)))


def _vector(b: flatbuffers.Builder, kind: str, values: Sequence[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        getattr(b, f"Prepend{kind}")(value)
    return int(b.EndVector())


def _table(b: flatbuffers.Builder, *fields: tuple[int, str, float]) -> int:
    """Fields as (slot, kind, value); one that is 0, the default of all of them, is left out."""
    b.StartObject(1 + max((slot for slot, _, _ in fields), default=-1))
    for slot, kind, value in fields:
        getattr(b, f"Prepend{kind}Slot")(slot, value, 0)
    return int(b.EndObject())
