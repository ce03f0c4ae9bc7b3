"""Pass: give the image input a fixed shape.

Requires: one image input of rank 3 or 4. Ensures: every input dimension is a number, batch 1,
and the shapes of all outputs are inferred. Raises UsageError when a size is open and the user
named none, or named one that the graph cannot take.
"""

from __future__ import annotations

import onnx

from edgekit.errors import SourceError, UsageError
from edgekit.graph.view import GraphView


def fix_shapes(model: onnx.ModelProto, size: tuple[int, int] | None, name: str) -> onnx.ModelProto:
    view = GraphView(model)
    image = image_input(view, name)
    shape = view.shape(image)
    axes = spatial_axes(shape)
    fixed = list(shape)
    if len(shape) == 4:
        if shape[0] not in (-1, 1):
            raise UsageError(
                f"{name} has a fixed batch of {shape[0]}",
                "packages run one image at a time",
                "export it with batch 1 or a dynamic batch",
            )
        fixed[0] = 1
    for axis, pixels in zip(axes, size or (-1, -1)):
        if shape[axis] == -1 and pixels == -1:
            raise UsageError(
                f"The image size of {name} is open",
                f"its input {image} is {shape}",
                "say which one: --image-size 640, or --image-size HEIGHTxWIDTH",
            )
        if shape[axis] not in (-1, pixels) and pixels != -1:
            raise UsageError(
                f"{name} cannot run at {size[0]}x{size[1]}" if size else name,
                f"its input {image} is fixed at {shape[axes[0]]}x{shape[axes[1]]}",
                "leave out --image-size, or export the model again at that size",
            )
        fixed[axis] = pixels if shape[axis] == -1 else shape[axis]
    fixed = [3 if d == -1 else d for d in fixed]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for value in result.graph.input:
        if value.name == image:
            del value.type.tensor_type.shape.dim[:]
            for d in fixed:
                value.type.tensor_type.shape.dim.add().dim_value = d
    if fixed != list(shape):
        del result.graph.value_info[:]
        for value in result.graph.output:
            value.type.tensor_type.ClearField("shape")
        result = onnx.shape_inference.infer_shapes(result, data_prop=True)
    return result


def image_input(view: GraphView, name: str) -> str:
    images = [i for i in view.inputs if len(view.shape(i)) in (3, 4)]
    if len(images) != 1 or len(view.inputs) != 1:
        inputs = ", ".join(f"{i} {view.shape(i)}" for i in view.inputs) or "none"
        raise SourceError(
            f"{name} is not a detector with a single image input",
            f"its inputs: {inputs}",
            "export the detector so that the image is its only input",
        )
    return images[0]


def is_channels_last(shape: tuple[int, ...]) -> bool:
    return shape[-1] == 3 and shape[-3] != 3


def spatial_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    rank = len(shape)
    return (rank - 3, rank - 2) if is_channels_last(shape) else (rank - 2, rank - 1)
