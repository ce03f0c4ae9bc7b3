"""Changes to pickles: opcodes left out, twice there and swapped, calls of what runs code, and data that
unfolds to more than memory or stack holds."""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile

from tests.attacks.fuzzing import raw
from tests.attacks.fuzzing.case import Random

_RUN = (
    "os system",
    "posix system",
    "subprocess call",
    "builtins eval",
    "builtins exec",
    "webbrowser open",
    "runpy run_path",
    "shutil rmtree",
    "importlib import_module",
    "torch.hub load",
    "torch load",
    "numpy load",
    "pathlib Path.unlink",
    "torch.storage _load_from_bytes",
    "builtins getattr",
    "operator attrgetter",
    "timeit timeit",
    "pty spawn",
    "code interact",
    "torch.serialization load",
    "torch._utils _rebuild_device_tensor_from_numpy",
    "pydoc pipepager",
    "builtins __import__",
)


def attack(random: Random, canary: str) -> tuple[bytes, bool]:
    """A pickle that is hostile by design, and whether it asks to run something."""
    kind = random.randrange(16)
    if kind < 6:
        module, name = random.choice(_RUN).split(" ")
        text = random.choice(
            (f"touch {canary}", f"open({canary!r}, 'w')", canary, f"__import__('os').system('touch {canary}')")
        )
        return b"c" + f"{module}\n{name}\n".encode() + b"(V" + text.encode() + b"\ntR.", True
    if kind == 6:  # by name on the stack, and by instance
        return (
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
            + bytes([min(len(canary) + 6, 255)])
            + f"touch {canary}".encode()[:255]
            + b"\x85R."
        ), True
    if kind == 7:
        return b"(S'touch " + canary.encode() + b"'\nios\nsystem\n.", True
    bombs = (
        b"Nr\xff\xff\xff\x7f.",
        b"N" + b"r" + struct.pack("<I", 2**31) + b".",
        b"}" + b"(" * 5000 + b".",
        b"(" * 100_000 + b"t" * 100_000 + b".",
        b"]" + b"]a" * 100_000 + b".",
        _nested(40),
        _nested(2000),
        _deep_key(),
        b"]q\0h\0a.",
        b"}q\0Nh\0s.",
        b"\x8e" + b"\xff" * 7 + b"\x7f.",
        b"\x96" + struct.pack("<Q", 2**40) + b".",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"I" + b"9" * 5000 + b"\n.",
        b"\x8b\xff\xff\xff\x7f.",
        b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
        b"cbuiltins\nint\n(V" + b"9" * 5000 + b"\ntR.",
        b"cbuiltins\nset\n(" + _deep_key()[:-1] + b"tR.",
        b"ctorch\nSize\n(I1\ntR.",
        b"ccollections\nOrderedDict\n(I1\ntR.",
        b"(lp0\n" + b"g0\na" * 1000 + b".",
        b".",
        b"",
        b"N",
        b"0.",
        b"\x80\xff.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_parameter\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NI9\n(I1\nt(I1\ntNNtR.",
        b"(VstorageNV0\nVcpu\nI4\ntQ.",
        b"\x94" * 100 + b".",
        b"Fnan\n.",
        b"V\\ud800\n.",
        b"cenum\nEnum\n(I1\ntR}b.",
        b"c" + b"x" * 5000 + b"\n" + b"y" * 5000 + b"\n.",
        b"c\xff\xfe\nx\n.",
        b"c\x1b[31m\nx\n(tR.",
        b"ccollections\ndefaultdict\n(NtR.",
        b"cbuiltins\ndict\n(]]a" + b"tR.",
        b"cbuiltins\nslice\n(NNtR.",
        b"cbuiltins\ncomplex\n(Fnan\ntR.",
    )
    return random.choice(bombs), False


def _nested(depth: int) -> bytes:
    """A list that holds one list twice, and so on: printed, it has two to the power of `depth` parts."""
    return (
        b"]q\0"
        + b"".join(
            b"]q" + bytes([(i + 1) % 255]) + b"(h" + bytes([i % 255]) + b"h" + bytes([i % 255]) + b"e"
            for i in range(depth)
        )
        + b"."
    )


def _deep_key() -> bytes:
    return b"}N" + b"\x85" * 50_000 + b"Ns."


def mutate(random: Random, content: bytes, canary: str) -> tuple[bytes, bool]:
    if random.random() < 0.4:
        return attack(random, canary)
    if random.random() < 0.25:
        return raw.mutate(random, content), False
    operations = list(pickletools.genops(content))
    places = [o[2] for o in operations] + [len(content)]
    parts = [content[places[i] : places[i + 1]] for i in range(len(operations))]
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(parts))
        match random.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[at])
            case 2:
                parts[at] = random.choice(parts)
            case 3:
                parts.insert(
                    at,
                    random.choice(
                        (
                            b"N",
                            b")",
                            b"]",
                            b"}",
                            b"(",
                            b"0",
                            b"2",
                            b"R",
                            b"b",
                            b"Q",
                            b"\x81",
                            b"s",
                            b"a",
                            b"t",
                            b"e",
                            b"u",
                            b"I-1\n",
                            b"I9223372036854775808\n",
                            b"Fnan\n",
                            b"V\\ud800\n",
                            b"\x85",
                            b"h\0",
                        )
                    ),
                )
            case 4:
                parts[at] = raw.mutate(random, parts[at])
        if not parts:
            break
    return b"".join(parts), False


def bare(random: Random, canary: str) -> tuple[bytes, bool]:
    """As files of another kind hold them: plain, inside a zip, or where a tensor should be."""
    content, runs = attack(random, canary)
    if random.random() < 0.5:
        return content, runs
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr(random.choice(("m/data.pkl", "data.pkl", "a/b/data.pkl")), content)
        archive.writestr("m/version", "3\n")
        archive.writestr("m/data/0", bytes(64))
    return out.getvalue(), runs
