"""Frozen dataclasses as plain JSON values, and back."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Readers = Mapping[Any, Callable[[Any], Any]]


def to_json(value: object) -> Any:
    """Dataclasses, enums and tuples as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    return value


def from_json(kind: type[T], value: object, readers: Readers | None = None) -> T:
    """Rebuild `kind` from plain JSON. Raises ValueError naming the field that does not fit.

    Unknown keys are ignored, so that a newer minor schema can add some. `readers`: by the kind of a field, what reads
    it, where its class depends on its value.
    """
    return typing.cast(T, _Builder(readers or {}).build(kind, value, kind.__name__))


class _Builder:
    """One reading of a value; `readers` as in `from_json`."""

    def __init__(self, readers: Readers) -> None:
        self.readers = readers

    def build(self, kind: Any, value: Any, where: str) -> Any:
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return value
        if kind in self.readers:
            return self.readers[kind](value)
        if origin in (typing.Union, types.UnionType):
            if value is None and type(None) in args:
                return None
            exact = next((a for a in args if type(value) is a), None)  # of several plain kinds, the value's own
            return self.build(exact or next(a for a in args if a is not type(None)), value, where)
        if origin is Literal:
            if value not in args:
                raise ValueError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
            return value
        if origin is tuple:
            if not isinstance(value, list):
                raise ValueError(f"{where}: expected a list")
            items = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
            if len(items) != len(value):
                raise ValueError(f"{where}: expected {len(items)} values, found {len(value)}")
            return tuple(self.build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(items, value)))
        if origin is list:
            if not isinstance(value, list):
                raise ValueError(f"{where}: expected a list")
            return [self.build(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
        if origin is dict:
            if not isinstance(value, dict):
                raise ValueError(f"{where}: expected an object")
            return {k: self.build(args[1], v, f"{where}.{k}") for k, v in value.items()}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return kind(value)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, value, where)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError as error:
                raise ValueError(f"{where}: a number with too many digits") from error
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
        return value

    def _dataclass(self, kind: Any, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object")
        hints = typing.get_type_hints(kind)
        fields: dict[str, Any] = {}
        for f in dataclasses.fields(kind):
            if f.name in value:
                fields[f.name] = self.build(hints[f.name], value[f.name], f"{where}.{f.name}")
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise ValueError(f"{where}: {f.name} is missing")
        return kind(**fields)
