"""A `.pt2` exported program, read without believing it.

torch.export.load unpickles sample inputs and constants, evaluates expressions of shapes as Python, looks up
operators by any attribute path and compiles guards. So a copy is written that holds only what was checked
here, its one pickle made anew from tensors, and torch opens the copy. Memory: the file's size twice.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import SourceError, UnsafeSourceError
from edgekit.sources.pickle_reader import Inert, read_checkpoint
from edgekit.sources.shape_expressions import check_expression
from edgekit.system.documents import DocumentError, JsonObject, parse_json

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id|[\w-]+)|"
    r"data/weights/(weight_\d+|model_weights_config\.json)|"
    r"data/constants/(tensor_\d+|model_constants_config\.json)|"
    r"models/model\.json|data/sample_inputs/model\.pt"
)
_PICKLED = re.compile(r"data/(weights|constants)/(.*\.pt|custom_obj_.*|opaque_obj_.*)")
_MODEL, _INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.[a-z0-9_]+(\.[A-Za-z0-9_]+)?|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pos|abs|"
    r"eq|ne|lt|le|gt|ge|and_|or_|not_)|torch\.sym_[a-z]+|math\.(ceil|floor|trunc)"
)
_FILES = re.compile(r"\.(from_file|save|load\w*|open)(\.|$)")  # operators that would touch the disk
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None}
_OBJECTS = ("as_custom_obj", "as_operator", "as_opaque_obj", "as_graph")


def load(file: Path) -> ExportedProgram:
    """Loads the torch.export.ExportedProgram of a file without running anything in the file.

    Raises UnsafeSourceError for what would run code when torch loads it, SourceError for a file that is
    damaged or of another torch.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        copy = Path(folder) / "checked.pt2"
        try:
            _write_checked(file, copy)
            with _without_log("torch.export"):
                return torch.export.load(str(copy))
        except SourceError:
            raise
        except Exception as error:  # zip, JSON and schema errors share no base class
            lines = str(error).strip().splitlines()
            raise SourceError(
                f"{file.name} is not an exported program of this torch ({torch.__version__})",
                lines[0][:200] if lines else repr(error)[:200],
                "save it with torch.export.save, using the torch version that edgekit runs with",
            ) from error


@contextlib.contextmanager
def _without_log(name: str) -> Iterator[None]:
    """Silences the stack of calls that torch writes on stderr before it raises: the error says enough."""
    log = logging.getLogger(name)
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


def _write_checked(file: Path, copy: Path) -> None:
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as out:
        entries = archive.infolist()
        if sum(e.file_size for e in entries) > size:
            raise SourceError(f"{file.name} unpacks to more than it holds", "", "save it again")
        root = entries[0].filename.partition("/")[0] if entries else ""
        names: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            top, _, name = entry.filename.partition("/")
            if _PICKLED.fullmatch(name):
                raise _unsafe(file, f"{name} is a pickle, which runs what it names when it is loaded")
            if top != root or name in names or not _PLAIN.fullmatch(name):
                raise _unsafe(file, f"it holds {ascii(entry.filename)[:80]}, which no exported model needs")
            names[name] = entry
        for name, entry in names.items():
            content = archive.read(entry)
            if name == _MODEL:
                content = _checked_model(file, content)
            elif name == _INPUTS:
                content = _checked_inputs(file, content)
            elif name.endswith("_config.json"):
                _check_payload(file, content, {n: e.file_size for n, e in names.items()}, name)
            out.writestr(f"checked/{name}", content)


def _unsafe(file: Path, why: str) -> UnsafeSourceError:
    return UnsafeSourceError(
        f"{file.name} holds more than a model, and edgekit ran nothing of it",
        why,
        "export to ONNX where it was made, or save it again with torch.export.save from plain tensors",
    )


def _document(file: Path, content: bytes) -> JsonObject:
    try:
        data = parse_json(content)
    except DocumentError as error:
        raise SourceError(f"{file.name} is damaged: {error}", "", "save it again") from error
    if not isinstance(data, dict):
        raise SourceError(f"{file.name} is damaged", "its model is no JSON object", "save it again")
    return data


def _checked_model(file: Path, content: bytes) -> bytes:
    """The program with its operators, expressions and trees compared with what is harmless, and without
    what people may read of it but no conversion needs."""
    data = _document(file, content)
    if data.get("guards_code"):
        data["guards_code"] = []  # Python source, for callers of the program
    for key in data.get("range_constraints") or {}:
        _expression(file, key)
    pending: list[Any] = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        if not isinstance(item, dict):
            continue
        for kind in _OBJECTS:
            if item.get(kind) is not None:
                raise _unsafe(file, f"its graph holds an object ({kind})")
        if "target" in item and "inputs" in item:
            target = item["target"]
            if not isinstance(target, str) or not _OPERATOR.fullmatch(target) or _FILES.search(target):
                raise _unsafe(file, f"its graph calls {ascii(target)[:80]}")
            item["metadata"] = {}
        if "expr_str" in item:
            _expression(file, item["expr_str"])
        for name in ("in_spec", "out_spec"):
            if item.get(name):
                _check_tree(file, item[name])
        pending += item.values()
    return json.dumps(data).encode()


def _expression(file: Path, text: object) -> None:
    try:
        check_expression(text)
    except ValueError as error:
        raise _unsafe(file, f"the expression of a shape, {ascii(text)[:80]}, {error}") from error


def _check_tree(file: Path, text: object) -> None:
    spec = _tree(file, text)
    pending: list[Any] = spec[1:] if isinstance(spec, list) else [None]
    while pending:
        node: Any = pending.pop()
        children = node.get("children_spec") if isinstance(node, dict) else None
        if not isinstance(children, list) or node.get("type") not in _TREES:
            raise _unsafe(file, f"its arguments are of {ascii(node)[:80]}")
        if node.get("context") is not None:
            context = _tree(file, node["context"])
            if not (context is None or (isinstance(context, list) and all(isinstance(k, (str, int)) for k in context))):
                raise _unsafe(file, f"its arguments are of {ascii(node)[:80]}")
        pending += children


def _tree(file: Path, text: object) -> object:
    try:
        return parse_json(text) if isinstance(text, str) else text
    except DocumentError as error:
        raise SourceError(f"{file.name} is damaged: {error}", "", "save it again") from error


def _checked_inputs(file: Path, content: bytes) -> bytes:
    """The sample inputs as a pickle of edgekit's own writing: tensors and plain values only."""
    import torch

    value = read_checkpoint(io.BytesIO(content), f"the sample inputs of {file.name}")
    pending, count = [value], 0
    while pending:
        item, count = pending.pop(), count + 1
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, (list, tuple)):
            pending += item
        elif isinstance(item, Inert) or not isinstance(item, (torch.Tensor, int, float, str, type(None))):
            raise _unsafe(file, f"its sample inputs hold {type(item).__name__}")
        if count > 100_000:
            raise SourceError(f"{file.name} has sample inputs without end", "", "save it again")
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def _check_payload(file: Path, content: bytes, sizes: dict[str, int], config: str) -> None:
    """Tensors lie in files of their own, as raw bytes, and are no larger than those."""
    folder = config.rpartition("/")[0]
    for name, entry in (_document(file, content).get("config") or {}).items():
        if not isinstance(entry, dict) or entry.get("use_pickle"):
            raise _unsafe(file, f"{ascii(name)[:80]} is a pickle, which runs what it names when it is loaded")
        shape = [s.get("as_int") for s in (entry.get("tensor_meta") or {}).get("sizes") or ()]
        held = sizes.get(f"{folder}/{entry.get('path_name')}", -1)
        if held < 0 or not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) > held:
            raise SourceError(
                f"{file.name} is damaged",
                f"{ascii(name)[:80]} is larger than what the file holds of it",
                "save it again",
            )
