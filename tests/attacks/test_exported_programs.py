"""`.pt2` files that carry code: nothing of them is run, and honest ones convert."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.errors import SourceError, UnsafeSourceError
from edgekit.sources.exported_program import load
from edgekit.sources.shape_expressions import check_expression


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.conv(x).relu()
        return y.flatten(2), y.mean((2, 3))


class Evil:
    def __reduce__(self) -> Any:
        return (open, (str(Evil.mark), "w"))

    mark = Path()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pt2") / "good.pt2"
    height = torch.export.Dim("height", min=8, max=64)
    program = torch.export.export(Small().eval(), (torch.zeros(1, 3, 16, 16),), dynamic_shapes={"x": {2: height}})
    torch.export.save(program, file)
    return file


def changed(good: Path, out: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    with zipfile.ZipFile(good) as archive:
        entries = {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(f"good/{name}", content)
    return out


def document(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
    def edit(entries: dict[str, bytes]) -> None:
        data = json.loads(entries["models/model.json"])
        change(data)
        entries["models/model.json"] = json.dumps(data).encode()

    return edit


def test_an_honest_program_is_what_was_saved(good: Path) -> None:
    x = torch.rand(1, 3, 24, 16)
    expected = torch.export.load(good).module()(x)
    assert all(torch.equal(a, b) for a, b in zip(load(good).module()(x), expected))


def pickled(entries: dict[str, bytes]) -> None:
    import io

    out = io.BytesIO()
    torch.save((Evil(),), out)
    entries["data/sample_inputs/model.pt"] = out.getvalue()


def weight(entries: dict[str, bytes]) -> None:
    config = json.loads(entries["data/weights/model_weights_config.json"])
    next(iter(config["config"].values()))["use_pickle"] = True
    entries["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    entries["data/weights/weight_0"] = pickle.dumps(Evil())


def first_node(**given: Any) -> Callable[[dict[str, bytes]], None]:
    return document(lambda d: d["graph_module"]["graph"]["nodes"][0].update(given))


def expression(text: str) -> Callable[[dict[str, bytes]], None]:
    def change(data: dict[str, Any]) -> None:
        for value in data["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text

    return document(change)


def tree(text: str) -> Callable[[dict[str, bytes]], None]:
    return document(lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=text))


ENUM = json.dumps(
    [
        1,
        {
            "type": "builtins.dict",
            "context": json.dumps([{"__enum__": True, "fqn": "evil:E", "name": "A"}]),
            "children_spec": [],
        },
    ]
)
HARMFUL: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "sample inputs that call": pickled,
    "a pickled weight": weight,
    "a legacy pickle of weights": lambda e: e.update({"data/weights/model.pt": pickle.dumps(Evil())}),
    "an opaque constant": lambda e: e.update({"data/constants/opaque_obj_0": pickle.dumps(Evil())}),
    "a script object": lambda e: e.update({"data/constants/custom_obj_0": b"x"}),
    "a compiled library": lambda e: e.update({"data/aotinductor/model/x.so": b"\x7fELF"}),
    "an operator of torch": first_node(target="torch.hub.load"),
    "a module's attribute": first_node(target="torch.os.system"),
    "an operator that reads files": first_node(target="torch.ops.aten.from_file.default"),
    "an extension's operator": first_node(target="#evil:op"),
    "code in a shape": expression("__import__('os').system('true')"),
    "a name in a shape": expression("Symbol('s53').__class__"),
    "a power in a shape": expression("Pow(Pow(Pow(Integer(9), Integer(99)), Integer(99)), Integer(99))"),
    "a tree that imports": tree(ENUM),
    "a tree of another type": tree(
        json.dumps([1, {"type": "collections.defaultdict", "context": {}, "children_spec": []}])
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_nothing_of_a_program_is_run(name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evil, "mark", tmp_path / "ran")
    bad = changed(good, tmp_path / "bad.pt2", HARMFUL[name])
    with pytest.raises(UnsafeSourceError):
        load(bad)
    assert not (tmp_path / "ran").exists()


def test_guards_are_left_out(good: Path, tmp_path: Path) -> None:
    """torch compiles them as Python when the program is called."""
    mark = tmp_path / "ran"
    bad = changed(good, tmp_path / "bad.pt2", document(lambda d: d.update(guards_code=[f"open({str(mark)!r}, 'w')"])))
    load(bad).module()(torch.rand(1, 3, 16, 16))
    assert not mark.exists()


def test_tensors_larger_than_their_bytes(good: Path, tmp_path: Path) -> None:
    def grow(entries: dict[str, bytes]) -> None:
        config = json.loads(entries["data/weights/model_weights_config.json"])
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta["sizes"], meta["strides"] = [{"as_int": 10**9}], [{"as_int": 0}]
        entries["data/weights/model_weights_config.json"] = json.dumps(config).encode()

    with pytest.raises(SourceError, match="damaged"):
        load(changed(good, tmp_path / "bad.pt2", grow))


@pytest.mark.parametrize(
    "text", ["Mul(Integer(48), Symbol('s53', positive=True, integer=True))", "2*s0 + 1", "s0**2", "u3//2"]
)
def test_expressions_of_shapes(text: str) -> None:
    check_expression(text)


@pytest.mark.parametrize(
    "text",
    ["exec('x')", "s0.x", "[s0]", "'a'", "9**9**9", "lambda: 1", "(" * 5000, "f(s0)", 5, "print", "s0 if s1 else s2"],
)
def test_what_is_no_expression_of_a_shape(text: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (which one is not told apart)
        check_expression(text)
