"""Read the tensors and plain attributes of a torch checkpoint without running any of its code.

A `.pt` file is a zip with a pickle inside, and unpickling normally imports and calls whatever the
file names. Here every class becomes an inert stand-in that only collects attributes; the few
functions that rebuild tensors are our own; calling anything else is refused.
"""

from __future__ import annotations

import collections
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import torch
from torch import Tensor

from edgekit.errors import SourceError, UnsafeSourceError
from edgekit.sources.pickle_bounds import PickleError, checked_key
from edgekit.sources.pickle_machine import Machine

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_TORCH_DTYPES = {n: v for n, v in vars(torch).items() if isinstance(v, torch.dtype)}

# Called while unpickling by checkpoints that trainers really write (paths, dates, numpy scalars,
# configuration objects). They are not executed either: the result is an inert object. So this
# list guards nothing; it says which files are refused for what they try. A name with a dot at
# its end stands for everything below it; torch and numpy are not listed whole, for they can load
# and run files (torch.load, torch.hub.load, numpy.load, torch.storage._load_from_bytes).
_HARMLESS = (
    "torch._utils.",
    "torch._tensor.",
    "torch.nn.",
    "torch.device",
    "torch.Generator",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.dtypes.",
    "numpy.random._pickle.",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "pathlib.",
    "datetime.",
    "collections.",
    "enum.",
    "uuid.UUID",
    "omegaconf.",
    "types.SimpleNamespace",
    "argparse.Namespace",
    "operator.getitem",
    "_codecs.encode",
    "copyreg._reconstructor",
    "copyreg.__newobj__",
)


class _InertType(type):
    """A class whose instances only hold attributes. Calling it is what a hostile pickle does."""

    path: str

    def __call__(cls, *args: object, **kwargs: object) -> object:
        if not any(cls.path.startswith(h) if h[-1] == "." else cls.path == h for h in _HARMLESS):
            # Names and arguments are the file's own words: no escape codes, no deep nesting.
            shown = (ascii(a)[:60] if isinstance(a, (str, bytes, int)) else "…" for a in args[:4])
            raise UnsafeSourceError(
                f"This checkpoint asks to run {ascii(cls.path)[1:-1][:120]}({', '.join(shown)})",
                "reading a trained model needs no code; edgekit ran nothing",
                "do not load this file with torch.load; get the weights as .safetensors or .onnx",
            )
        instance: Any = cls.__new__(cls)  # type: ignore[call-overload]
        instance.arguments = args
        return instance


class Inert(metaclass=_InertType):
    """Stands for an object of a class that edgekit does not import."""

    path = "edgekit.Inert"
    arguments: tuple[object, ...] = ()

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        return object.__new__(cls)

    def take_state(self, state: object) -> None:
        """Attributes, as pickles of objects have them: a dictionary, or two in a tuple."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update({k: v for k, v in part.items() if isinstance(k, str)})


def class_name(obj: object) -> str:
    """The class a stand-in was pickled as, without its module; "" for ordinary objects."""
    return type(obj).path.rpartition(".")[2] if isinstance(obj, Inert) else ""


class _Storage(NamedTuple):
    values: Tensor | None


class _Plain(NamedTuple):
    """A constructor of a built-in type, given what trainers give it."""

    make: Callable[..., Any]
    takes: tuple[type, ...]
    digits: int = 40  # of text that becomes a number


class _Rebuild(NamedTuple):
    """One of torch's functions that put a tensor together."""

    parameter: bool


_COPIES = 4_000_000
_SIZED = (list, tuple, dict, set, frozenset, bytes, bytearray, str)
_SEQUENCES = (list, tuple, set, frozenset)
_PLAIN = {
    "set": _Plain(lambda *a: set(map(checked_key, *a)), _SEQUENCES),
    "frozenset": _Plain(lambda *a: frozenset(map(checked_key, *a)), _SEQUENCES),
    "list": _Plain(list, _SEQUENCES),
    "tuple": _Plain(tuple, _SEQUENCES),
    "dict": _Plain(dict, (dict,)),
    "bytearray": _Plain(bytes, (bytes, bytearray)),
    "bytes": _Plain(bytes, (bytes, bytearray)),
    "int": _Plain(int, (int, float, str)),
    "float": _Plain(float, (int, float, str)),
    "bool": _Plain(bool, (int, float, str)),
    "str": _Plain(str, (int, float, str), 1 << 20),
    "complex": _Plain(complex, (int, float, complex)),
    "slice": _Plain(slice, (int, type(None))),
}


class _Meaning:
    """What a checkpoint's pickle may name: tensors, plain types, and stand-ins for all else."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size: int) -> None:
        self._archive, self._root = archive, root
        # torch stores without compression: what is read cannot be more than the file holds.
        self._unread = size - archive.getinfo(root + "data.pkl").file_size
        if self._unread < 0:
            raise PickleError("it unpacks to more than the file holds")
        self._copied = 0  # values that constructors were given
        self._types: dict[str, type] = {}
        self._storages: dict[str, _Storage] = {}

    def name(self, module: str, name: str) -> object:
        path = f"{module}.{name}"
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return _PLAIN[name]
        if path == "collections.OrderedDict":
            return _Plain(collections.OrderedDict, (dict,))
        if path == "collections.defaultdict":
            return _Plain(lambda *_: {}, (object,))
        if path in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return _Rebuild(parameter=False)
        if path in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return _Rebuild(parameter=True)
        if path == "torch.Size":
            return _PLAIN["tuple"]
        if module == "torch" and name in _TORCH_DTYPES:
            return _TORCH_DTYPES[name]
        if path not in self._types:
            if len(path) > 500:
                raise PickleError("it names a class of more than 500 letters")
            self._types[path] = _InertType(name, (Inert,), {"path": path})
        return self._types[path]

    def call(self, function: object, arguments: tuple[object, ...]) -> object:
        if isinstance(function, _Plain):
            long = any(isinstance(a, str) and len(a) > function.digits for a in arguments)
            if long or not all(isinstance(a, function.takes) for a in arguments):
                raise PickleError("it makes a plain value of something else")
            self._copied += sum(len(a) for a in arguments if isinstance(a, _SIZED))
            if self._copied > _COPIES:
                raise PickleError("it copies the same values over and over")
            return function.make(*arguments)
        if isinstance(function, _Rebuild):
            if function.parameter:
                if not arguments or not isinstance(arguments[0], Tensor):
                    raise PickleError("a parameter that is no tensor")
                return arguments[0]
            return _tensor(*arguments[:4])
        if isinstance(function, _InertType):
            return function(*arguments)
        raise PickleError(f"it calls a {type(function).__name__}")

    def make(self, kind: object, arguments: tuple[object, ...]) -> object:
        if isinstance(kind, _InertType):
            return kind.__new__(kind)  # type: ignore[call-overload]
        return self.call(kind, arguments)

    def set_state(self, value: object, state: object) -> None:
        if isinstance(value, Inert):
            value.take_state(state)
        elif not isinstance(value, (Tensor, dict, list, set)):  # of those only the data counts
            raise PickleError(f"it sets the state of a {type(value).__name__}")

    def reference(self, key: object) -> _Storage:
        if not (isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and isinstance(key[2], (str, int))):
            raise PickleError("it refers to something that is no tensor")
        kind, name = key[1], str(key[2])
        if name not in self._storages:
            called = kind.path.rpartition(".")[2] if isinstance(kind, _InertType) else ""
            dtype = torch.uint8 if called == "UntypedStorage" else _DTYPES.get(called)
            self._storages[name] = _Storage(None if dtype is None else self._values(name, dtype))
        return self._storages[name]

    def _values(self, key: str, dtype: torch.dtype) -> Tensor:
        entry = self._archive.getinfo(f"{self._root}data/{key}")
        self._unread -= entry.file_size
        if self._unread < 0:
            raise PickleError("tensors that unpack to more than the file holds")
        data = bytearray(self._archive.read(entry))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """Same arguments as torch._utils._rebuild_tensor_v2. The tensor is a view, never a copy."""
    if not isinstance(storage, _Storage) or storage.values is None:
        raise PickleError("a tensor of a type edgekit does not read")
    size, stride = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    if offset < 0 or any(n < 0 for n in (*size, *stride)) or len(size) != len(stride) or len(size) > 16:
        raise PickleError("a tensor with a negative extent")
    if 0 in size:
        return torch.empty(size, dtype=storage.values.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    # More elements than data is an expanded tensor: a few bytes that unfold to terabytes.
    if last >= storage.values.numel() or math.prod(size) > storage.values.numel():
        raise PickleError("a tensor that reaches beyond its data")
    return storage.values.as_strided(size, stride, offset)


def read_checkpoint(file: Path | BinaryIO, name: str = "") -> object:
    """The object saved in `file`, with tensors real and everything else inert.

    Raises UnsafeSourceError when the file asks to run code, SourceError when it is damaged or
    is not a checkpoint of torch 1.6 or later.
    """
    name = name or (file.name if isinstance(file, Path) else "This checkpoint")
    try:
        size = file.stat().st_size if isinstance(file, Path) else file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            roots = [n[: -len("data.pkl")] for n in archive.namelist() if n.endswith("data.pkl")]
            if not roots:
                raise SourceError(
                    f"{name} is a zip file, but not a torch checkpoint",
                    "it holds no data.pkl",
                    "TorchScript archives and .zip folders are not supported: export to ONNX",
                )
            root = min(roots, key=len)
            meaning = _Meaning(archive, root, size)
            return Machine(meaning).load(archive.read(root + "data.pkl"))
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"{name} is not a torch checkpoint, or it is truncated",
            f"the zip container cannot be read: {error}",
            "download or copy it again; files of torch before 1.6 must be saved again with a newer torch",
        ) from error
    except SourceError:
        raise
    except Exception as error:  # a pickle can be wrong in any way; all of them mean the same
        raise SourceError(
            f"{name} cannot be read as a torch checkpoint",
            f"{type(error).__name__}: {str(error)[:200]}",
            "download or copy it again, or export the model to ONNX where it was trained",
        ) from error
