"""Changes to ONNX files: as protobuf messages, and as the graphs they hold."""

from __future__ import annotations

from typing import Any

from tests.attacks.fuzzing import raw
from tests.attacks.fuzzing.case import Random

_SIZES = (0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_LOCATIONS = (
    "../secret",
    "/etc/passwd",
    "SECRET",
    "m.onnx",
    ".",
    "",
    "link.bin",
    "a/../../secret",
    "\0",
    "x" * 5000,
    "m.data\0x",
    "~/x",
)


def mutate(random: Random, content: bytes, secret: str = "") -> tuple[bytes, bool]:
    """The file, and whether it points outside its folder."""
    if random.random() < 0.3:
        return raw.mutate(random, content, 4096), False
    import onnx

    model = onnx.ModelProto.FromString(content)
    lies = False
    for _ in range(random.choice((1, 1, 2))):
        lies |= _change(random, model, secret)
    try:
        return model.SerializeToString(), lies
    except ValueError:  # of text that no UTF-8 holds
        return raw.mutate(random, content), False


def _change(random: Random, model: Any, secret: str) -> bool:
    from onnx import TensorProto

    graph = model.graph
    node = random.choice(graph.node) if graph.node else None
    tensor = random.choice(graph.initializer) if graph.initializer else None
    value = random.choice([*graph.input, *graph.output, *graph.value_info])
    kind = random.randrange(18)
    if kind == 0 and tensor is not None:
        _set(random, tensor.dims, random.choice(_SIZES))
    elif kind == 1 and tensor is not None:
        tensor.data_type = random.choice((0, 1, 2, 7, 8, 10, 11, 16, 17, 22, 23, 99, -1))
    elif kind == 2 and tensor is not None:
        tensor.raw_data = raw.mutate(random, tensor.raw_data) if tensor.raw_data else b"x" * random.choice((1, 3, 4096))
    elif kind == 3 and tensor is not None:
        return _external(random, tensor, secret)
    elif kind == 4 and node is not None:
        node.op_type = random.choice(
            (
                "Loop",
                "If",
                "Scan",
                "Constant",
                "ConstantOfShape",
                "Teleport",
                "",
                "EPContext",
                "Expand",
                "Gemm",
                "Conv",
                "Reshape",
                "Tile",
                "Resize",
                "StringNormalizer",
                "Identity",
                "RandomNormal",
                "x" * 5000,
            )
        )
    elif kind == 5 and node is not None:
        node.domain = random.choice(("com.microsoft", "ai.onnx.ml", "\0", "x", "ai.onnx.training"))
    elif kind == 6 and node is not None and node.attribute:
        _attribute(random, random.choice(node.attribute))
    elif kind == 7 and node is not None and node.input:
        node.input[random.randrange(len(node.input))] = random.choice(
            ("", "absent", node.output[0] if node.output else "", graph.input[0].name)
        )
    elif kind == 8 and node is not None and node.output:
        node.output[0] = random.choice(
            ("", graph.input[0].name, "x" * 5000, random.choice(graph.node).output[0], "a\nb")
        )
    elif kind == 9 and graph.node:
        del graph.node[random.randrange(len(graph.node))]
    elif kind == 10 and node is not None:
        graph.node.append(node)
    elif kind == 11:
        dimensions = value.type.tensor_type.shape.dim
        _shape(random, dimensions)
    elif kind == 12:
        value.type.tensor_type.elem_type = random.choice((0, 2, 7, 8, 10, 99))
    elif kind == 13:
        model.opset_import[0].version = random.choice((0, 1, 7, 99, -1, 2**40))
    elif kind == 14:
        model.ir_version = random.choice((0, 1, 3, 99, -1, 2**40))
    elif kind == 15:
        for key in ("names", "stride", "task", "imgsz"):
            model.metadata_props.add(
                key=key,
                value=random.choice(
                    (
                        "{0: 'a'}",
                        "{" * 3000,
                        "9" * 5000,
                        "[nan]",
                        "__import__('os').system('x')",
                        "{0: {}}",
                        "",
                        "\0",
                        "[-1, 1e999]",
                        "{1e15: 'a'}",
                        "{-1: 'a'}",
                    )
                ),
            )
    elif kind == 16:
        inner: Any = node
        for _ in range(random.choice((3, 90))) if inner is not None else ():
            attribute = inner.attribute.add(name="body", type=5)
            inner = attribute.g.node.add(op_type="If", input=["x"], output=["y"])
    else:
        if tensor is not None:
            tensor.name = random.choice(("", "\0", graph.input[0].name, "x" * 5000, "../x"))
        value.name = random.choice((value.name, "", "a b", "\x1b[31m", value.name + "\n"))
        if random.random() < 0.3:
            graph.input.add().CopyFrom(value)
        if random.random() < 0.2:
            graph.sparse_initializer.add().values.data_type = TensorProto.FLOAT
    return False


def _set(random: Random, repeated: Any, value: int) -> None:
    if len(repeated) and random.random() < 0.7:
        repeated[random.randrange(len(repeated))] = max(min(value, 2**63 - 1), -(2**63))
    else:
        repeated.append(max(min(value, 2**63 - 1), -(2**63)))


def _external(random: Random, tensor: Any, secret: str) -> bool:
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    location = random.choice(_LOCATIONS).replace("SECRET", secret)
    tensor.external_data.add(key="location", value=location)
    for key in ("offset", "length"):
        if random.random() < 0.5:
            tensor.external_data.add(key=key, value=random.choice(("0", "-1", "4", "1e9", str(2**62), "x", "9" * 400)))
    return location.startswith(("../", "/")) or location in ("link.bin", "a/../../secret")


def _attribute(random: Random, attribute: Any) -> None:
    match random.randrange(6):
        case 0:
            attribute.type = random.choice((0, 1, 2, 3, 4, 5, 7, 99))
        case 1:
            attribute.i = random.choice(_SIZES)
        case 2:
            _set(random, attribute.ints, random.choice(_SIZES))
        case 3:
            attribute.ClearField("ints")
        case 4:
            attribute.name = random.choice(("", "x", "axis", "pads", "value"))
        case 5:
            attribute.s = random.choice((b"\xff\xfe", b"", b"x" * 5000, b"SAME_UPPER", b"NOTSET"))
            attribute.f = float("nan")


def _shape(random: Random, dimensions: Any) -> None:
    if len(dimensions) and random.random() < 0.8:
        at = dimensions[random.randrange(len(dimensions))]
        if random.random() < 0.3:
            at.dim_param = random.choice(("batch", "", "\0", "x" * 5000))
        else:
            at.dim_value = random.choice(_SIZES)
    elif random.random() < 0.5:
        dimensions.add().dim_value = 1
    else:
        del dimensions[:]
