"""`edgekit convert --recipe FILE`: conversions as a TOML file that a team can commit (docs/recipes.md).

A recipe says what could be typed: its names are those of the options. What is typed beats what it says. Its paths are
relative to its own folder. It runs no code: `module.py:function` has to be typed.
"""

from __future__ import annotations

import contextlib
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from edgekit.cli.completion import PATH
from edgekit.cli.unused import is_said
from edgekit.errors import UsageError
from edgekit.system.documents import read_utf8

_LARGEST = 2**20  # bytes; a recipe is some lines
_SHOWN = ("as_json", "quiet", "verbose", "recipe", "help")  # how it is shown, not what is made
_TYPED_ONLY = (*_SHOWN, "dry_run")
_NAMES = {"target": "targets", "precision": "precisions", "eval": "eval_"}  # singular as typed, or plural


def conversions(typed: click.Context, path: str) -> list[click.Context]:
    """One for each conversion of the recipe at `path`, as if it had been typed. Raises UsageError for what cannot be
    read, for names that are no option of `convert`, and for values that an option does not take."""
    document = _document(Path(path))
    entries = document.pop("convert", [{}])
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise UsageError(f"{path}: convert is no list of tables", "", "write [[convert]] before each conversion")
    said = {name: value for name, value in typed.params.items() if is_said(typed, name) and name not in _SHOWN}
    if "source" in said and len(entries) > 1:
        raise UsageError(
            f"{path} has {len(entries)} conversions, and a SOURCE was typed",
            "it would be that of all",
            "leave SOURCE out, or make a recipe with one conversion",
        )
    merged = [{**_values(typed, document, path), **_values(typed, e, path), **said} for e in entries]
    for values in merged:
        if not values.get("source"):
            raise UsageError(f"{path} has a conversion without source", "", 'write source = "FILE", or type SOURCE')
        if "source" not in said:
            _refuse_code(str(values["source"]), path)
    made = []
    for values in merged:
        with _explained(path):
            made.append(typed.command.make_context(typed.info_name, [], parent=typed.parent, default_map=values))
    return made


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_utf8(path, _LARGEST))
    except FileNotFoundError as error:
        raise UsageError(f"There is no recipe {path}", "", "docs/recipes.md shows one") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"The recipe {path} cannot be read", str(error), "docs/recipes.md shows one") from error


def _values(typed: click.Context, table: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The parameters that a table names, paths made absolute."""
    parameters = {p.name: p for p in typed.command.params if p.name not in _TYPED_ONLY}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        parameter = parameters.get(_NAMES.get(name, name))
        if parameter is None or parameter.name is None:
            close = difflib.get_close_matches(name, [n for n in parameters if n], 1)
            raise UsageError(
                f"{path} says {key!r:.60}, which is no option of convert",
                "",
                f"did you mean {close[0].rstrip('_')}?" if close else "edgekit convert --help lists them",
            )
        texts = [value] if isinstance(value, str) else value  # a list of one may be written without brackets
        if not (_are_texts(texts) if parameter.multiple else isinstance(value, (str, int, float))):
            kind = "a list of texts" if parameter.multiple else "one value"
            raise UsageError(f"{path}: {key} is not {kind}", "", "docs/recipes.md shows how it is written")
        values[parameter.name] = _placed(parameter, value, Path(path).resolve().parent)
    return values


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) for v in values)


def _placed(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    """`value`, or the file that it names beside the recipe. A source may also be OWNER/NAME of the hub, labels `coco`,
    a target a name: they are taken for files only where those are there."""
    if parameter.multiple:
        return [_placed_text(parameter, v, folder) for v in ([value] if isinstance(value, str) else value)]
    return _placed_text(parameter, value, folder)


def _placed_text(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    if not isinstance(value, str):
        return value
    always = parameter.type is PATH and parameter.name not in ("source", "labels")
    maybe = parameter.name in ("source", "labels", "targets") and (folder / value).exists()
    return str(folder / value) if always or maybe else value


def _refuse_code(source: str, path: str) -> None:
    name, _, function = source.rpartition(":")
    if name.endswith(".py") and function:
        raise UsageError(
            f"{path} names {source}, which runs code",
            "a recipe runs none: it may be somebody else's",
            f"type it: edgekit convert {source} --recipe {path}",
        )


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Says which file a value that click refuses comes from."""
    try:
        yield
    except click.BadParameter as error:
        raise UsageError(f"The recipe {path}: {error.format_message()}") from error
