"""The pickle machine, with bounds: what it builds is data, and in proportion to the bytes it reads.

Python's own unpickler cannot be bounded: one flipped byte makes it allocate gigabytes for its memo, a key of
nested tuples runs through the stack. This one follows the opcodes that pickletools documents. It takes at
most 4 million opcodes, some 250 bytes of memory each, and about a second for each million; nothing that it
returns unfolds to more than 10 million values or lies deeper than 500.
"""

from __future__ import annotations

import collections
import pickletools
from collections.abc import Callable
from typing import Any, Protocol

from edgekit.sources.pickle_bounds import PickleError, check_bounded, checked_key

_OPCODES = 4_000_000

_VALUES = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Meaning(Protocol):
    """What the names and calls in a pickle stand for."""

    def name(self, module: str, name: str) -> object: ...

    def call(self, function: object, arguments: tuple[object, ...]) -> object: ...

    def make(self, kind: object, arguments: tuple[object, ...]) -> object: ...

    def set_state(self, value: object, state: object) -> None: ...

    def reference(self, key: object) -> object: ...


class _Mark:
    pass


class Machine:
    """Runs one pickle. The values it builds are `Meaning`'s, and plain containers of them."""

    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def load(self, content: bytes) -> object:
        """Raises PickleError, and what `Meaning` raises."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > _OPCODES:
                raise PickleError(f"it has more than {_OPCODES} opcodes")
            if opcode.name == "STOP":
                value = self._pop()
                check_bounded(value)
                return value
            self._step(opcode.name, argument)
        raise PickleError("it does not end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[argument] = self._top()
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            if argument not in self._memo:
                raise PickleError(f"it refers to value {argument}, which it does not hold")
            self._stack.append(self._memo[argument])
        elif name in _TUPLES:
            self._stack.append(self._take(_TUPLES[name]))
        else:
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise PickleError(f"it uses {name}, which no checkpoint needs")
            step(argument)

    def _top(self) -> object:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise PickleError("it takes a value that is not there")
        return self._stack[-1]

    def _pop(self) -> object:
        value = self._top()
        self._stack.pop()
        return value

    def _take(self, count: int) -> tuple[object, ...]:
        return tuple(reversed([self._pop() for _ in range(count)]))

    def _marked(self) -> list[object]:
        """Removes and returns the values above the last mark."""
        at = len(self._stack) - 1
        while at >= 0 and not isinstance(self._stack[at], _Mark):
            at -= 1
        if at < 0:
            raise PickleError("it takes values down to a mark that is not there")
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    # One method an opcode, by its name in pickletools.

    def _proto(self, version: int) -> None:
        if version > 5:
            raise PickleError(f"it is of protocol {version}")

    def _frame(self, size: int) -> None:
        pass

    def _mark(self, _: None) -> None:
        self._stack.append(_Mark())

    def _dup(self, _: None) -> None:
        self._stack.append(self._top())

    def _pop_mark(self, _: None) -> None:
        self._marked()

    def _list(self, _: None) -> None:
        self._stack.append(self._marked())

    def _tuple(self, _: None) -> None:
        self._stack.append(tuple(self._marked()))

    def _dict(self, _: None) -> None:
        mapping: dict[Any, Any] = {}
        _put(mapping, self._marked())
        self._stack.append(mapping)

    def _frozenset(self, _: None) -> None:
        self._stack.append(frozenset(map(checked_key, self._marked())))

    def _append(self, _: None) -> None:
        value = self._pop()
        _extend(self._top(), [value])

    def _appends(self, _: None) -> None:
        values = self._marked()
        _extend(self._top(), values)

    def _additems(self, _: None) -> None:
        values = self._marked()
        target = self._top()
        if isinstance(target, set):
            target.update(map(checked_key, values))

    def _setitem(self, _: None) -> None:
        pair = self._take(2)
        _put(self._top(), list(pair))

    def _setitems(self, _: None) -> None:
        values = self._marked()
        _put(self._top(), values)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._meaning.name(module, name))

    def _stack_global(self, _: None) -> None:
        module, name = self._take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it names something by what is no text")
        self._stack.append(self._meaning.name(module, name))

    def _reduce(self, _: None) -> None:
        function, arguments = self._take(2)
        self._stack.append(self._meaning.call(function, _arguments(arguments)))

    def _newobj(self, _: None) -> None:
        kind, arguments = self._take(2)
        self._stack.append(self._meaning.make(kind, _arguments(arguments)))

    def _newobj_ex(self, _: None) -> None:
        kind, arguments, _named = self._take(3)
        self._stack.append(self._meaning.make(kind, _arguments(arguments)))

    def _inst(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._meaning.call(self._meaning.name(module, name), tuple(self._marked())))

    def _obj(self, _: None) -> None:
        kind, *arguments = self._marked() or [None]
        self._stack.append(self._meaning.call(kind, tuple(arguments)))

    def _build(self, _: None) -> None:
        state = self._pop()
        self._meaning.set_state(self._top(), state)

    def _binpersid(self, _: None) -> None:
        self._stack.append(self._meaning.reference(self._pop()))

    def _persid(self, key: str) -> None:
        self._stack.append(self._meaning.reference(key))


def _arguments(value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise PickleError("it calls something with what is no list of arguments")
    return value


def _extend(target: object, values: list[object]) -> None:
    if type(target) is list:
        target += values  # what is no list is a stand-in, whose items nobody reads


def _put(target: Any, values: list[object]) -> None:
    if len(values) % 2:
        raise PickleError("it has a key without a value")
    if type(target) in (dict, collections.OrderedDict):
        for key, value in zip(values[::2], values[1::2]):
            target[checked_key(key)] = value
