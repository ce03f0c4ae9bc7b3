"""Refuses models that are no detectors of upright boxes, by their metadata and by what their outputs hold beside
boxes.

Pose, oriented boxes and masks share their shape with detectors of other numbers of classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import SourceError
from edgekit.graph.decoders.anchors import like_yolov5, undecoded
from edgekit.graph.decoders.base import Heads
from edgekit.graph.decoders.origins import CONSTANT, INTEGER, PROBABILITY, RAW

_TASKS = {
    "pose": "key points",
    "obb": "oriented boxes",
    "segment": "masks",
    "semantic": "masks",
    "classify": "one class an image",
    "depth": "depth",
}
_OURS = frozenset({"detect", "detection", "object-detection"})  # as exporters write it
_NEXT = "edgekit converts detectors of upright boxes: export the detection model of that family"


def check_metadata(metadata: Mapping[str, str], name: str) -> None:
    """Raises SourceError where an exporter wrote another task into the file."""
    task = metadata.get("task", "").strip().lower()
    points = metadata.get("kpt_shape", "").strip()
    if task and task not in _OURS:
        what = next((v for k, v in _TASKS.items() if k in task), "something else")
        more = f", and kpt_shape {points[:40]}" if points else ""
        raise SourceError(
            f"{name} is no detector of boxes: it gives {what}", f"its metadata says task {task[:40]}{more}", _NEXT
        )
    if points and not task:
        raise SourceError(
            f"{name} is no detector of boxes: it gives key points", f"its metadata says kpt_shape {points[:40]}", _NEXT
        )


def check_outputs(heads: Heads, name: str) -> None:
    """Raises SourceError where what leaves beside boxes and probabilities shows another task."""
    if all(len(heads.shape(n)) <= 2 for n in heads.outputs) and len(heads.outputs) == 1:
        shape = heads.shape(heads.outputs[0])
        if shape and shape[-1] not in (6, 7) and (len(shape) < 2 or shape[0] in (1, -1)):
            raise SourceError(
                f"{name} is no detector of boxes: it looks like a classifier",
                f"its only output {heads.outputs[0]} {shape} is one row of numbers an image",
                _NEXT,
            )
    _check_maps(heads, name)
    masks = [n for n in heads.outputs if len(heads.shape(n)) == 4]
    for output in heads.outputs:
        parts = _beside(heads, output)
        if parts is None:
            continue
        boxes, classes, more = parts
        shape = heads.shape(output)
        reason = f"of the {boxes + classes + more} channels of {output} {shape}, {classes} come from a sigmoid and {more} after them do not"
        prototypes = [n for n in masks if heads.shape(n)[1] == more]
        if prototypes:
            what = "masks"
            reason += f", as many as {prototypes[0]} {heads.shape(prototypes[0])} has maps: coefficients of masks"
        elif more == 1:
            what, reason = "oriented boxes", f"{reason}: an angle"
        else:
            points = (
                f" ({more // 3} of three numbers)"
                if more % 3 == 0
                else f" ({more // 2} of two)"
                if more % 2 == 0
                else ""
            )
            what, reason = (
                "key points, or something else beside boxes",
                f"{reason}: key points{points}, by the look of it",
            )
        raise SourceError(f"{name} is no detector of boxes: it gives {what}", reason, _NEXT)
    if masks and len(masks) < len(heads.outputs) and len(heads.outputs) <= 5:
        rows = [n for n in heads.outputs if heads.shape(n)[-1:] in ((5,), (4,), (6,), (38,))]
        if len(masks) == 1 and rows and min(heads.shape(masks[0])[2:]) > 4:
            raise SourceError(
                f"{name} is no detector of boxes: it gives masks",
                f"beside {rows[0]} {heads.shape(rows[0])} it has an output {masks[0]} {heads.shape(masks[0])}",
                _NEXT,
            )


def _check_maps(heads: Heads, name: str) -> None:
    """Raises SourceError where all that leaves is as large as the picture, or a quarter of it: no detector's cells are."""
    shapes = {n: heads.shape(n) for n in heads.outputs}
    fine = [(-(-heads.height // s), -(-heads.width // s)) for s in (1, 2, 4) if heads.height > 4 * s]
    if not all(len(s) in (3, 4) and any(f in (s[-2:], s[-3:-1]) for f in fine) for s in shapes.values()):
        return
    shapes_text = ", ".join(f"{n} {s}" for n, s in shapes.items())
    if len(shapes) == 1:
        raise SourceError(
            f"{name} is no detector of boxes: it gives a map of the picture",
            f"its only output {shapes_text} has a number for each place: segmentation, depth or the like",
            _NEXT,
        )
    raise SourceError(
        f"{name} leaves its boxes undecoded",
        f"its outputs {shapes_text} are maps of the picture, as CenterNet's of centres and sizes are",
        "export it with its decoding, so that boxes leave in pixels or in 0..1",
    )


def _beside(heads: Heads, output: str) -> tuple[int, int, int] | None:
    """(box channels, probabilities, others after them) of an output with every candidate of a grid."""
    shape = heads.shape(output)
    if len(shape) != 3:
        return None
    if heads.strides(shape[2]) and shape[1] < shape[2]:
        axis = 1
    elif heads.strides(shape[1]) or heads.strides(shape[1], anchors=3):
        axis = 2
    else:
        return None
    kinds = heads.kinds(output, axis)
    if len(kinds) < 6 or PROBABILITY in kinds[:4] or PROBABILITY not in kinds[4:6] or INTEGER in kinds:
        return None
    first = kinds.index(PROBABILITY)
    if first == 5 and kinds[4] != CONSTANT:
        return None
    last = first
    while last < len(kinds) and kinds[last] == PROBABILITY:
        last += 1
    return (first, last - first, len(kinds) - last) if last < len(kinds) else None


def check_decoded(heads: Heads, name: str) -> None:
    """Raises SourceError where boxes are relative to anchors that are not in the graph, or straight from layers."""
    reason = undecoded(heads)
    if reason:
        raise SourceError(
            f"{name} leaves its boxes undecoded",
            f"{reason}; the anchors they are relative to are not in the graph",
            "export it with its decoding (YOLOv5's export.py does)"
            + (
                "; if it has the anchors of YOLOv5's COCO models, pass --decoder yolov5-raw, and --eval to check that"
                if like_yolov5(heads)
                else ""
            ),
        )
    pairs = [n for n in heads.outputs if len(heads.shape(n)) == 3]
    if len(heads.outputs) != 2 or len(pairs) != 2:
        return
    shapes = [heads.shape(n) for n in pairs]
    if shapes[0][1] == shapes[1][1] and all(heads.kind(n) == RAW for n in pairs) and min(s[2] for s in shapes) < 4:
        _refuse_raw(heads, name)
    boxes = [n for n, s in zip(pairs, shapes) if s[2] == 4]
    if shapes[0][1] == shapes[1][1] and len(boxes) == 1 and heads.kind(boxes[0]) == RAW:
        _refuse_raw(heads, name)


def _refuse_raw(heads: Heads, name: str) -> None:
    shapes = ", ".join(f"{n} {heads.shape(n)}" for n in heads.outputs)
    wide = [heads.shape(n)[2] for n in heads.outputs if heads.shape(n)[2] > 4]
    more = f"; {wide[0]} numbers a box are more than a box has" if wide else ""
    raise SourceError(
        f"{name} leaves its boxes undecoded",
        f"its outputs {shapes} come straight from the network's layers{more}; the anchors they are relative to are not "
        "in the graph",
        "export it with its decoding, so that boxes leave in pixels or in 0..1",
    )
