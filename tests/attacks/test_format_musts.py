"""Each MUST of docs/format.md, violated: `verify`, `inspect` and `load` refuse alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import DeviceError, IntegrityError
from edgekit.package import Package, canonical
from edgekit.runtime import EngineOptions, load
from edgekit.runtime.engines import qnn
from tests.altered import ELF, put, seal
from tests.cli.commands import Edgekit

Document = dict[str, Any]


@pytest.fixture
def package(packages: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(packages["fp32"], tmp_path / "copy")
    return tmp_path / "copy"


def both_refuse(edgekit: Edgekit, folder: Path) -> str:
    with pytest.raises(IntegrityError):
        load(folder)
    ran = edgekit("verify", folder)
    assert ran.code == 6 and "Traceback" not in ran.err, ran.out + ran.err
    return ran.err


def changed(folder: Path, name: str, change: Callable[[Document], Any], sealed: bool = True) -> None:
    data = json.loads((folder / name).read_bytes())
    change(data)
    (folder / name).write_bytes(canonical(data))
    if sealed:
        seal(folder, json.loads((folder / "manifest.json").read_bytes()))


def renamed(manifest: Document, name: str) -> None:
    manifest["files"][name] = manifest["files"].pop("labels.txt")


MANIFESTS: dict[str, Callable[[Document], Any]] = {
    "another version": lambda m: m.update(schema="edgekit.package/10"),
    "a schema that is a number": lambda m: m.update(schema=1),
    "a precision that is none": lambda m: m.update(precision="int8"),
    "an absolute name": lambda m: renamed(m, "/labels.txt"),
    "a name that leads out": lambda m: renamed(m, "../labels.txt"),
    "a name with a dot": lambda m: renamed(m, "./labels.txt"),
    "a name with a backslash": lambda m: renamed(m, "a\\labels.txt"),
    "a name with a colon": lambda m: renamed(m, "c:labels.txt"),
    "a name with an empty part": lambda m: renamed(m, "LICENSES//labels.txt"),
    "the manifest itself": lambda m: renamed(m, "manifest.json"),
    "the receipt": lambda m: renamed(m, "receipt.json"),
    "a title that is hidden": lambda m: m.update(name=".hidden"),
    "a title that is an option": lambda m: m.update(name="-rf"),
    "a title with a separator": lambda m: m.update(name="a/b"),
    "a title that is long": lambda m: m.update(name="a" * 201),
    "a hash that is another": lambda m: m["files"]["labels.txt"].update(sha256="0" * 64),
    "a size that is another": lambda m: m["files"]["labels.txt"].update(bytes=1),
    "an artefact that is not listed": lambda m: m["engine"].update(artifact="other.onnx"),
    "an artefact of no chip": lambda m: m["engine"].update(chips={"SM8750": "labels.txt"}),
    "a library that is no name": lambda m: m["engine"].update(libraries={"onnx' ; rm": ">=1"}),
    "a range of a library that is none": lambda m: m["engine"].update(libraries={"onnx": ">=1\n"}),
    "an integer input without a scale": lambda m: m["model"]["input"].update(dtype="int8"),
    "another task": lambda m: m["model"].update(task="pose"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(name: str, package: Path, edgekit: Edgekit) -> None:
    changed(package, "manifest.json", MANIFESTS[name])
    both_refuse(edgekit, package)


def test_unknown_keys_are_ignored(package: Path, edgekit: Edgekit) -> None:
    changed(package, "manifest.json", lambda m: m.update(newer={"key": 1}))
    load(package).close()
    assert edgekit("verify", package).code == 0


@pytest.mark.parametrize("kind", ["indent", "unsorted", "no newline", "escaped"])
def test_canonical_text(kind: str, package: Path, edgekit: Edgekit) -> None:
    file = package / "manifest.json"
    data = json.loads(file.read_bytes())
    data["source"]["name"] = "é"
    text = {
        "indent": json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
        "unsorted": json.dumps(dict(reversed(data.items())), indent=2, ensure_ascii=False) + "\n",
        "no newline": canonical(data).decode().rstrip("\n"),
        "escaped": json.dumps(data, indent=2, sort_keys=True) + "\n",
    }[kind]
    changed(package, "manifest.json", lambda m: m["source"].update(name="é"))
    file.write_text(text, encoding="utf-8")
    receipt_for(package)
    assert "canonical" in both_refuse(edgekit, package)


def receipt_for(folder: Path) -> None:
    """A receipt for the manifest's bytes, whatever they are."""
    import hashlib

    body = json.loads((folder / "receipt.json").read_bytes())
    body.pop("digest")
    body["manifest_sha256"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    body["digest"] = hashlib.sha256(canonical(body)).hexdigest()
    (folder / "receipt.json").write_bytes(canonical(body))


RECEIPTS: dict[str, Callable[[Document], Any]] = {
    "a later version": lambda r: r.update(schema="edgekit.receipt/10"),
    "another document": lambda r: r.update(schema="edgekit.package/1"),
    "a provenance that is none": lambda r: r["measurements"][0].update(provenance="guessed"),
    "a simulated latency": lambda r: r["measurements"][0].update(group="latency", provenance="simulated"),
    "a verdict that nothing supports": lambda r: r.update(verdict="good", not_checked=["all of it"]),
    "an interval from above": lambda r: r["measurements"][0].update(interval=[2, 1]),
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_receipts(name: str, package: Path, edgekit: Edgekit) -> None:
    changed(package, "receipt.json", RECEIPTS[name])
    both_refuse(edgekit, package)
    assert edgekit("inspect", package).code == 6


def test_a_receipt_for_another_manifest(package: Path, edgekit: Edgekit) -> None:
    """A threshold changed by hand: the evidence is not about that package."""
    changed(package, "manifest.json", lambda m: m["model"].update(score_threshold=0.9), sealed=False)
    assert "not the one its receipt" in both_refuse(edgekit, package)


def test_a_receipt_with_another_digest(package: Path, edgekit: Edgekit) -> None:
    changed(package, "receipt.json", lambda r: r.update(digest="0" * 64), sealed=False)
    both_refuse(edgekit, package)


@pytest.mark.parametrize("name", [".hidden", "._model.onnx", ".DS_Store.so", "notes.txt", "sub/.x"])
def test_files_that_are_not_listed(name: str, package: Path, edgekit: Edgekit) -> None:
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_bytes(ELF)
    assert "not in its manifest" in both_refuse(edgekit, package)


def test_what_file_managers_leave_is_ignored_and_said(package: Path, edgekit: Edgekit) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (package / name).write_bytes(b"junk")
    (package / "._model.onnx").write_bytes(b"\0\5\26\7" + bytes(60))
    load(package).close()
    ran = edgekit("verify", package)
    assert ran.code == 0 and "ignored: .DS_Store, ._model.onnx" in ran.out


@pytest.mark.parametrize("link", ["symbolic", "dangling", "folder"])
def test_links(link: str, package: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    target = {"symbolic": package / "labels.txt", "dangling": tmp_path / "none", "folder": tmp_path}[link]
    (package / "LICENSE").symlink_to(target)
    both_refuse(edgekit, package)


def test_programs_and_what_the_engine_does_not_need(package: Path, edgekit: Edgekit) -> None:
    put(package, "tokenizer.json", b"{}")
    both_refuse(edgekit, package)


@pytest.mark.parametrize("holds", [{"SM8650": "model.onnx"}, {"SM8650": "a.onnx", "SM8750": "b.onnx"}])
def test_another_chips_file_is_not_opened(
    holds: dict[str, str], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many chips it holds; where the system does not say which it is, the first may be tried."""
    opened = Package(package)
    engine = opened.manifest.engine
    object.__setattr__(engine, "chips", holds)
    monkeypatch.setattr(qnn, "simulated", lambda: False)
    monkeypatch.setattr(qnn, "find_soc", lambda: "SM8850")
    with pytest.raises(DeviceError, match="not compiled for SM8850"):
        qnn.choose(opened, EngineOptions())
    monkeypatch.setattr(qnn, "find_soc", lambda: "")
    assert qnn.choose(opened, EngineOptions()) == "SM8650"
    monkeypatch.setattr(qnn, "find_soc", lambda: "SM8650")
    assert qnn.choose(opened, EngineOptions()) == "SM8650"
