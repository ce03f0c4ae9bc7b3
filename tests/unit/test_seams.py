"""Tasks, engines, devices and services are looked up where they are registered: nothing else knows one by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import edgekit
from edgekit import registry

ROOT = Path(edgekit.__file__).parent
GROUPS = ("backends", "devices", "engines", "runners", "services", "specs", "tasks")
NAMES = {name for group in GROUPS for name in registry.names(group)}
CLASSES = {"DetectionSpec", "TextSpec", "Detector", "LanguageModel", "LocalDevice", "SimulatedDevice", "AiHubDevice"}
# Networks are taken apart by their attributes, in the rooms that are about networks.
NETWORKS = ("architectures", "genai", "quantize")
# What a system or a library may lack is asked of it: these are its modules.
SYSTEM = {"os", "signal", "sys", "info"}


def told_apart(tree: ast.AST, attributes: bool = True) -> list[str]:
    """Places where something is told apart by name or class, or, with `attributes`, by an attribute that it has."""
    places = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            texts = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
            if texts & NAMES:
                places.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            arguments = {n.id for a in node.args[1:] for n in ast.walk(a) if isinstance(n, ast.Name)}
            first = node.args[0].id if node.args and isinstance(node.args[0], ast.Name) else ""
            if node.func.id == "isinstance" and arguments & CLASSES:
                places.append(f"line {node.lineno}: {ast.unparse(node)}")
            if attributes and node.func.id == "hasattr" and first not in SYSTEM:
                places.append(f"line {node.lineno}: {ast.unparse(node)}")
    return places


def test_nothing_is_told_apart_by_name_class_or_attribute() -> None:
    found = {}
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT)
        found[str(own)] = told_apart(ast.parse(path.read_text(encoding="utf-8")), own.parts[0] not in NETWORKS)
    assert {path: places for path, places in found.items() if places} == {}


def test_it_would_be_seen() -> None:
    code = "if kind == 'qnn': pass\nif isinstance(spec, TextSpec): pass\nif hasattr(model, 'stream'): pass"
    assert len(told_apart(ast.parse(code))) == 3
    assert not told_apart(ast.parse("if kind == 'letterbox' or hasattr(os, 'getuid'): pass"))
