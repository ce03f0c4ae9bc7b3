"""TFLite Model Metadata: read back by the standard's own reader, and by a small one that needs nothing."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgekit.spec import DetectionSpec, ImageSpec, TensorSpec

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import encode, packer
from flatbuffers.table import Table

from edgekit.tflite.metadata import attach_metadata
from edgekit.tflite.writer import Writer, pack, unpack

WEIGHTS = np.random.default_rng(0).random(96, np.float32)
LABELS = ("cat", "Straße", "", "two\nlines")
SPEC = DetectionSpec(
    TensorSpec("image", "float32", (1, 4, 8, 3), "NHWC"),
    (TensorSpec("boxes", "float32", (1, 24, 4), "BN4"), TensorSpec("scores", "float32", (1, 4, 24), "BCN")),
    ImageSpec(4, 8),
    LABELS,
    "test",
)
BGR = replace(SPEC, image=ImageSpec(4, 8, "stretch", color="bgr", mean=(103.5, 116.0, 124.0), std=(1.0, 57.0, -0.5)))
SUPPRESSED = replace(
    SPEC, outputs=tuple(TensorSpec(n, "float32", (1, 24)) for n in ("boxes", "scores", "classes")), nms_in_graph=True
)
GREY = replace(SPEC, input=TensorSpec("image", "float32", (1, 4, 8, 1), "NHWC"))
BYTES = replace(SPEC, input=replace(SPEC.input, dtype="uint8"), labels=())
SPECS = {"rgb": SPEC, "bgr": BGR, "suppressed": SUPPRESSED, "grey": GREY, "bytes": BYTES}


def tiny(outputs: tuple[str, ...], scale: float | None = None) -> bytes:
    """Adds WEIGHTS to its input; each output is the sum in another shape."""
    writer = Writer()
    image = writer.tensor("image", (96,), np.float32)
    total = writer.tensor("sum", (96,), np.float32)
    writer.operator("ADD", [image, writer.constant(WEIGHTS)], [total], schema.AddOptionsT())
    made = []
    for name in outputs:
        shape = (1, 24, 4) if name == "boxes" else (1, 4, 24)
        made.append(writer.tensor(name, shape, np.float32))
        sizes = writer.constant(np.array(shape, np.int32))
        writer.operator("RESHAPE", [total, sizes], [made[-1]], schema.ReshapeOptionsT())
    model = unpack(writer.finish([image], made))
    if scale is not None:
        model.subgraphs[0].tensors[image].quantization = schema.QuantizationParametersT(scale=[scale])
    model.metadata = [schema.MetadataT("min_runtime_version", len(model.buffers))]
    model.buffers.append(schema.BufferT(np.frombuffer(b"1.5.0".ljust(16, b"\0"), np.uint8)))
    return pack(model)


def model_for(spec: DetectionSpec) -> bytes:
    return tiny(tuple(reversed([o.name for o in spec.outputs])))


# The schema's tables, in its own order of fields; `|` lists an enum, `?` a union.
TABLES = {
    "ModelMetadata": "name:str description:str version:str subgraph_metadata:[SubGraphMetadata] author:str"
    " license:str associated_files:[AssociatedFile] min_parser_version:str",
    "SubGraphMetadata": "name:str description:str input_tensor_metadata:[TensorMetadata]"
    " output_tensor_metadata:[TensorMetadata]",
    "TensorMetadata": "name:str description:str dimension_names:[str] content:Content"
    " process_units:[ProcessUnit] stats:Stats associated_files:[AssociatedFile]",
    "Content": "content_properties:?FeatureProperties,ImageProperties,BoundingBoxProperties range:Range",
    "ProcessUnit": "options:?NormalizationOptions,ScoreCalibrationOptions,ScoreThresholdingOptions",
    "FeatureProperties": "",
    "ImageProperties": "color_space:|UNKNOWN,RGB,GRAYSCALE default_size:ImageSize",
    "ImageSize": "width:uint32 height:uint32",
    "BoundingBoxProperties": "index:[uint32] type:|UNKNOWN,BOUNDARIES coordinate_type:|RATIO,PIXEL",
    "Range": "min:int32 max:int32",
    "NormalizationOptions": "mean:[float32] std:[float32]",
    "ScoreThresholdingOptions": "global_score_threshold:float32",
    "Stats": "max:[float32] min:[float32]",
    "AssociatedFile": "name:str description:str type:|UNKNOWN,DESCRIPTIONS,TENSOR_AXIS_LABELS,TENSOR_VALUE_LABELS",
}


def read(data: bytes) -> dict[str, Any]:
    """A ModelMetadata flatbuffer as the standard's reader gives it in JSON."""
    assert data[4:8] == b"M001"
    return walk("ModelMetadata", Table(data, encode.Get(packer.uoffset, data, 0)))


def walk(kind: str, table: Table) -> dict[str, Any]:
    found: dict[str, Any] = {}
    slot = 0
    for field in TABLES[kind].split():
        name, what = field.split(":")
        if what[0] == "?":
            if at := table.Offset(4 + 2 * slot):
                what = what[1:].split(",")[table.Bytes[table.Pos + at] - 1]
                found[f"{name}_type"] = what
            slot += 1
        if at := table.Offset(4 + 2 * slot):
            found[name] = value(what, table, table.Pos + at)
        slot += 1
    return found


def value(what: str, table: Table, at: int) -> Any:
    if what == "str":
        return table.String(at).decode()
    if what[0] == "|":
        return what[1:].split(",")[table.Bytes[at]]
    if what[0] == "[":
        start = table.Indirect(at)
        count = encode.Get(packer.uoffset, table.Bytes, start)
        return [value(what[1:-1], table, start + 4 + 4 * i) for i in range(count)]
    if what in TABLES:
        return walk(what, Table(table.Bytes, table.Indirect(at)))
    return np.frombuffer(table.Bytes, what, 1, at)[0].item()


def metadata(model: bytes) -> dict[str, Any]:
    parts = unpack(model)
    (entry,) = [m for m in parts.metadata if m.name == b"TFLITE_METADATA"]
    return read(parts.buffers[entry.buffer].data.tobytes())


def tensors(spec: DetectionSpec, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the input, and of each output by name."""
    model = tiny(tuple(o.name for o in spec.outputs), **options)
    (graph,) = metadata(attach_metadata(model, spec, "tiny"))["subgraph_metadata"]
    (image,) = graph["input_tensor_metadata"]
    return image, {o["name"]: o for o in graph["output_tensor_metadata"]}


def test_the_model_itself_stays_as_it_was() -> None:
    model = model_for(SPEC)
    made = attach_metadata(model, SPEC, "tiny")
    before, after = unpack(model), unpack(made)
    assert [m.name for m in after.metadata] == [b"min_runtime_version", b"TFLITE_METADATA"]
    after.metadata.pop()
    after.buffers.pop()
    assert pack(after) == pack(before)
    assert made.index(WEIGHTS.tobytes()) % 16 == 0
    assert made.index(b"M001") % 16 == 4
    image = np.random.default_rng(1).random(96, np.float32)
    results = []
    for content in (model, made):
        interpreter = Interpreter(model_content=content)
        run = interpreter.get_signature_runner()
        results.append(run(image=image))
    assert results[0].keys() == results[1].keys() == {"boxes", "scores"}
    np.testing.assert_array_equal(results[1]["boxes"].ravel(), image + WEIGHTS)
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])


def test_the_same_twice() -> None:
    assert attach_metadata(model_for(SPEC), SPEC, "tiny") == attach_metadata(model_for(SPEC), SPEC, "tiny")


def test_labels_lie_open_behind_the_model_one_a_line() -> None:
    made = attach_metadata(model_for(SPEC), SPEC, "tiny")
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        (info,) = archive.infolist()
        assert archive.read("labels.txt").decode() == "cat\nStraße\nclass 2\ntwo lines"
        assert archive.testzip() is None
    assert info.compress_type == zipfile.ZIP_STORED
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert made[info.header_offset : info.header_offset + 4] == b"PK\3\4"


def test_no_labels_no_file() -> None:
    assert not zipfile.is_zipfile(io.BytesIO(attach_metadata(model_for(BYTES), BYTES, "tiny")))
    _, outputs = tensors(BYTES)
    assert "associated_files" not in outputs["scores"]


def test_the_model_is_described() -> None:
    found = metadata(attach_metadata(model_for(SPEC), SPEC, "tiny"))
    assert found["name"] == "tiny"
    assert found["min_parser_version"] == "1.0.0"
    assert re.fullmatch("[0-9a-f]{12}", found["version"])
    assert "4 classes" in found["description"]
    assert "scores from 0.25" in found["description"] and "IoU of 0.7" in found["description"]
    (graph,) = found["subgraph_metadata"]
    assert [o["name"] for o in graph["output_tensor_metadata"]] == ["scores", "boxes"]  # the model's order


def test_outputs_before_suppression() -> None:
    _, outputs = tensors(SPEC)
    assert outputs["boxes"]["content"] == {
        "content_properties_type": "BoundingBoxProperties",
        "content_properties": {"index": [0, 1, 2, 3], "type": "BOUNDARIES", "coordinate_type": "PIXEL"},
        "range": {"min": 2, "max": 2},
    }
    scores = outputs["scores"]
    assert scores["content"]["content_properties_type"] == "FeatureProperties"
    assert scores["content"]["range"] == {"min": 1, "max": 1}
    assert scores["dimension_names"] == ["batch", "class", "box"]
    assert scores["associated_files"] == [{"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}]
    assert scores["process_units"] == [
        {"options_type": "ScoreThresholdingOptions", "options": {"global_score_threshold": 0.25}}
    ]
    assert scores["stats"] == {"max": [1.0], "min": [0.0]}


def test_outputs_after_suppression() -> None:
    _, outputs = tensors(SUPPRESSED)
    assert outputs["classes"]["associated_files"] == [{"name": "labels.txt", "type": "TENSOR_VALUE_LABELS"}]
    assert "associated_files" not in outputs["scores"]
    for name in ("scores", "classes"):
        assert outputs[name]["dimension_names"] == ["batch", "box"]
        assert outputs[name]["content"]["range"] == {"min": 2, "max": 2}


def normalization(image: dict[str, Any]) -> Any:
    (unit,) = image["process_units"]
    assert unit["options_type"] == "NormalizationOptions"
    return unit["options"]["mean"], unit["options"]["std"]


def test_an_rgb_input() -> None:
    image, _ = tensors(SPEC)
    assert image["content"]["content_properties"] == {"color_space": "RGB", "default_size": {"width": 8, "height": 4}}
    assert normalization(image) == ([0, 0, 0], [255, 255, 255])
    assert image["stats"] == {"max": [1, 1, 1], "min": [0, 0, 0]}
    assert "letterbox on 114" in image["description"]


def test_a_bgr_input_is_of_unknown_colour_but_says_so() -> None:
    image, _ = tensors(BGR)
    assert "color_space" not in image["content"]["content_properties"]
    assert "BGR, stretch" in image["description"]
    assert normalization(image) == ([103.5, 116, 124], [1, 57, -0.5])
    assert image["stats"]["min"] == pytest.approx([-103.5, -116 / 57, -262])
    assert image["stats"]["max"] == pytest.approx([151.5, 139 / 57, 248])


def test_a_grey_input_has_one_channel() -> None:
    image, _ = tensors(GREY)
    assert image["content"]["content_properties"]["color_space"] == "GRAYSCALE"
    assert normalization(image) == ([0], [255])
    assert image["stats"] == {"max": [1], "min": [0]}


def test_bytes_are_normalized_only_where_the_model_quantizes() -> None:
    image, _ = tensors(BYTES)
    assert normalization(image) == ([0, 0, 0], [1, 1, 1])
    image, _ = tensors(BYTES, scale=1 / 255)
    assert normalization(image) == ([0, 0, 0], [255, 255, 255])
    assert image["stats"] == {"max": [255] * 3, "min": [0] * 3}


def test_what_is_refused() -> None:
    made = attach_metadata(model_for(SPEC), SPEC, "tiny")
    with pytest.raises(ValueError, match="metadata already"):
        attach_metadata(made, SPEC, "tiny")
    with pytest.raises(ValueError, match="outputs"):
        attach_metadata(tiny(("boxes", "other")), SPEC, "tiny")
    with pytest.raises(ValueError, match="not a TFLite model"):
        attach_metadata(b"PK\3\4 and no more", SPEC, "tiny")
