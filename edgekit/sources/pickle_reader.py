"""Read the tensors and plain attributes of a torch checkpoint without running any of its code.

A `.pt` file is a zip with a pickle inside, and unpickling normally imports and calls whatever the
file names. Here every class becomes an inert stand-in that only collects attributes; the few
functions that rebuild tensors are our own; calling anything else is refused.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgekit.errors import SourceError, UnsafeSourceError

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
    "torch._utils.", "torch._tensor.", "torch.nn.", "torch.device", "torch.Generator",
    "numpy.dtype", "numpy.ndarray", "numpy.dtypes.", "numpy.random._pickle.",
    "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "pathlib.", "datetime.", "collections.", "enum.", "uuid.UUID", "omegaconf.",
    "types.SimpleNamespace", "argparse.Namespace", "operator.getitem", "_codecs.encode",
    "copyreg._reconstructor", "copyreg.__newobj__",
)  # fmt: skip

_PLAIN = {
    "set": set, "dict": dict, "list": list, "tuple": tuple, "frozenset": frozenset,
    "bytearray": bytes, "int": int, "float": float, "bool": bool, "str": str,
    "complex": complex, "slice": slice,
}  # fmt: skip


class _InertType(type):
    """A class whose instances only hold attributes. Calling it is what a hostile pickle does."""

    path: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
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
    arguments: tuple[Any, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update({k: v for k, v in part.items() if isinstance(k, str)})

    def append(self, item: Any) -> None:  # list subclasses
        pass

    def extend(self, items: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:  # dict subclasses
        pass


def class_name(obj: Any) -> str:
    """The class a stand-in was pickled as, without its module; "" for ordinary objects."""
    return type(obj).path.rpartition(".")[2] if isinstance(obj, Inert) else ""


class _Storage(NamedTuple):  # a tuple, because a pickle can set attributes of what it holds
    values: Tensor | None


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str, size: int) -> None:
        super().__init__(archive.open(root + "data.pkl"))
        self._archive, self._root = archive, root
        # torch stores without compression: what is read cannot be more than the file holds.
        self._unread = size - archive.getinfo(root + "data.pkl").file_size
        if self._unread < 0:
            raise pickle.UnpicklingError("it unpacks to more than the file holds")
        self._types: dict[str, type] = {}
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return _PLAIN[name]
        if path == "collections.OrderedDict":
            return collections.OrderedDict
        if path == "collections.defaultdict":
            return _DefaultDict()
        if path in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return _RebuildTensor()
        if path in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return _RebuildParameter()
        if path == "torch.Size":
            return tuple
        if module == "torch" and name in _TORCH_DTYPES:
            return _TORCH_DTYPES[name]
        if path not in self._types:
            self._types[path] = _InertType(name, (Inert,), {"path": path})
        return self._types[path]

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"unknown reference {str(pid)[:60]}")
        kind, key = pid[1], str(pid[2])
        if key not in self._storages:
            name = kind.path.rpartition(".")[2] if isinstance(kind, _InertType) else ""
            dtype = torch.uint8 if name == "UntypedStorage" else _DTYPES.get(name)
            self._storages[key] = _Storage(None if dtype is None else self._values(key, dtype))
        return self._storages[key]

    def _values(self, key: str, dtype: torch.dtype) -> Tensor:
        entry = self._archive.getinfo(f"{self._root}data/{key}")
        self._unread -= entry.file_size
        if self._unread < 0:
            raise pickle.UnpicklingError("tensors that unpack to more than the file holds")
        data = bytearray(self._archive.read(entry))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


# Objects without a dictionary instead of functions: a pickle can set attributes of what it calls,
# and a function's would stay changed for the next file.
class _DefaultDict:
    __slots__ = ()

    def __call__(self, *args: Any) -> dict[Any, Any]:
        return {}


class _RebuildTensor:
    """Same arguments as torch._utils._rebuild_tensor_v2. The tensor is a view, never a copy."""

    __slots__ = ()

    def __call__(self, storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
        if not isinstance(storage, _Storage) or storage.values is None:
            raise pickle.UnpicklingError("a tensor of a type edgekit does not read")
        size, stride = tuple(int(n) for n in size), tuple(int(n) for n in stride)
        if offset < 0 or any(n < 0 for n in (*size, *stride)) or len(size) != len(stride):
            raise pickle.UnpicklingError("a tensor with a negative extent")
        if 0 in size:
            return torch.empty(size, dtype=storage.values.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        # More elements than data is an expanded tensor: a few bytes that unfold to terabytes.
        if last >= storage.values.numel() or math.prod(size) > storage.values.numel():
            raise pickle.UnpicklingError("a tensor that reaches beyond its data")
        return storage.values.as_strided(size, stride, offset)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Tensor, *rest: Any) -> Tensor:
        return data


def read_checkpoint(path: Path) -> Any:
    """The object saved in `path`, with tensors real and everything else inert.

    Raises UnsafeSourceError when the file asks to run code, SourceError when it is damaged or
    is not a checkpoint of torch 1.6 or later.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            roots = [n[: -len("data.pkl")] for n in archive.namelist() if n.endswith("data.pkl")]
            if not roots:
                raise SourceError(
                    f"{path.name} is a zip file, but not a torch checkpoint",
                    "it holds no data.pkl",
                    "TorchScript archives and .zip folders are not supported: export to ONNX",
                )
            return _Unpickler(archive, min(roots, key=len), path.stat().st_size).load()
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"{path.name} is not a torch checkpoint, or it is truncated",
            f"the zip container cannot be read: {error}",
            "download or copy it again; files of torch before 1.6 must be saved again with a newer torch",
        ) from error
    except SourceError:
        raise
    except Exception as error:  # a pickle can be wrong in any way; all of them mean the same
        raise SourceError(
            f"{path.name} cannot be read as a torch checkpoint",
            f"{type(error).__name__}: {error}",
            "download or copy it again, or export the model to ONNX where it was trained",
        ) from error
