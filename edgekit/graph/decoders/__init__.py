"""Pass: bring a detector's outputs to the canonical form.

Requires: fixed shapes, constants folded. Ensures: the graph's outputs are `boxes` and `scores`
(and `classes` where suppression is in the graph) as `DetectionSpec` describes; everything before
the outputs is untouched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import onnx

from edgekit.errors import UsageError
from edgekit.graph.decoders.anchors import ANCHOR_DECODERS
from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.best_class import BEST_CLASS
from edgekit.graph.decoders.outputs import as_float32, candidates_only
from edgekit.graph.decoders.queries import QUERY_DECODERS
from edgekit.graph.decoders.strides import STRIDE_DECODERS
from edgekit.graph.decoders.suppressed import SUPPRESSED_DECODERS
from edgekit.graph.decoders.tasks import check_decoded, check_metadata, check_outputs
from edgekit.graph.decoders.yolo import YOLO_DECODERS
from edgekit.graph.preparation import in_graph, prepared
from edgekit.graph.shapes import image_input, is_channels_last, spatial_axes
from edgekit.graph.view import Editor, GraphView
from edgekit.spec import DetectionSpec, ImageSpec, TensorSpec

DECODERS: dict[str, Decoder] = {
    d.name: d
    for d in (*YOLO_DECODERS, *ANCHOR_DECODERS, *STRIDE_DECODERS, *QUERY_DECODERS, BEST_CLASS, *SUPPRESSED_DECODERS)
}

_DTYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}


def canonical_outputs(
    model: onnx.ModelProto,
    name: str,
    decoder: str = "",
    labels: tuple[str, ...] = (),
    image: Mapping[str, object] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[onnx.ModelProto, DetectionSpec]:
    """See `recognised`, which gives notes as well."""
    return recognised(model, name, decoder, labels, image, metadata)[:2]


def recognised(
    model: onnx.ModelProto,
    name: str,
    decoder: str = "",
    labels: tuple[str, ...] = (),
    image: Mapping[str, object] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[onnx.ModelProto, DetectionSpec, tuple[str, ...]]:
    """`decoder` and `labels` win over what is recognised; `image` overrides the family's
    pre-processing. The notes say what was taken for granted.

    Raises SourceError for what is no detector of upright boxes, UsageError when no decoder, or more than one,
    fits the outputs."""
    check_metadata(metadata or {}, name)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    as_float32(result)
    source = image_input(GraphView(result), name)
    left_out = () if decoder else candidates_only(result, source)
    view = GraphView(result)
    shape = view.shape(source)
    rows, columns = spatial_axes(shape)
    plain = ImageSpec(shape[rows], shape[columns])
    heads = Heads(view, Editor(result), plain.height, plain.width, len(labels), plain)
    decoding = _choose(heads, decoder, name)
    usual = decoding.image.get("color", "rgb")
    settings: dict[str, Any] = {**decoding.image, **in_graph(view, source, usual), **(image or {})}
    heads.image = dataclasses.replace(plain, **settings)
    try:
        decoded = decoding.decode(heads)
    except (ValueError, IndexError, AssertionError) as error:
        raise UsageError(
            f"The outputs of {name} do not fit the decoder {decoding.name}",
            f"it reads {decoding.about}; found {_outputs(heads)}",
            _list_known(),
        ) from error
    count, classes = decoded.candidates, decoded.class_count
    if classes and labels and classes != len(labels):
        raise UsageError(
            f"{len(labels)} labels were given for {classes} classes",
            f"{name} has outputs {_outputs(heads)}",
            "pass one name for each class to --labels",
        )
    outputs = _outputs_of(decoded, heads.edit)
    spec = DetectionSpec(
        input=TensorSpec(
            source, _dtype(view, source, name), shape, ("NHWC" if is_channels_last(shape) else "NCHW")[4 - len(shape) :]
        ),
        outputs=outputs,
        image=heads.image,
        labels=labels or tuple(f"class_{i}" for i in range(classes)),
        decoder=decoding.name,
        nms_in_graph=bool(decoded.classes),
        iou_threshold=decoding.iou_threshold,
    )
    assert count != 0
    return (result, spec, (*left_out, *heads.notes, *decoded.notes, *prepared(view, decoding, spec.image, image or {})))


def _outputs_of(decoded: Decoded, edit: Editor) -> tuple[TensorSpec, ...]:
    n, c = decoded.candidates, decoded.class_count
    rows: list[tuple[str, str, tuple[int, ...], str]] = [("boxes", decoded.boxes, (1, n, 4), "BN4")]
    if decoded.classes:
        rows.append(("scores", decoded.scores, (1, n), "BN"))
        rows.append(("classes", decoded.classes, (1, n), "BN"))
    else:
        rows.append(("scores", decoded.scores, (1, c, n), "BCN"))
    edit.set_outputs([(tensor, name, shape) for name, tensor, shape, _ in rows])
    return tuple(TensorSpec(name, "float32", shape, layout) for name, _, shape, layout in rows)


def _choose(heads: Heads, decoder: str, name: str) -> Decoder:
    if decoder:
        if decoder not in DECODERS:
            raise UsageError(f"There is no decoder called {decoder}", "", _list_known())
        return DECODERS[decoder]
    check_outputs(heads, name)
    fitting = [d for d in DECODERS.values() if d.matches(heads)]
    if BEST_CLASS in fitting:  # what it writes has the shapes of what was suppressed
        fitting = [BEST_CLASS]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        check_decoded(heads, name)
    why = f"its outputs are {_outputs(heads)}"
    if fitting:
        why += f", which fits {' and '.join(d.name for d in fitting)}"
    raise UsageError(f"How {name} writes its boxes cannot be told from the graph", why, _list_known())


def _outputs(heads: Heads) -> str:
    return ", ".join(f"{n} {heads.shape(n)}" for n in heads.outputs)


def _list_known() -> str:
    rows = "\n".join(f"    {d.name:20} {d.about}" for d in DECODERS.values())
    return f"say which one with --decoder NAME (and --labels FILE):\n{rows}"


def _dtype(view: GraphView, name: str, model: str) -> str:
    kind = view.types.get(name, 0)
    if kind not in _DTYPES:
        raise UsageError(
            f"{model} takes {onnx.TensorProto.DataType.Name(kind)} images",
            "the runtime feeds float32 or uint8",
            "export it with a float32 image input",
        )
    return _DTYPES[kind]
