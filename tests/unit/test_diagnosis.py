"""The checks of `edgekit doctor --package`, shown machines that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit import diagnosis
from edgekit.diagnosis import Check, Machine, State, engine, snapdragon
from edgekit.diagnosis.versions import Context, context_of
from edgekit.errors import UsageError
from edgekit.package import EngineRequirement, Manifest, Package, write_package
from edgekit.spec import DetectionSpec, ImageSpec, Precision, TensorSpec, TextSpec
from edgekit.target import find_target

ELITE = "SM8750"
INFO = "ep_compatibility_info.QNNExecutionProvider"


def model(info: str = "v2:6:2.51.0:5.51.0:79:69:0:0", bulk: int = 100_000) -> bytes:
    """An .onnx with a large attribute, as a context is, and this metadata."""
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("EPContext", [], ["boxes"], domain="com.microsoft")
    node.attribute.append(onnx.helper.make_attribute("ep_cache_context", b"\x72\x0a" * (bulk // 2)))
    graph = onnx.helper.make_graph([node], "g", [], [])
    made = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(made, {"other": "x" * 5000, **({INFO: info} if info else {})})
    return made.SerializeToString()


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a package that says it is for a Snapdragon; returns its folder."""

    def write(
        chips: tuple[str, ...] = (ELITE,),
        precision: Precision = Precision.FP16,
        name: str = "qnn",
        versions: str = ">=2,<3",
        info: str | None = None,
        qairt: str = "2.51.0",
        dtype: str = "float32",
    ) -> Path:
        ending = {"litert": "tflite", "qnn-dlc": "dlc"}.get(name, "onnx")
        files = {f"model-{c}.{ending}": model() if info is None else model(info) for c in chips}
        spec = DetectionSpec(
            TensorSpec("image", dtype, (1, 32, 32, 3), "NHWC", None if dtype == "float32" else 1e-5),
            (TensorSpec("boxes", "float32", (1, 4, 4)), TensorSpec("scores", "float32", (1, 2, 4))),
            ImageSpec(32, 32),
            ("a", "b"),
            "yolov9",
        )
        needed = EngineRequirement(name, versions, next(iter(files)), dict(zip(chips, files)))
        manifest = Manifest("p", "t", precision, needed, spec, {}, {"versions": {"QAIRT": qairt}})
        return write_package(tmp_path / "p", manifest, files, {"measurements": []}).folder

    return write


@pytest.fixture
def text(tmp_path: Path) -> Callable[..., Path]:
    """Writes a language model in graphs for chips of Snapdragons; returns its folder."""

    def write(*chips: str, info: str = "v2:6:2.51.0:5.51.0:79:69:0:0") -> Path:
        tokens = {f"{c}/token-0.onnx": model(info) for c in chips}
        files = {**tokens, "tokens.bin": b"", "tokenizer.json": b"{}"}
        spec = TextSpec("llama", 320, 64, 64, 1000, (2,))
        needed = EngineRequirement("qnn-text", ">=2,<3", next(iter(tokens)), dict(zip(chips, tokens)))
        manifest = Manifest("p", "t", Precision.W4, needed, spec, {}, {})
        return write_package(tmp_path / "text", manifest, files, {"measurements": []}).folder

    return write


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    """A machine with a Snapdragon where all is well: its /dev, its libraries, its wheel's folder."""
    wheel = tmp_path / "onnxruntime_qnn"
    (tmp_path / "root/dev").mkdir(parents=True)
    (tmp_path / "root/dev/fastrpc-cdsp").touch()
    wheel.mkdir()
    for version in (73, 79):
        for name in (f"libQnnHtpV{version}Skel.so", f"libQnnHtpV{version}Stub.so", f"QnnHtpV{version}Stub.dll"):
            (wheel / name).touch()
    monkeypatch.setattr(snapdragon, "_own_folder", lambda: [wheel])
    monkeypatch.setattr(snapdragon, "_loads", lambda name: True)
    monkeypatch.setattr(snapdragon, "compiler", lambda: "QAIRT 2.51.0")
    monkeypatch.setattr(engine, "trial", lambda package, simulate: Check("one image", State.OK, "ran"))

    def machine(soc: str = ELITE, system: str = "Linux", architecture: str = "aarch64", **environment: str) -> Machine:
        return Machine(system, architecture, soc, tmp_path / "root", environment)

    return machine


def rows(package: Path, machine: Machine, device: str = "local") -> dict[str, Check]:
    return {c.name: c for c in diagnosis.examine(package, device, machine)}


def states(found: dict[str, Check]) -> dict[str, str]:
    return {name: c.state.value for name, c in found.items()}


def test_what_a_context_says_of_its_compiler() -> None:
    assert context_of(model()) == Context("2.51.0", 79)
    assert context_of(model("v2:6:2.51.0:5.51.0:0:113:0:0")) == Context("2.51.0", 0)
    for says_nothing in (b"", b"\xff" * 64, model(""), model("v3:6:2.51.0"), model("v2:6:x:y:z:1")):
        assert context_of(says_nothing) is None


def test_no_damage_to_a_model_does_more_than_hide_what_it_says() -> None:
    whole = model(bulk=64)
    for cut in range(0, len(whole), 7):
        assert context_of(whole[:cut]) is None or cut > len(whole) - 7
        context_of(whole[:cut] + b"\xff" * 16 + whole[cut:])


def test_all_is_well_on_the_device(make: Make, phone: Callable[..., Machine]) -> None:
    pytest.importorskip("onnxruntime_qnn")
    found = states(rows(make(), phone()))
    unknown = [n for n, state in found.items() if state != "ok"]
    assert unknown == ["driver version", "Android app"]  # which nothing on the device tells
    assert found["one image"] == "ok"


def test_the_context_is_newer_than_the_device(make: Make, phone: Callable[..., Machine]) -> None:
    found = rows(make(info="v2:6:2.60.0:5.60.0:79:69:0:0"), phone())["QAIRT"]
    assert found.state is State.PROBLEM and "2.60.0" in found.found and "2.51.0" in found.found
    assert rows(make(info="v2:6:2.9.0:5.9.0:79:69:0:0"), phone())["QAIRT"].state is State.OK


def test_the_manifest_stands_in_for_a_context_that_says_nothing(make: Make, phone: Callable[..., Machine]) -> None:
    assert rows(make(info="", qairt="2.52.0"), phone())["QAIRT"].state is State.PROBLEM
    assert rows(make(info="", qairt=""), phone())["QAIRT"].state is State.UNKNOWN


def test_another_chip(make: Make, phone: Callable[..., Machine]) -> None:
    elite = make()
    assert rows(elite, phone(soc="SM8550"))["chip"].state is State.PROBLEM  # v79 on v73
    assert rows(elite, phone(soc="SM8850"))["chip"].state is State.UNKNOWN  # v79 on v81
    assert rows(elite, phone(soc="SM9999"))["chip"].state is State.UNKNOWN
    several = make(chips=(ELITE, "SM8550"))
    assert rows(several, phone(soc="SM8650"))["chip"].state is State.PROBLEM
    assert rows(several, phone(soc="SM8550"))["chip"].state is State.OK


@pytest.mark.parametrize(
    ("system", "architecture", "state", "text"),
    [
        ("Linux", "x86_64", "problem", "only the simulator"),
        ("Linux", "aarch64", "cannot tell", "does not name its chip"),
        ("Darwin", "arm64", "problem", "no Snapdragon here"),
        ("Windows", "amd64", "problem", "no Snapdragon here"),
    ],
)
def test_no_snapdragon(
    make: Make, phone: Callable[..., Machine], system: str, architecture: str, state: str, text: str
) -> None:
    found = rows(make(), phone("", system, architecture))
    assert (found["chip"].state, text in found["chip"].found) == (state, True)
    assert ("NPU libraries" in found) == (architecture == "aarch64")


def test_npu_libraries(make: Make, phone: Callable[..., Machine], tmp_path: Path) -> None:
    package, wheel = make(), tmp_path / "onnxruntime_qnn"
    (wheel / "libQnnHtpV79Skel.so").unlink()
    found = rows(package, phone())["NPU libraries"]
    assert found.state is State.PROBLEM and found.found.startswith("libQnnHtpV79Skel.so not in")
    other = tmp_path / "other"
    other.mkdir()
    (other / "libQnnHtpV79Skel.so").touch()
    assert rows(package, phone(ADSP_LIBRARY_PATH=f"{other};"))["NPU libraries"].state is State.OK
    newest = find_target("snapdragon-8-elite-gen-6").chips[0]
    gone = rows(make(chips=(newest.soc,)), phone(soc=newest.soc))["NPU libraries"]
    assert gone.state is State.PROBLEM and f"V{newest.htp}Stub" in gone.found


def test_libraries_on_windows(make: Make, phone: Callable[..., Machine]) -> None:
    found = rows(make(chips=("SC8380XP",)), phone("X1E80100", "Windows", "arm64"))
    assert found["NPU libraries"].state is State.OK  # v73: a .dll and the DSP's .so
    assert found["NPU driver"].state is State.UNKNOWN and "ADSP_LIBRARY_PATH" not in found


def test_the_search_path_of_the_dsp(make: Make, phone: Callable[..., Machine], tmp_path: Path) -> None:
    package = make()
    assert "not set" in rows(package, phone())["ADSP_LIBRARY_PATH"].found
    gone = rows(package, phone(ADSP_LIBRARY_PATH="/gone;/too"))["ADSP_LIBRARY_PATH"]
    assert gone.state is State.PROBLEM and "/gone, /too" in gone.found
    (tmp_path / "empty").mkdir()
    empty = rows(package, phone(ADSP_LIBRARY_PATH=str(tmp_path / "empty")))["ADSP_LIBRARY_PATH"]
    assert empty.state is State.PROBLEM and "libQnnHtpV79Skel.so" in empty.found
    both = f"{tmp_path / 'empty'};{tmp_path / 'onnxruntime_qnn'}"
    assert rows(package, phone(ADSP_LIBRARY_PATH=both))["ADSP_LIBRARY_PATH"].state is State.OK


def test_the_driver(make: Make, phone: Callable[..., Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, root = make(), tmp_path / "root"
    (root / "sys/devices/soc0").mkdir(parents=True)
    (root / "sys/devices/soc0/images").write_text("0:\n\tCRM: 00:BOOT\n12:\n\tCDSP.HT.3.2-00123\n", encoding="utf-8")
    assert "CDSP.HT.3.2-00123" in rows(package, phone())["driver version"].found
    monkeypatch.setattr(snapdragon, "_loads", lambda name: False)
    assert "libcdsprpc.so does not load" in rows(package, phone())["NPU driver"].found
    monkeypatch.setattr(snapdragon.os, "access", lambda path, mode: False)
    assert "not readable by you" in rows(package, phone())["NPU driver"].found
    (root / "dev/fastrpc-cdsp").unlink()
    assert rows(package, phone())["NPU driver"].state is State.PROBLEM


def test_floating_point_where_there_is_none(make: Make, phone: Callable[..., Machine]) -> None:
    assert rows(make(chips=("QCS6490",)), phone("QCS6490"))["precision"].state is State.PROBLEM
    assert rows(make(), phone("QCM6490"))["precision"].state is State.PROBLEM  # this machine's NPU
    assert rows(make(chips=("SM9999",)), phone("SM9999"))["precision"].state is State.UNKNOWN
    w8a8 = make(chips=("QCS6490",), precision=Precision.W8A8)
    assert rows(w8a8, phone("QCS6490"))["precision"].state is State.OK


def test_the_library_of_the_engine(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def have(**versions: str) -> None:
        monkeypatch.setattr(engine, "installed", lambda name: versions.get(name.replace("-", "_"), ""))

    def row(**changed: Any) -> Check:
        return engine.library(Package(make(**changed)).manifest.engine)

    monkeypatch.setattr(engine, "requires", lambda name: ["numpy>=1.21.6", "onnxruntime>=1.24.2"])
    have(onnxruntime_qnn="2.7.0", onnxruntime="1.32.0")
    assert row().state is State.OK
    have(onnxruntime_qnn="2.7.0", onnxruntime="1.99.0")  # allowed by both, tested by nobody
    assert row().state is State.UNKNOWN and "edgekit is tested with onnxruntime " in row().found
    have(onnxruntime_qnn="2.7.0", onnxruntime="1.22.0")
    assert row().state is State.PROBLEM and "asks for >=1.24.2" in row().found
    have(onnxruntime_qnn="2.7.0")
    assert "onnxruntime is not installed" in row().found
    have(onnxruntime_qnn="1.25.0", onnxruntime="1.32.0")
    assert row().next == "pip install 'onnxruntime-qnn>=2,<3'"
    have()
    assert row().next == "pip install 'edgekit-ml[qnn]'"
    have(onnxruntime_qnn="2.6.0", onnxruntime="1.32.0")  # it opens nothing that 2.7 compiled
    assert row(versions=">=2.7,<3").next == "pip install 'onnxruntime-qnn>=2.7,<3'"
    have(tflite_runtime="2.14.0")
    assert row(name="litert", versions=">=1.2,<3").state is State.OK
    assert row(name="litert", versions="~=1.2").state is State.UNKNOWN
    assert row(name="qnn-dlc", versions=">=2").state is State.PROBLEM


@pytest.mark.parametrize(
    ("library", "found"),
    [("onnxruntime", "1.29.0"), ("onnxruntime-genai", "0.17.1"), ("tokenizers", "0.21.4"), ("tokenizers", "")],
)
def test_what_else_the_package_needs(monkeypatch: pytest.MonkeyPatch, library: str, found: str) -> None:
    have = {"onnxruntime-qnn": "2.7.0", "onnxruntime": "1.32.0", "onnxruntime-genai": "0.18.0", "tokenizers": "0.22.1"}
    needed = EngineRequirement(
        "qnn-text",
        ">=2.7,<3",
        "a",
        {},
        {"onnxruntime": ">=1.31,<2", "onnxruntime-genai": ">=0.18,<0.19", "tokenizers": ">=0.22,<1"},
    )
    monkeypatch.setattr(engine, "requires", lambda name: ["onnxruntime>=1.24.2"])
    monkeypatch.setattr(engine, "installed", lambda name: have.get(name, ""))
    assert engine.library(needed).state is State.OK
    have[library] = found
    row = engine.library(needed)
    assert row.state is State.PROBLEM and f"{library} {found or 'is not installed'}" in row.found
    assert row.next == "pip install -U 'edgekit-ml[genai,qnn]'"


@pytest.mark.parametrize(
    ("device", "state", "text"),
    [
        ("Samsung Galaxy S25 Ultra", "ok", "has a SM8750"),
        ("Samsung Galaxy S24", "problem", "SM8650"),
        ("Nobody's Phone", "cannot tell", "no target names"),
    ],
)
def test_devices_of_aihub(
    make: Make,
    phone: Callable[..., Machine],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    device: str,
    state: str,
    text: str,
) -> None:
    ini = tmp_path / "client.ini"
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(ini))
    monkeypatch.setenv("EDGEKIT_AIHUB_PYTHON", str(tmp_path / "no-python"))
    found = rows(make(), phone(), f"aihub:{device}")
    assert (found["chip"].state, text in found["chip"].found) == (state, True)
    assert found["chip"].next.startswith("devices with SM8750: Samsung Galaxy S25,") or state == "ok"
    assert found["AI Hub client"].state is State.PROBLEM and "qai-hub>=" in found["AI Hub client"].next
    assert found["AI Hub token"].state is State.PROBLEM and "engine" not in found
    ini.write_text("[api]\napi_url = https://hub.example\napi_token = secret\n", encoding="utf-8")
    token = rows(make(), phone(), f"aihub:{device}")["AI Hub token"]
    assert token.state is State.OK and "hub.example" in token.found and "secret" not in str(token)


def test_a_device_that_stands_in_for_the_chip(make: Make, phone: Callable[..., Machine]) -> None:
    chip = find_target("qcs8550").chips[0]
    found = rows(make(chips=(chip.soc,)), phone(), f"aihub:{chip.aihub[0]}")["chip"]
    assert found.state is State.UNKNOWN and chip.proxy in found.found


def test_where_it_is_to_run(make: Make, phone: Callable[..., Machine]) -> None:
    package = make()
    for device in ("abacus:1234", "aihub", "aihub:", "sim:gpu", "local:x"):
        with pytest.raises(UsageError):
            diagnosis.examine(package, device, phone())
    assert rows(package, phone(), "null:5")["device"].state is State.UNKNOWN
    assert rows(package, phone(), "sim:htp")["simulator"].state is State.PROBLEM  # on the phone
    simulator = rows(make(name="onnxruntime", versions=">=1.20,<2"), phone(), "sim:htp")["simulator"]
    assert simulator.state is State.PROBLEM


def test_a_language_model_is_checked_as_a_detector_is(text: Callable[..., Path], phone: Callable[..., Machine]) -> None:
    here = rows(text(ELITE), phone())
    assert {"QAIRT", "precision", "chip", "NPU libraries", "NPU driver", "driver version"} <= here.keys()
    assert here["chip"].state is here["NPU driver"].state is here["QAIRT"].state is State.OK
    assert rows(text(ELITE), phone(soc="SM8550"))["chip"].state is State.PROBLEM
    newer = text(ELITE, info="v2:6:2.60.0:5.60.0:79:69:0:0")
    assert rows(newer, phone())["QAIRT"].state is State.PROBLEM
    simulated = rows(text(ELITE), phone("", "Linux", "x86_64"), "sim:htp")
    assert simulated["simulator"].state is State.OK and simulated["one image"].state is State.OK
    assert "Java API" not in simulated["Android app"].found


def test_damage(make: Make, phone: Callable[..., Machine], tmp_path: Path) -> None:
    package = make()
    data = (package / "model-SM8750.onnx").read_bytes()
    (package / "model-SM8750.onnx").write_bytes(data[:-1] + b"\0")
    found = rows(package, phone())
    assert found["package"].state is State.PROBLEM and "model-SM8750.onnx" in found["package"].found
    assert found["QAIRT"].state is State.OK  # of the manifest: the file is not believed
    assert "one image" not in found  # nothing damaged reaches the engine
    (package / "manifest.json").write_text("{}", encoding="utf-8")
    assert [c.name for c in diagnosis.examine(package)] == ["package"]
    with pytest.raises(UsageError):
        diagnosis.examine(tmp_path / "nothing")


def test_a_trial_that_dies(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package(make())
    monkeypatch.setattr(engine.sys, "executable", "/bin/false")
    assert "died with code 1" in engine.trial(package, simulate=True).found


def test_a_reminder_for_apps(make: Make, phone: Callable[..., Machine]) -> None:
    row = rows(make(), phone())["Android app"]
    assert row.state is State.UNKNOWN and "qnn-runtime 2.51.0 or later" in row.next
    assert (Path(diagnosis.__file__).parents[2] / snapdragon.ANDROID).is_file()
    assert "Kotlin" in rows(make(dtype="uint16"), phone())["Android app"].found
    assert "Android app" not in rows(make(chips=("QCS8550",)), phone(soc="QCS8550"))
