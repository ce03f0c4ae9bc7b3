"""Readers of models that are one file: checkpoints, graphs, programs, GGUF."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tests.attacks.fuzzing import documents, pickles, raw, texts, wires, zips
from tests.attacks.fuzzing.case import Case, Place, Random, Reader

WHOLE = 0.04  # of cases go through all of `edgekit convert`, which takes seconds


def converting(
    random: Random, place: Place, source: Path, note: str, lie: bool = False, words: tuple[str, ...] = ()
) -> Case:
    """`edgekit convert` on a source, or what it runs in its child, here."""
    command = ["convert", str(source), "-p", "fp32", "--launches", "0", "-o", str(place.out / "dist"), *words]
    if random.random() < WHOLE:
        return Case(f"convert: {note}", command, lie=lie, seconds=150.0)
    return Case(note, command, partial(read, str(source), place.out, words), lie)


def read(path: str, out: Path, words: tuple[str, ...]) -> None:
    from edgekit.conversion import reading_child
    from edgekit.conversion.reading import source_for
    from edgekit.sources.base import SourceOptions

    given = dict(zip(words[::2], words[1::2]))
    side = int(given.get("--image-size", 0))
    source = source_for(path)
    labels = tuple(t for t in given.get("--labels", "").split(",") if t)
    options = SourceOptions((side, side) if side else None, labels, given.get("--decoder", ""))
    source.files(path)
    folder = out / "model"
    folder.mkdir()
    reading_child.read(source.name, path, options, folder, source.task)


def checkpoint(random: Random, place: Place) -> Case:
    content, canary, runs = (place.seeds / "m.pt").read_bytes(), str(place.canary), False
    file = place.folder / f"m.{random.choice(('pt', 'pth', 'ckpt'))}"
    if random.random() < 0.4:
        data, runs = pickles.bare(random, canary)
    else:

        def change(random: Random, name: str, inside: bytes) -> bytes:
            nonlocal runs
            changed, runs = (
                pickles.mutate(random, inside, canary) if name.endswith(".pkl") else (raw.mutate(random, inside), False)
            )
            return changed

        entries = zips.entries_of(content)
        if random.random() < 0.7:  # the pickle is one entry of hundreds
            at = next(i for i, (n, _) in enumerate(entries) if n.endswith("data.pkl"))
            entries[at] = (entries[at][0], change(random, *entries[at]))
            data = zips.packed(entries)
        else:
            data = zips.mutate(random, content, change)
    file.write_bytes(data)
    return converting(random, place, file, "pickle", runs, ("--image-size", "64"))


def safetensors(random: Random, place: Place) -> Case:
    content = (place.seeds / "m.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    file = place.folder / "m.safetensors"
    if random.random() < 0.7:
        header = documents.mutate(random, content[8 : 8 + size])
        stated = random.choice((len(header), len(header), len(header), 0, 2**63, len(header) + 1))
        file.write_bytes(stated.to_bytes(8, "little") + header + content[8 + size :])
    else:
        file.write_bytes(raw.mutate(random, content, size))
    return converting(random, place, file, "header", words=("--image-size", "64"))


def onnx(random: Random, place: Place) -> Case:
    data, lie = wires.mutate(random, (place.seeds / "m.onnx").read_bytes(), str(place.secret))
    (place.folder / "m.onnx").write_bytes(data)
    os.symlink(place.secret, place.folder / "link.bin")
    return converting(random, place, place.folder / "m.onnx", "graph", lie)


def onnx_external(random: Random, place: Place) -> Case:
    lie = False
    data, other = ((place.seeds / "external" / n).read_bytes() for n in ("m.onnx", "m.data"))
    kind = random.randrange(6)
    if kind < 3:
        data, lie = wires.mutate(random, data, str(place.secret))
    elif kind == 3:
        other = raw.mutate(random, other)
    elif kind == 4:  # the same length, so that the message stays one
        data = data.replace(b"m.data", random.choice((b"../../", b"/etc/x", b"m.onnx", b"\0.data", b"......")))
    (place.folder / "m.onnx").write_bytes(data)
    if kind == 5:
        os.symlink(place.secret, place.folder / "m.data")
        lie = True
    else:
        (place.folder / "m.data").write_bytes(other)
    os.symlink(place.secret, place.folder / "link.bin")
    return converting(random, place, place.folder / "m.onnx", "graph and data", lie)


def exported_program(random: Random, place: Place) -> Case:
    content, canary, runs = (place.seeds / "m.pt2").read_bytes(), str(place.canary), False

    def change(random: Random, name: str, inside: bytes) -> bytes:
        nonlocal runs
        if name.endswith(".json"):
            return documents.mutate(random, inside)
        if name.endswith(".pt"):
            changed, runs = pickles.bare(random, canary)
            return changed
        return raw.mutate(random, inside)

    entries = zips.entries_of(content)
    if random.random() < 0.6:
        at = next(i for i, (n, _) in enumerate(entries) if n.endswith("models/model.json"))
        text = documents.mutate(random, entries[at][1])
        if random.random() < 0.2:
            text = text.replace(
                b"torch.ops.aten.",
                random.choice((b"os.", b"torch.hub.", b"builtins.", b"torch.ops.aten.__class__.")),
                1,
            )
        entries[at] = (entries[at][0], text)
        data = zips.packed(entries)
    else:
        data = zips.mutate(random, content, change)
    file = place.folder / "m.pt2"
    file.write_bytes(data)
    return converting(random, place, file, "program", runs, ("--decoder", "yolov8"))


def gguf(random: Random, place: Place) -> Case:
    content = (place.seeds / "m.gguf").read_bytes()
    file = place.folder / "m.gguf"
    if random.random() < 0.25:
        name = b"tokenizer.chat_template"
        at = content.index(name) + len(name) + 4
        size = int.from_bytes(content[at : at + 8], "little")
        honest = content[at + 8 : at + 8 + size].decode("utf-8")
        text = texts.template(random, honest, str(place.canary)).encode("utf-8", "surrogatepass")[:size].ljust(size)
        content = content[: at + 8] + text + content[at + 8 + size :]
    else:
        content = raw.mutate(random, content, 16_000)
    file.write_bytes(content)
    return converting(random, place, file, "container")


READERS: dict[str, Reader] = {
    "checkpoint": checkpoint,
    "safetensors": safetensors,
    "onnx": onnx,
    "onnx-external": onnx_external,
    "exported-program": exported_program,
    "gguf": gguf,
}
