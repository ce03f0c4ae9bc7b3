"""The architecture, kept true: rooms import only to their left, and nothing heavy comes early."""

from __future__ import annotations

import ast
import json
import os
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
    "options",
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


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of a package by its dotted name; a package within goes by its folder's."""
    files = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def import_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """What each module of a package imports of that package, inside functions and for types alone as well.

    A name that is taken from a package counts as its module where it is one, else as the package itself.
    """
    files, graph = modules(root), dict[str, set[str]]()
    for module, path in files.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == root.name:
                names = {f"{node.module}.{a.name}" for a in node.names}
                imported |= {n if n in files else str(node.module) for n in names}
            elif isinstance(node, ast.Import):
                imported |= {a.name for a in node.names if a.name in files}
        graph[module] = imported - {module}
    return graph


def reached(graph: dict[str, set[str]], start: str) -> dict[str, str]:
    """Every module that is imported from `start` on, each with the one that imports it first."""
    found, waiting = {start: ""}, [start]
    while waiting:
        module = waiting.pop()
        for imported in sorted(graph[module] - found.keys()):
            found[imported] = module
            waiting.append(imported)
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first at the end again; [] when there are none."""
    done = set[str]()
    for start in sorted(graph):
        path: list[str] = []
        stack = [(start, iter(sorted(graph[start])))] if start not in done else []
        path = [start] if stack else []
        while stack:
            module, rest = stack[-1]
            following = next((m for m in rest if m not in done), None)
            if following is None:
                done.add(module)
                stack.pop()
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                stack.append((following, iter(sorted(graph[following]))))
                path.append(following)
    return []


def test_no_files_import_each_other_in_a_circle() -> None:
    # `edgekit` itself names its faces for editors and for those who type them: nobody below imports it for one.
    graph = {m: i - {"edgekit"} for m, i in import_graph().items() if m != "edgekit"}
    assert not circle(graph), " → ".join(circle(graph))


def test_the_emulator_of_ai_hub_has_no_circle_either() -> None:
    root = ROOT.parent / "tests" / "hub_emulator" / "edgekit_hub_emulator"
    graph = import_graph(root)
    assert graph[f"{root.name}.compiling"] and not circle(graph), " → ".join(circle(graph))


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_the_runtime_reaches_only_what_a_device_has() -> None:
    graph = import_graph()
    starts = [m for m in graph if m.split(".")[:2] == ["edgekit", "runtime"]]
    outside = {
        f"{by} imports {module}"
        for start in starts
        for module, by in reached(graph, start).items()
        if room(module) not in RUNTIME_MAY and module != "edgekit"
    }
    assert not outside
    assert "edgekit.package.writing" not in {m for start in starts for m in reached(graph, start)}
    script = "import sys, edgekit.runtime\nassert 'edgekit.package.writing' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def environment_after(code: str) -> dict[str, str]:
    script = f"import json, os\nbefore = dict(os.environ)\n{code}\nchanged = dict(os.environ.items() - before.items())"
    script += "\nprint(json.dumps({**changed, **{n: '' for n in before.keys() - os.environ.keys()}}))"
    bare = {n: v for n, v in os.environ.items() if n not in ("ORT_DISABLE_TELEMETRY", "OMP_WAIT_POLICY")}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=bare)
    changes: dict[str, str] = json.loads(run.stdout)
    return changes


@pytest.mark.parametrize("module", ["edgekit", "edgekit.runtime", "edgekit.conversion.pipeline", "edgekit.cli.main"])
def test_importing_changes_no_environment_variable(module: str) -> None:
    assert environment_after(f"import {module}") == {}


def test_who_opens_an_engine_or_converts_changes_what_they_must() -> None:
    pytest.importorskip("onnxruntime")
    opened = environment_after("from edgekit.runtime.engines.libraries import onnxruntime\nonnxruntime()")
    assert opened == {"ORT_DISABLE_TELEMETRY": "1"}
    code = "import edgekit\ntry: edgekit.convert('nothing.onnx')\nexcept edgekit.errors.EdgekitError: pass"
    assert environment_after(code) == {"ORT_DISABLE_TELEMETRY": "1", "OMP_WAIT_POLICY": "PASSIVE"}


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


def test_no_function_takes_more_than_eight_parameters() -> None:
    """But for `convert`, the face of all that can be asked of a conversion."""
    many = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if len([n for n in names if n not in ("self", "cls")]) > 8:
                    many.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert many == ["conversion/pipeline.py: convert"]
