"""The Kotlin of docs/android.md and of the files it links to, compiled against stubs and run on a JVM with real packages. No phone is in it.

Stubs (tests/docs/android/stubs) stand in for the classes of Android, ONNX Runtime, LiteRT and ONNX Runtime GenAI; their
signatures are the real ones'. What an engine computes is computed by the real library, in this process, on exactly the
bytes that Kotlin made: what comes out must be what `edgekit.runtime` gives for the same image, or the same messages.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest

from edgekit.errors import MissingError
from edgekit.runtime import Detector, image, load, load_text
from edgekit.runtime.engine import Session
from edgekit.runtime.image import Preprocessor, place, read_image
from edgekit.spec import DetectionSpec, ImageSpec, TensorSpec
from tests.conftest import Ran
from tests.data import SHAPES
from tests.docs.kotlin import APP, HARNESS, PAGE, STUBS, Array, Engines, Phone, Tools, blocks, find_tools

PHOTO = SHAPES / "eval" / "images" / "9002-0003.jpg"
QUESTION = "When does the clinic at Harrow School open?"


@pytest.fixture(scope="module")
def tools() -> Tools:
    return find_tools()


@pytest.fixture(scope="module")
def classes(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's Kotlin, the files that it links to, and the harness, compiled."""
    folder = tmp_path_factory.mktemp("kotlin")
    sources = [HARNESS, *APP.glob("*.kt")]
    for name, text in blocks().items():
        sources.append(folder / name)
        sources[-1].write_text(text, encoding="utf-8")
    tools.compile(sources, STUBS, folder / "classes")
    return folder / "classes"


Start = Callable[..., Phone]


@pytest.fixture
def start(tools: Tools, classes: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a phone whose app has these packages as assets, under the names of their folders."""
    phones = []

    def begin(*packages: Path, engines: Engines | None = None, soc: str = "") -> Phone:
        for package in packages:
            shutil.copytree(package, tmp_path / "assets" / package.name, dirs_exist_ok=True)
        phones.append(Phone(tools, classes, tmp_path / "assets", tmp_path / "files", engines or Engines(), soc))
        return phones[-1]

    yield begin
    for phone in phones:
        phone.__exit__()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime resizes as it does without OpenCV: the page's Kotlin computes the same, integer by integer."""

    def resize(pixels: Array, size: tuple[int, int]) -> Array:
        return pixels if pixels.shape[1::-1] == size else image._resize_with_numpy(pixels, *size)

    monkeypatch.setattr(image, "resize", resize)


def test_the_page_compiles(classes: Path) -> None:
    assert (classes / "ExampleKt.class").is_file() and (classes / "HarnessKt.class").is_file()


def test_the_page_leads_to_every_file() -> None:
    linked = set(re.findall(r"/samples/android/(\w+\.kt)\)", PAGE.read_text(encoding="utf-8")))
    assert linked == {path.name for path in APP.iterdir()}


def test_the_graph_that_makes_uint16_is_one_cast() -> None:
    text = (APP / "OnnxRuntimeEngine.kt").read_text(encoding="utf-8")
    (encoded,) = re.findall(r'CAST = "([^"]+)"', text)
    graph = onnx.load_from_string(base64.b64decode(encoded)).graph
    assert [n.op_type for n in graph.node] == ["Cast"] and [i.name for i in graph.input] == ["a"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT32
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT16


def prepared(phone: Phone, spec: ImageSpec, tensor: TensorSpec, pixels: Array) -> Array:
    manifest = {"input": vars(tensor), "image": vars(spec)}
    content = phone.call("prepare", json.dumps(manifest), *sides(pixels), pixels.tobytes())
    return np.frombuffer(content, tensor.dtype).reshape(tensor.shape)


def sides(pixels: Array) -> tuple[str, str]:
    return str(pixels.shape[1]), str(pixels.shape[0])


def expected(spec: ImageSpec, tensor: TensorSpec, pixels: Array) -> Array:
    buffer = np.zeros(tensor.shape, tensor.dtype)
    Preprocessor(spec, buffer, tensor)(pixels)
    return buffer


SIZES = [(300, 400), (97, 64), (1, 500), (320, 64), (720, 1280)]  # height, width
INPUTS = [  # the image, and the input as (type, scale, zero point); rows by turns NCHW and NHWC
    (ImageSpec(64, 96), ("float32", None, 0)),
    (ImageSpec(64, 96, "letterbox-topleft", 0, "bgr", (103.5, 116.3, 123.7), (57.4, 57.1, 58.4)), ("float32", None, 0)),
    (ImageSpec(96, 64, "stretch", 128, "bgr"), ("uint8", None, 0)),
    (ImageSpec(64, 96), ("int8", 0.003921568859368563, -128)),
    (ImageSpec(64, 96, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)), ("uint8", 0.0079, 127)),
    (ImageSpec(64, 96), ("uint16", 1.5259021893143654e-05, 0)),
    (ImageSpec(64, 64, "stretch", mean=(120.0, 110.0, 100.0), std=(50.0, 60.0, 70.0)), ("int16", 0.0001, -7)),
]


def input_of(spec: ImageSpec, kind: tuple[str, float | None, int], planar: bool) -> TensorSpec:
    shape = (1, 3, spec.height, spec.width) if planar else (1, spec.height, spec.width, 3)
    return TensorSpec("image", kind[0], shape, "NCHW" if planar else "NHWC", kind[1], kind[2])


def test_images_become_the_input_that_the_runtime_makes(start: Start, plain: None) -> None:
    """Bit by bit, in every type, layout, colour order and way to place an image."""
    phone, random = start(), np.random.default_rng(5)
    for turn, (spec, kind) in enumerate(INPUTS):
        for size in SIZES:
            tensor = input_of(spec, kind, planar=turn % 2 == 0)
            pixels = random.integers(0, 256, (*size, 3), np.uint8)
            np.testing.assert_array_equal(
                prepared(phone, spec, tensor, pixels), expected(spec, tensor, pixels), f"{kind} {spec} {size}"
            )


def test_images_are_within_a_grey_level_of_opencv(start: Start) -> None:
    pytest.importorskip("cv2")
    spec, pixels = ImageSpec(320, 320), read_image(PHOTO)
    tensor = input_of(spec, ("float32", None, 0), planar=True)
    apart = np.abs(prepared(start(), spec, tensor, pixels) - expected(spec, tensor, pixels)) * 255
    assert apart.max() < 1.001


class Outputs:
    """A session that gives what the test says."""

    threads, simulator = 1, ""

    def __init__(self, spec: DetectionSpec) -> None:
        self._input = np.zeros(spec.input.shape, spec.input.dtype)

    def input(self, name: str) -> Array:
        return self._input


@pytest.mark.parametrize("done", [False, True], ids=["suppressing", "suppressed in the graph"])
def test_outputs_become_the_detections_that_the_runtime_makes(start: Start, done: bool) -> None:
    """Boxes that overlap, several classes, equal scores, scores on the threshold."""
    random, count = np.random.default_rng(2), 600
    corner, side = random.integers(0, 60, (count, 2)) * 5.0, random.integers(1, 14, (count, 2)) * 5.0
    outputs = {"boxes": np.concatenate((corner, corner + side), 1)[None].astype(np.float32)}
    if done:
        outputs["scores"] = random.integers(0, 20, (1, count)).astype(np.float32) / 20
        outputs["classes"] = random.integers(0, 3, (1, count)).astype(np.float32)
    else:
        outputs["scores"] = random.integers(0, 20, (1, 3, count)).astype(np.float32) / 20
    spec = DetectionSpec(
        input_of(ImageSpec(320, 320), ("float32", None, 0), planar=True),
        tuple(TensorSpec(n, "float32", a.shape) for n, a in outputs.items()),
        ImageSpec(320, 320),
        ("ball", "cube", "cone"),
        "test",
        done,
        0.25,
        0.45,
        120,
    )
    size = (300, 401)
    boxes, scores, kinds = Detector(spec, cast(Session, Outputs(spec))).postprocess(
        outputs, place(size, spec.image), size
    )
    manifest = {
        "image": vars(spec.image),
        "labels": spec.labels,
        "nms_in_graph": done,
        "score_threshold": 0.25,
        "iou_threshold": 0.45,
        "max_detections": 120,
    }
    parts = [part for name, array in outputs.items() for part in (name, array.tobytes())]
    found = json.loads(start().call("detections", json.dumps(manifest), str(size[1]), str(size[0]), *parts))
    assert [d["label"] for d in found] == [spec.labels[k] for k in kinds]
    assert len(found) > 40
    np.testing.assert_array_equal([d["score"] for d in found], scores)
    np.testing.assert_array_equal([d["box"] for d in found], boxes)


def check_detections(phone: Phone, package: Path, simulate: bool = False) -> None:
    """The input tensor bit by bit; labels and their order; scores and boxes up to the engine's rounding."""
    pixels = read_image(PHOTO)
    found = phone.call("detect", package.name, *sides(pixels), pixels.tobytes()).decode()
    assert not found.startswith("failed"), found
    with load(package, threads=1, simulate=simulate, kind=Detector) as detector:
        wanted = detector(pixels)
        name = detector.spec.input.name
        made = phone.engines.inputs[-1][name]
        assert made.dtype == detector.spec.input.dtype
        np.testing.assert_array_equal(made, detector.session.input(name))
    detections = json.loads(found)
    assert [d["label"] for d in detections] == [d.label for d in wanted] and len(wanted) > 2
    np.testing.assert_allclose([d["score"] for d in detections], [d.score for d in wanted], atol=1e-5)
    np.testing.assert_allclose([d["box"] for d in detections], [d.box for d in wanted], atol=0.01)


@pytest.mark.slow
def test_packages_for_onnx_runtime_detect_as_the_runtime_does(
    start: Start, plain: None, packages: dict[str, Path]
) -> None:
    phone = start(*packages.values())
    for package in packages.values():
        check_detections(phone, package)
    pixels = read_image(PHOTO)
    lines = phone.call("example", packages["fp32"].name, *sides(pixels), pixels.tobytes()).decode().splitlines()
    with load(packages["fp32"], kind=Detector) as detector:
        wanted = detector(pixels)
    assert [line.rsplit(" ", 5)[0] for line in lines] == [d.label for d in wanted]
    assert all(s == {"threads": "4"} for s in phone.engines.settings)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "w8a8", "integer"])
def test_packages_for_litert_detect_as_the_runtime_does(
    start: Start, plain: None, tflite_packages: dict[str, Path], precision: str
) -> None:
    check_detections(start(tflite_packages[precision]), tflite_packages[precision])


@pytest.fixture(scope="module")
def npu_packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> dict[str, Path]:
    """The sample detector for the Snapdragon 8 Elite, by precision. Accuracy is not what these tests are about."""
    try:
        from edgekit.runtime.engines.qnn import provider, simulated

        provider()
    except MissingError as error:
        pytest.skip(str(error))
    if not simulated():
        pytest.skip("Qualcomm's compiler and simulator run on x86 Linux")
    out = tmp_path_factory.mktemp("npu")
    words = ("-t", "snapdragon-8-elite", "-p", "w8a16", "-p", "w8a8", "--simulated-images", 1, "--float-layers", 2)
    data = ("--calibration", SHAPES / "calibration", "--allow", "accuracy")
    ran = edgekit("convert", SHAPES / "shapes.safetensors", *words, *data, "-o", out, "--json")
    assert ran.code == 0, ran.err + ran.out
    return {p["precision"]: Path(p["path"]) for p in ran.json["packages"]}


def opened_by_the_simulator(content: bytes) -> Any:
    import onnxruntime as ort

    from edgekit.runtime.engines.qnn import open_context

    return open_context(ort, content, ort.SessionOptions(), "SM8750")


@pytest.mark.slow
def test_packages_for_an_npu_detect_as_the_simulator_does(
    start: Start, plain: None, npu_packages: dict[str, Path]
) -> None:
    """Inputs of uint8 and of uint16, which Java's tensors lack: a graph of one Cast makes them."""
    engines = Engines(simulate=opened_by_the_simulator)
    phone = start(*npu_packages.values(), engines=engines, soc="SM8750P")
    for precision, package in npu_packages.items():
        check_detections(phone, package, simulate=True)
        (made,) = engines.inputs[-1].values()
        assert made.dtype == {"w8a8": "uint8", "w8a16": "uint16"}[precision]
    assert engines.environment == {"ADSP_LIBRARY_PATH": "/data/app/lib/arm64"}
    npu = [s for s in engines.settings if "provider" in s]
    assert len(npu) == 2 and all(s["session.disable_cpu_ep_fallback"] == "1" for s in npu)


@pytest.mark.slow
def test_a_package_for_another_chip_is_not_opened(start: Start, npu_packages: dict[str, Path]) -> None:
    engines = Engines()
    said = start(npu_packages["w8a8"], engines=engines, soc="SM8650").call(
        "detect", npu_packages["w8a8"].name, "1", "1", b"\0\0\0"
    )
    assert said.decode() == "failed: not for SM8650, but for SM8750, SM8750P"
    assert not engines.settings


@pytest.mark.slow
def test_a_changed_file_is_not_opened(start: Start, packages: dict[str, Path], tmp_path: Path) -> None:
    changed, engines = tmp_path / "changed", Engines()
    shutil.copytree(packages["fp32"], changed)
    model = changed / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    said = start(changed, engines=engines).call("detect", "changed", "1", "1", b"\0\0\0")
    assert said.decode() == "failed: model.onnx is not the file that was packaged"
    assert not engines.settings


@pytest.fixture(scope="module")
def relief(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Path:
    """The sample's language model. GenAI's tokenizer gives other ids on a few texts, and its manifest says so."""
    pytest.importorskip("onnxruntime_genai")
    model, out = SHAPES.parent / "relief" / "model", tmp_path_factory.mktemp("relief")
    ran = edgekit("convert", model, "-t", "android-cpu", "-p", "ternary", "--launches", 0, "-o", out, "--json")
    assert ran.code == 0, ran.err + ran.out
    return Path(ran.json["packages"][0]["path"])


@pytest.mark.slow
def test_a_language_model_answers_as_the_runtime_does(start: Start, relief: Path, tmp_path: Path) -> None:
    """With ids from the app's own tokenizer, and from GenAI's where the manifest says that it will do."""
    own = tmp_path / "own"
    shutil.copytree(relief, own)
    manifest = (own / "manifest.json").read_text(encoding="utf-8")
    assert '"tokenizer": "tokenizers"' in manifest
    (own / "manifest.json").write_text(manifest.replace('"tokenizer": "tokenizers"', '"tokenizer": "genai"'), "utf-8")
    with load_text(relief, threads=1) as llm:
        wanted = llm.chat([{"role": "user", "content": QUESTION}], max_tokens=24, temperature=0)
        assert len(wanted.text) > 10
        phone = start(relief, own, engines=Engines(ids=llm.session.tokenizer.encode))
        for name, ids in ((relief.name, "other"), (own.name, "own")):
            found = json.loads(phone.call("chat", name, ids, QUESTION, "24"))
            assert found["text"] == wanted.text and found["pieces"] > 0


@pytest.mark.slow
def test_what_a_language_model_is_not_asked(start: Start, relief: Path) -> None:
    with load_text(relief, threads=1) as llm:
        phone = start(relief, engines=Engines(ids=llm.session.tokenizer.encode))
        refused = phone.call("chat", relief.name, "own", QUESTION, "24").decode()
        marked = phone.call("chat", relief.name, "other", "<|eos|>", "1").decode()
        long = phone.call("chat", relief.name, "other", "clinic " * 600, "1").decode()
    assert refused == "failed: GenAI's tokenizer gives other ids for this model: it needs tokenizers"
    assert marked == "failed: a message holds a special token, and would be read as one"
    assert long.startswith("failed: the conversation has ") and long.endswith("this package keeps 512")
