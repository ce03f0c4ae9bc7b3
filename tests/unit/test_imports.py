"""The architecture, kept true: rooms import only to their left, and nothing heavy comes early."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit

ROOT = Path(edgekit.__file__).parent

# The way data flows, from the ground up (docs/decisions/0001-rooms.md). A room imports rooms before it.
ORDER = [
    "system",
    "errors",
    "registry",
    "progress",
    "settings",
    "spec",
    "package",
    "cache",
    "target",
    "model",
    "runtime",
    "data",
    "serving",
    "architectures",
    "layers",
    "sources",
    "graph",
    "quantize",
    "fixed_text",
    "tflite",
    "genai",
    "qnn",
    "emulator",
    "aihub",
    "backends",
    "devices",
    "store",
    "profiling",
    "tasks",
    "conversion",
    "report",
    "diagnosis",
    "__init__",
    "cli",
]
# The runtime reads packages on a device: the standard library, numpy and these, all that they import included.
RUNTIME_MAY = {"system", "errors", "registry", "settings", "spec", "package", "runtime"}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports() -> list[tuple[str, str, str]]:
    found = []
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgekit"):
                names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "edgekit" else [node.module]
                found += [(own, room(own), room(str(n))) for n in names]
            elif isinstance(node, ast.Import):
                found += [(own, room(own), room(a.name)) for a in node.names if a.name.startswith("edgekit")]
    return found


def test_rooms_import_only_rooms_below() -> None:
    assert not [
        f"{module} imports {imported}"
        for module, importer, imported in imports()
        if importer != imported and imported != "__version__" and ORDER.index(imported) > ORDER.index(importer)
    ]


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(m for m in sys.modules if '.' not in m))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, encoding="utf-8", errors="replace"
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import edgekit", {"numpy", "click", "torch", "onnx", "onnxruntime"}),
        ("import edgekit.runtime", {"torch", "onnx", "click", "onnxruntime", "cv2", "PIL", "sqlite3"}),
        (
            "from edgekit.cli.main import cli\ntry: cli(['--help'], standalone_mode=False)\nfinally: pass",
            {"numpy", "torch", "onnx", "onnxruntime", "cv2", "sqlite3"},
        ),
    ],
)
def test_heavy_imports_wait_until_they_are_used(code: str, absent: set[str]) -> None:
    assert not absent & loaded_after(code)


def test_a_loaded_package_needs_no_torch_or_onnx(packages: dict[str, Path]) -> None:
    code = f"from edgekit.runtime import load\nload({str(packages['fp32'])!r})"
    assert not {"torch", "onnx", "click"} & loaded_after(code)


def test_every_file_is_short_enough_to_read() -> None:
    long = {p.name: n for p in ROOT.rglob("*.py") if (n := len(p.read_text(encoding="utf-8").splitlines())) > 310}
    assert not long
