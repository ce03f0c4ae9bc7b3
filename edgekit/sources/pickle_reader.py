"""Read the tensors and plain attributes of a torch checkpoint without running any of its code.

A `.pt` file is a zip with a pickle inside, and unpickling normally imports and calls whatever the
file names. Here every class becomes an inert stand-in that only collects attributes; the few
functions that rebuild tensors are our own; calling anything else is refused.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

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

# Called while unpickling by checkpoints that trainers really write (paths, dates, numpy scalars,
# configuration objects). They are not executed either: the result is an inert object.
_HARMLESS_ROOTS = {
    "torch", "numpy", "pathlib", "datetime", "collections", "types", "argparse", "enum",
    "omegaconf", "copyreg", "_codecs",
}  # fmt: skip

_PLAIN = {
    "set": set, "dict": dict, "list": list, "tuple": tuple, "frozenset": frozenset,
    "bytearray": bytearray, "int": int, "float": float, "bool": bool, "str": str,
    "complex": complex, "slice": slice,
}  # fmt: skip


class _InertType(type):
    """A class whose instances only hold attributes. Calling it is what a hostile pickle does."""

    path: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.path.split(".")[0] not in _HARMLESS_ROOTS:
            raise UnsafeSourceError(
                f"This checkpoint asks to run {cls.path}({', '.join(repr(a)[:60] for a in args)})",
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


class _Storage:
    def __init__(self, dtype: torch.dtype | None, data: bytes) -> None:
        self.dtype, self.data = dtype, data


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(root + "data.pkl"))
        self._archive, self._root = archive, root
        self._types: dict[str, type] = {}
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return _PLAIN[name]
        if path == "collections.OrderedDict":
            return collections.OrderedDict
        if path == "collections.defaultdict":
            return _default_dict
        if path in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return _rebuild_tensor
        if path in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return _rebuild_parameter
        if path == "torch.Size":
            return tuple
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
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
            self._storages[key] = _Storage(dtype, self._archive.read(f"{self._root}data/{key}"))
        return self._storages[key]


def _default_dict(*args: Any) -> dict[Any, Any]:
    return {}


def _rebuild_tensor(
    storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any
) -> Tensor:  # same arguments as torch._utils._rebuild_tensor_v2
    if not isinstance(storage, _Storage) or storage.dtype is None:
        raise pickle.UnpicklingError("a tensor of a type edgekit does not read")
    size, stride = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    if offset < 0 or any(n < 0 for n in (*size, *stride)) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor with a negative extent")
    if 0 in size:
        return torch.empty(size, dtype=storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    flat = torch.frombuffer(bytearray(storage.data), dtype=storage.dtype)
    if last >= flat.numel():
        raise pickle.UnpicklingError("a tensor that reaches beyond its data")
    return flat.as_strided(size, stride, offset).clone()


def _rebuild_parameter(data: Tensor, *rest: Any) -> Tensor:
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
            return _Unpickler(archive, min(roots, key=len)).load()
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
