"""Packages whose hashes fit and whose files tell an engine to do something: refused before it sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import UsageError
from edgekit.runtime import load_text
from tests.altered import ELF, outside, put, refused, seal
from tests.cli.commands import Edgekit

CONFIGURATIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a library of operators": (
        lambda c: c["model"]["decoder"]["session_options"].update(custom_ops_library="./evil.so"),
        "custom_ops_library",
    ),
    "a provider": (
        lambda c: c["model"]["decoder"]["session_options"].update(provider_options=[{"RyzenAI": {}}]),
        "provider_options",
    ),
    "a provider's name": (
        lambda c: c["model"]["decoder"]["session_options"].update(providers=["RyzenAI"]),
        "providers",
    ),
    "a profile anywhere": (
        lambda c: c["model"]["decoder"]["session_options"].update(enable_profiling="/tmp/x"),
        "enable_profiling",
    ),
    "another model": (lambda c: c["model"]["decoder"].update(filename="../other.onnx"), "filename"),
    "an absolute model": (lambda c: c["model"]["decoder"].update(filename="/tmp/other.onnx"), "filename"),
    "a part that is not known": (lambda c: c["model"].update(vision={"filename": "x.onnx"}), "model.vision"),
    "run options": (lambda c: c["model"]["decoder"].update(run_options={"a": "b"}), "run_options"),
    "a cache of any size": (lambda c: c["search"].update(max_length=10**18), "max_length"),
    "a name that is no name": (lambda c: c["model"]["decoder"]["inputs"].update(input_ids="../../x y"), "input_ids"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_says_only_what_edgekit_writes(name: str, text: Path, edgekit: Edgekit) -> None:
    change, words = CONFIGURATIONS[name]
    config = json.loads((text / "genai_config.json").read_bytes())
    change(config)
    put(text, "genai_config.json", json.dumps(config).encode())
    refused(edgekit, text, words)
    assert edgekit("generate", text, "-p", "x").code == 6


def test_a_key_that_stands_twice_is_no_way_around(text: Path, edgekit: Edgekit) -> None:
    honest = (text / "genai_config.json").read_text(encoding="utf-8")
    evil = '{"model": {"decoder": {"session_options": {"custom_ops_library": "x.so"}}},'
    put(text, "genai_config.json", (evil + honest.strip()[1:]).encode())
    refused(edgekit, text, "twice")


@pytest.mark.parametrize("name", ["evil.so", "libx.so.1", "x.dll", "code.py", "sitecustomize.py", "a/b.dylib", "x.bin"])
def test_file_types_that_the_engine_does_not_need(name: str, text: Path, edgekit: Edgekit) -> None:
    put(text, name, b"anything")
    refused(edgekit, text, "does not need")


@pytest.mark.parametrize("content", [ELF, b"MZ\x90\0", b"\xcf\xfa\xed\xfe", b"#!/bin/sh\n"])
@pytest.mark.parametrize("name", ["tokens.bin", "tokenizer_config.json", "LICENSES/a.txt"])
def test_programs_by_another_name(name: str, content: bytes, text: Path, edgekit: Edgekit) -> None:
    put(text, name, content)
    refused(edgekit, text, "program")


@pytest.mark.parametrize(
    "name", [".vscode", ".config/autostart", "a/b", "../x", "-o", "~x", "", " ", "a\x1b[31m", "C:x", "x" * 300]
)
def test_a_packages_name_is_that_of_a_folder(name: str, text: Path, edgekit: Edgekit) -> None:
    """`unpack` makes a folder of it where the user stands."""
    manifest = json.loads((text / "manifest.json").read_bytes())
    seal(text, {**manifest, "name": name})
    refused(edgekit, text, "calls the package")


def test_a_vocabulary_is_no_file_of_any_name(text: Path, edgekit: Edgekit) -> None:
    put(text, "evil.desktop", b"[Desktop Entry]\nExec=sh -c id\n")
    manifest = json.loads((text / "manifest.json").read_bytes())
    manifest["model"]["vocabulary"] = "evil.desktop"
    seal(text, manifest)
    refused(edgekit, text, "does not need")


@pytest.mark.parametrize("layer", ["past.%d.key%n", "past.%s.key", "past.%d.%d", "past.key", "%99999d", "past.%d.%%"])
def test_names_of_layers_are_no_formats(layer: str, text: Path, edgekit: Edgekit) -> None:
    """The library hands them to snprintf: %n writes to memory."""
    config = json.loads((text / "genai_config.json").read_bytes())
    config["model"]["decoder"]["inputs"]["past_key_names"] = layer
    put(text, "genai_config.json", json.dumps(config).encode())
    refused(edgekit, text, "past_key_names")


@pytest.mark.parametrize("name", [".receipt.json.d/evil.so", ".receipt.json.5", ".receipt.json.edgekit-x", ".hidden"])
def test_what_is_not_listed_has_no_name_to_hide_under(name: str, detector: Path, edgekit: Edgekit) -> None:
    (detector / name).parent.mkdir(exist_ok=True)
    (detector / name).write_bytes(ELF)
    refused(edgekit, detector, "not in its manifest")


def field(number: int, content: bytes, upper: int = 0) -> bytes:
    """One field of protobuf's wire format; `upper`: bits above the 32 that its readers look at."""

    def varint(value: int) -> bytes:
        made = bytearray()
        while value > 0x7F:
            made.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*made, value])

    return varint(number << 3 | 2 | upper << 32) + varint(len(content)) + content


@pytest.mark.parametrize("upper", [1, 7])
def test_a_key_of_five_bytes_hides_no_file(
    upper: int, detector: Path, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """protobuf drops the upper bits of a field's number, and then sees an external tensor."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(detector / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    (tmp_path / "private.bin").write_bytes(tensor.raw_data)
    model.graph.initializer.remove(tensor)
    tensor.ClearField("raw_data")
    entry = field(1, b"location") + field(2, b"private.bin")
    hidden = tensor.SerializeToString() + field(13, entry, upper) + b"\x70\x01"
    graph = model.graph.SerializeToString() + field(5, hidden)
    model.ClearField("graph")
    put(detector, "model.onnx", model.SerializeToString() + field(7, graph))
    refused(edgekit, detector, "not an ONNX model")


@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../x", "a/../../x"])
def test_tensors_in_files_that_the_manifest_does_not_list(
    location: str, place: str, detector: Path, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime looks for them in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    put(detector, "model.onnx", outside(location, place))
    refused(edgekit, detector, "no file of this package")


def test_a_compiled_context_in_another_file(detector: Path, edgekit: Edgekit) -> None:
    node = helper.make_node("EPContext", [], ["boxes"], domain="com.microsoft", embed_mode=0, ep_cache_context="/tmp/x")
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("boxes", 1, [4])])
    put(detector, "model.onnx", helper.make_model(graph).SerializeToString())
    refused(edgekit, detector, "another file")


def test_onnx_runtimes_own_format(detector: Path, edgekit: Edgekit) -> None:
    put(detector, "model.onnx", b"\x1c\0\0\0ORTM" + bytes(100))
    refused(edgekit, detector, "own format")


def test_a_graph_that_fails_when_it_runs(detector: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    """ONNX Runtime's errors share no class with anything."""
    model = onnx.load(detector / "model.onnx")
    boxes = next(o for o in model.graph.output if o.name == "boxes")
    for node in model.graph.node:
        for i, output in enumerate(node.output):
            if output == "boxes":
                node.output[i] = "inner"
    bad = helper.make_tensor("index", TensorProto.INT64, [1], [10**6])
    model.graph.initializer.append(bad)
    model.graph.node.append(helper.make_node("Gather", ["inner", "index"], ["boxes"], axis=1))
    boxes.type.tensor_type.shape.dim[1].dim_value = 1
    put(detector, "model.onnx", model.SerializeToString())
    image = next((Path(__file__).parents[2] / "samples/shapes/eval/images").glob("*.jpg"))
    ran = edgekit("detect", detector, image)
    assert ran.code == 6 and "fails when it runs" in ran.err and "Traceback" not in ran.err


TEMPLATES = {
    "macro": "{% macro a(n) %}{{ a(n) }}{% endmacro %}{{ a(1) }}",
    "double": "{% set ns = namespace(s='aaaaaaaa') %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    "long": "{{ 'a' * 3000000 }}",
    "bad": "{% for %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_does_not_end_well(name: str, text: Path) -> None:
    put(text, "chat_template.jinja", TEMPLATES[name].encode())
    with load_text(text) as llm:
        with pytest.raises(UsageError, match="template"):
            llm.chat([{"role": "user", "content": "hi"}], max_tokens=2)
        assert llm.generate("the cat", max_tokens=2).text is not None  # it lives on


def test_a_chat_template_that_loops(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.runtime.engines import template

    monkeypatch.setattr(template, "_SECONDS", 2.0)
    loop = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
    put(text, "chat_template.jinja", loop.encode())
    with load_text(text) as llm, pytest.raises(UsageError, match="template"):
        llm.chat([{"role": "user", "content": "hi"}])
