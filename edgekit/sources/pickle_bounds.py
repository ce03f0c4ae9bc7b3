"""Bounds on what a pickle builds: keys that hash cheaply, containers that unfold to no more than a model holds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeGuard, TypeVar

T = TypeVar("T")

_UNFOLDED = 10_000_000
_DEEPEST = 500
_KEY_PARTS = 64
_SCALARS = (str, bytes, int, float, bool, complex, type(None))


class PickleError(ValueError):
    """The bytes are no pickle of plain data, or one without bounds."""


def checked_key(key: T) -> T:
    """A key whose hash takes no time and no stack. Raises PickleError for another one."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > _KEY_PARTS or not all(isinstance(p, _SCALARS) or hashes_by_place(p) for p in parts):
        raise PickleError("it has a key that is no plain value")
    return key


def hashes_by_place(value: object) -> bool:
    hashed: Any = type(value).__hash__
    return hashed is object.__hash__


def check_bounded(value: object) -> None:
    """Raises PickleError for containers that hold themselves, lie too deep, or unfold to too much: printed,
    compared or walked through, a value that is used many times counts each time."""
    sizes: dict[int, tuple[int, int]] = {}  # how much a container unfolds to, and how deep it is
    open_: set[int] = set()
    pending: list[tuple[object, bool]] = [(value, False)]
    while pending:
        item, ready = pending.pop()
        inside = _inside(item)
        if inside is None or id(item) in sizes:
            continue
        if ready:
            open_.discard(id(item))
            parts = [sizes.get(id(i), (1, 0)) if _is_container(i) else (1, 0) for i in inside]
            size, depth = 1 + sum(p[0] for p in parts), 1 + max((p[1] for p in parts), default=0)
            if size > _UNFOLDED or depth > _DEEPEST:
                raise PickleError("it unfolds to more than any model holds")
            sizes[id(item)] = (size, depth)
            continue
        if id(item) in open_:
            raise PickleError("it holds a list that contains itself")
        if _is_container(item):
            open_.add(id(item))
            pending.append((item, True))
        else:
            sizes[id(item)] = (1, 0)
        pending += [(i, False) for i in inside]


def _is_container(item: object) -> TypeGuard[Collection[object]]:
    return isinstance(item, (list, tuple, dict, set, frozenset))


def _inside(item: object) -> list[object] | None:
    """The values that an item holds, or None when it holds none. The attributes of a stand-in are measured apart
    from the container it lies in."""
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    if _is_container(item):
        return list(item)
    if isinstance(item, (*_SCALARS, type)):
        return None
    held = getattr(item, "__dict__", None)
    return list(held.values()) if isinstance(held, dict) and held else None
