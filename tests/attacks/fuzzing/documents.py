"""Changes to JSON, TOML and YAML that keep most of it valid, so that what reads the values is reached."""

from __future__ import annotations

import json
from typing import Any

from tests.attacks.fuzzing.case import Random

_MARK = "\ue000raw"
# Text that stands in a document as it is: no value of Python gives it.
_RAW = (
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 400,
    "-" + "9" * 400,
    "1e308",
    "-0.0",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    "[" * 5000 + "]" * 5000,
    '{"a":' * 3000 + "1" + "}" * 3000,
    "[" * 150 + "]" * 150,
    '{"a": 1, "a": 2}',
    "01",
    "'a'",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    5,
    255,
    256,
    1000,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    10**15,
    10**18,
    -(2**31),
    0.0,
    0.5,
    -1.5,
    1e-300,
    1e300,
    "",
    " ",
    "a",
    "x" * 100_000,
    "\0",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "\u202e",
    "\u2028",
    "é",
    "\N{FOX FACE}",
    "../../secret",
    "/etc/passwd",
    "a/b",
    ".",
    "..",
    "C:\\x",
    "{{ 7*7 }}",
    "<script>alert(1)</script>",
    "nan",
    "inf",
    "1",
    "-1",
    "1e999",
    "<|im_end|>",
    "%s%n",
    [],
    [5],
    [None],
    [[]],
    ["a", "a"],
    [0] * 1000,
    {},
    {"a": None},
    {"": 1},
    {"__class__": "x"},
    [{}],
    {"x": {"y": {"z": []}}},
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inside in value.items():
            found += _paths(inside, (*path, key))
    elif isinstance(value, list):  # long lists are of one kind: their ends stand for all
        for at in range(len(value)) if len(value) < 8 else (0, 1, len(value) // 2, len(value) - 1):
            found += _paths(value[at], (*path, at))
    return found


def change(random: Random, value: Any, hostile: bool = True) -> Any:
    """A copy of a document with one to three values changed. With `hostile`, some of them are text that
    only `written` can write."""
    value = json.loads(json.dumps(value))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        paths = _paths(value)
        if not paths:
            return random.choice(_VALUES)
        path = random.choice(paths)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        _at(random, holder, path[-1], hostile)
    return value


def change_part(random: Random, document: dict[str, Any], name: str) -> dict[str, Any]:
    """`change`, within the value of one key."""
    changed = change(random, {name: document.get(name)})
    return {**document, name: changed.get(name, 5) if isinstance(changed, dict) else changed}


def _at(random: Random, holder: Any, key: Any, hostile: bool) -> None:
    old = holder[key]
    kind = random.randrange(10)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[random.choice(("", "a", "\0", "x" * 5000, "__proto__", "\u202e"))] = old
    elif kind == 2 and isinstance(holder, dict):
        holder[key + random.choice(("_", " ", "\0", "x"))] = holder.pop(key)
    elif kind == 3 and isinstance(old, (int, float)) and not isinstance(old, bool):
        holder[key] = random.choice((-old, old + 1, old * 1000, old * 10**9, old / 3, -1, 0, str(old), [old], None))
    elif kind == 4 and isinstance(old, list) and len(old) < 10_000:
        holder[key] = random.choice((old * 3, old[:-1], old[::-1], [old], [*old, None], dict(enumerate(map(str, old)))))
    elif kind == 5 and isinstance(old, str):
        holder[key] = random.choice(
            (old * 50, old[:-1], old.upper(), "\0" + old, [old], {"a": old}, old + "\n", f"../{old}")
        )
    elif kind < 8 or not hostile:
        holder[key] = random.choice(_VALUES)
    else:
        holder[key] = _MARK + str(random.randrange(len(_RAW)))


def written(value: Any, **options: Any) -> str:
    """JSON, with the text that is no value in its place."""
    text = json.dumps(value, **options)
    for number, raw in reversed(list(enumerate(_RAW))):
        for mark in (json.dumps(_MARK + str(number)), f'"{_MARK}{number}"'):
            text = text.replace(mark, raw)
    return text


def mutate(random: Random, content: bytes) -> bytes:
    """A JSON document changed as a document, as a text, or by its encoding."""
    kind = random.random()
    if kind < 0.85:
        text = written(change(random, json.loads(content)))
        return text.encode("utf-8", "surrogatepass")
    if kind < 0.9:
        return content.decode("utf-8").encode(random.choice(("utf-16", "utf-32", "utf-8-sig")))
    if kind < 0.95:
        return random.choice(
            (
                b"",
                b"null",
                b"[]",
                b"5",
                b'"a"',
                b"{}",
                b"[" * 200_000,
                b'{"a":' * 100_000,
                b"\xff\xfe{}",
                b"{}{}",
                b"\0" * 50,
                b"9" * 5000,
                b" " * 100,
            )
        )
    from tests.attacks.fuzzing import raw

    return raw.mutate(random, content)


_TOML = (
    "[" * 4000 + "]" * 4000,
    "{a=" * 2000 + "1" + "}" * 2000,
    "9" * 5000,
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1979-05-27T07:32:00Z",
    '"\\ud800"',
    '"\\U0010FFFF"',
    "''",
    '"' + "x" * 100_000 + '"',
    "[1, 'a', [], {}]",
    "true",
    "0x7fffffffffffffff",
    "{}",
    "[]",
    '"../../etc"',
    '"\\u001b[31m"',
    "-1",
    "1e18",
    "[[[]]]",
    '["fp32", 5]',
    "00:00:00",
)


def mutate_toml(random: Random, content: bytes) -> bytes:
    """Lines of a TOML with another value, twice, left out, or under a table that is not theirs."""
    lines = content.decode("utf-8").splitlines()
    for _ in range(random.choice((1, 1, 2, 3))):
        if not lines:
            break
        at = random.randrange(len(lines))
        name, equals, _ = lines[at].partition("=")
        match random.randrange(7):
            case 0 | 1 | 2 if equals:
                lines[at] = f"{name}= {random.choice(_TOML)}"
            case 3:
                lines.insert(at, lines[at])
            case 4:
                del lines[at]
            case 5:
                lines.insert(
                    at,
                    random.choice(
                        ("[a]", "[[chips]]", "[tolerance]", "a.b.c = 1", "[" + "a." * 3000 + "a]", "\0", "= 1")
                    ),
                )
            case _:
                lines[at] = lines[at].replace('"', "", 1)
    data = "\n".join(lines).encode()
    return random.choice(
        (data, data, data, data, data + b"\xff", data.decode().encode("utf-16"), b"\xef\xbb\xbf" + data)
    )


_YAML = (
    "names: {0: a, ~: b}",
    "names: [~, 1, {a: b}]",
    "names: 5",
    "names: abc",
    "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]",
    "names: " + "[" * 3000 + "]" * 3000,
    "names: " + "{a: " * 2000 + "1" + "}" * 2000,
    "names: !!python/object/apply:os.system ['touch CANARY']",
    "names: {1e15: a}",
    "names: {-1: a}",
    "names: {99999999999: a}",
    "names: {true: a, 1: b}",
    "names: {a: 0}",
    "names:\n  0: a\n  0: b",
    "? [a, b]\n: c\nnames: [a]",
    "names: !!binary aGVsbG8=",
    "names: 2020-01-01",
    "nc: 1e999",
    "- a\n- b",
    "names: [.nan, .inf]",
    "<<: {names: [a]}",
    "names: !!set {a, b}",
    "%YAML 9.9\n---\nnames: [a]",
    "names: [a]\n---\nnames: [b]",
    "names: '\\ud800'",
    'names: ["\\ud800"]',
    "names: {99999: a}",
    "names: 0x" + "f" * 5000,
    "names: {" + "9" * 5000 + ": a}",
    "names: ? ? ?",
    "\tnames: [a]",
    "names: *a",
    "names: [1:1:1:1]",
)


def yaml(random: Random, honest: bytes, canary: str) -> bytes:
    from tests.attacks.fuzzing import raw

    if random.random() < 0.3:
        return raw.mutate(random, honest)
    text = random.choice(_YAML).replace("CANARY", canary)
    return (text if random.random() < 0.7 else honest.decode() + "\n" + text).encode()
