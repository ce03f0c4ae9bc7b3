"""Writes docs/api.md from docstrings and docs/cli.md from `--help`; `make docs` runs it, a test finds them stale.

python docs/tools/reference.py
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

DOCS = Path(__file__).resolve().parent.parent
COLUMNS = 80
_ARGUMENT = re.compile(r"^((?:`?\w+`?, )*`?\w+`?: )", re.M)

# What callers may rely on (docs/stability.md), by what it is for.
PUBLIC = {
    "Convert and measure": (
        "edgekit.convert",
        "edgekit.conversion.outcome.Outcome",
        "edgekit.sources.base.SourceOptions",
        "edgekit.profile",
        "edgekit.profiling.result.Result",
        "edgekit.profiling.sampler.compare",
        "edgekit.devices.base.Plan",
        "edgekit.report.render.write_report",
    ),
    "Packages and receipts": (
        "edgekit.Package",
        "edgekit.package.Manifest",
        "edgekit.package.EngineRequirement",
        "edgekit.package.receipt.read_receipt",
        "edgekit.package.receipt.Receipt",
        "edgekit.package.receipt.Measurement",
        "edgekit.package.receipt.Provenance",
        "edgekit.package.receipt.Reason",
        "edgekit.package.receipt.Trip",
    ),
    "On the device": (
        "edgekit.runtime.load",
        "edgekit.runtime.load_text",
        "edgekit.runtime.Detector",
        "edgekit.runtime.Detection",
        "edgekit.runtime.LanguageModel",
        "edgekit.runtime.Generation",
        "edgekit.runtime.Runner",
        "edgekit.runtime.open_session",
        "edgekit.runtime.open_text_session",
        "edgekit.runtime.Session",
        "edgekit.runtime.TextSession",
        "edgekit.runtime.Engine",
        "edgekit.runtime.EngineOptions",
    ),
    "Errors": ("edgekit.errors.EdgekitError",),
    "For extensions": (
        "edgekit.sources.base.Source",
        "edgekit.tasks.base.Task",
        "edgekit.tasks.base.Judge",
        "edgekit.backends.base.Backend",
        "edgekit.backends.base.Artifact",
        "edgekit.backends.base.CompileOptions",
        "edgekit.backends.base.Availability",
        "edgekit.devices.base.Device",
    ),
}


def api() -> str:
    """The text of docs/api.md."""
    pieces = [
        "# Python reference\n",
        "Made from the docstrings by `make docs`. Everything here is public: "
        "[stability.md](stability.md) says what that promises. "
        "[on-the-device.md](on-the-device.md) and [writing-a-backend.md](writing-a-backend.md) show it at work.\n",
    ]
    for title, names in PUBLIC.items():
        pieces.append(f"## {title}\n")
        pieces += [_described(name) for name in names]
    return "\n".join(pieces)


def cli() -> str:
    """The text of docs/cli.md."""
    from edgekit.cli.main import cli as group
    from edgekit.cli.verbs import VERBS, command_of

    above = click.Context(group, info_name="edgekit", **group.context_settings)
    pieces = [
        "# Command reference\n",
        "What `--help` prints, made by `make docs`. [command-line.md](command-line.md) has settings, exit codes and "
        "the JSON documents.\n",
        *(f"- [`edgekit {verb}`](#edgekit-{verb}): {sentence}" for verb, sentence in VERBS.items()),
        "",
    ]
    for verb in VERBS:
        command = command_of(verb)
        assert command is not None
        context = click.Context(command, parent=above, info_name=verb, terminal_width=COLUMNS)
        pieces.append(f"## edgekit {verb}\n\n```\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(pieces)


def _described(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(module), attribute)
    if inspect.isclass(value):
        return f"### {name}\n\n{_text(value)}{''.join(_members(value))}"
    return f"### {name}\n\n```python\n{_signature(attribute, value)}\n```\n\n{_text(value)}"


def _members(kind: type) -> Iterator[str]:
    """The class's own public names: fields as a list, then properties and methods with their docstrings."""
    if issubclass(kind, enum.Enum):
        yield f"One of {', '.join(f'`{m.value}`' for m in kind)}.\n"
        return
    if dataclasses.is_dataclass(kind):
        yield f"Fields: {', '.join(f'`{f.name}: {f.type}`' for f in dataclasses.fields(kind))}.\n\n"
    elif hasattr(kind, "_fields"):
        yield f"Fields: {', '.join(f'`{n}: {t}`' for n, t in kind.__annotations__.items())}.\n\n"
    for name, member in vars(kind).items():
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__
        if name.startswith("_") and name != "__call__":
            continue
        if not inspect.isfunction(member) and not isinstance(member, property):
            continue
        if not member.__doc__ and inspect.getdoc(member):
            continue  # it does what the class above it says
        if inspect.isfunction(member):
            yield f"```python\n{_signature(name, member)}\n```\n\n{_text(member)}"
        else:
            yield f"`{name}`: {inspect.getdoc(member)}\n\n"


def _signature(name: str, value: object) -> str:
    """On one line, or an argument a line where that is too long."""
    signature = inspect.signature(value)  # type: ignore[arg-type]
    arguments = [_argument(p) for p in signature.parameters.values()]
    kinds = [p.kind for p in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        arguments.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    empty = signature.return_annotation is inspect.Signature.empty
    result = "" if empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= 100:
        return line
    inside = ",\n    ".join(arguments)
    return f"{name}(\n    {inside},\n){result}"


def _argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    empty = inspect.Parameter.empty
    kind = "" if parameter.annotation is empty else f": {parameter.annotation}"
    default = "" if parameter.default is empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}{kind}{default}"


def _text(value: object) -> str:
    """The docstring, its lines on one argument each as a list. Raises ValueError where there is none of its own."""
    text = inspect.getdoc(value) or ""
    written = value.__doc__ or ""
    if not written or (inspect.isclass(value) and written.startswith((f"{value.__name__}(", "Enum where"))):
        raise ValueError(f"{getattr(value, '__qualname__', value)} is public and has no docstring")
    return _ARGUMENT.sub(r"- \1", text) + "\n\n"


def pages() -> dict[str, str]:
    """By name below docs/, the pages as they should be."""
    os.environ["COLUMNS"] = str(COLUMNS)
    return {"api.md": api().rstrip() + "\n", "cli.md": cli().rstrip() + "\n"}


def main() -> int:
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
