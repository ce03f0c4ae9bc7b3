"""Readers of data: images, data sets of them, and texts."""

from __future__ import annotations

import shutil
import struct
import zlib
from functools import partial
from pathlib import Path

from tests.attacks.fuzzing import documents, raw
from tests.attacks.fuzzing.case import Case, Place, Random, Reader
from tests.attacks.fuzzing.models import WHOLE
from tests.attacks.fuzzing.packaged import DETECTOR


def image(random: Random, place: Place) -> Case:
    ending = random.choice(("jpg", "png", "webp", "bmp"))
    content = (place.seeds / "images" / f"a.{ending}").read_bytes()
    file = (
        place.folder
        / f"a.{ending if random.random() < 0.9 else random.choice(('jpg', 'tiff', 'gif', 'svg', 'exr', 'pfm'))}"
    )
    if random.random() < 0.2:
        content = _large(random)
    elif random.random() < 0.2:
        content = random.choice(
            (
                b"",
                b"\0" * 100,
                b"#?RADIANCE\n" * 9,
                b"P6 99999 99999 255\n",
                b"Pf 99999 99999 1\n",
                b"GIF89a" + b"\xff" * 60,
                b"<svg/>",
                b"v/1\x01" + bytes(100),
                b"II*\0" + bytes(60),
                b"\x76\x2f\x31\x01" + b"\xff" * 99,
            )
        )
    else:
        content = raw.mutate(random, content, 64)
    file.write_bytes(content)
    package = str(place.seeds / "packages" / DETECTOR)
    return Case(
        f"image.{ending}",
        ["detect", package, str(file), *random.choice(((), ("--json",), ("--save", str(place.out / "drawn"))))],
    )


def _large(random: Random) -> bytes:
    """A small PNG or BMP of many pixels."""
    side, depth = random.choice((16_000, 30_000, 60_000, 2**31 - 1, 0)), random.choice((8, 16))
    if random.random() < 0.2:
        return b"BM" + struct.pack(
            "<IIIIiiHHIIiiII", 54, 0, 54, 40, side % 2**31, random.choice((-side, side, 1)), 1, 24, 0, 0, 0, 0, 0, 0
        )

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, depth, random.choice((0, 2, 6)), 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(2**20))) + part(b"IEND", b"")
    )


def _evaluating(random: Random, place: Place, folder: Path, note: str) -> Case:
    if random.random() < WHOLE:
        command = [
            "convert",
            str(place.seeds / "m.safetensors"),
            "-p",
            "fp32",
            "--image-size",
            "64",
            "--launches",
            "0",
            "--eval",
            str(folder),
        ]
        return Case(f"convert: {note}", [*command, "-o", str(place.out / "dist")], seconds=150.0)
    return Case(note, call=partial(_dataset, folder))


def _dataset(folder: Path) -> None:
    from edgekit.data.images import match_categories, read_dataset

    found = read_dataset(folder)
    found.fingerprint()
    if found.annotated:
        match_categories(found, ("circle", "square", "triangle"))


def coco(random: Random, place: Place) -> Case:
    folder = Path(shutil.copytree(place.seeds / "coco", place.folder / "coco"))
    file = folder / "instances.json"
    file.write_bytes(documents.mutate(random, file.read_bytes()))
    return _evaluating(random, place, folder, "coco")


def yolo(random: Random, place: Place) -> Case:
    folder = Path(shutil.copytree(place.seeds / "yolo", place.folder / "yolo"))
    file = random.choice((folder / "data.yaml", folder / "labels" / "a.txt"))
    content = file.read_bytes()
    if file.suffix == ".yaml":
        content = documents.yaml(random, content, str(place.canary))
    elif random.random() < 0.5:
        content = raw.mutate(random, content)
    else:
        words = content.split()
        words[random.randrange(len(words))] = random.choice(
            (b"nan", b"inf", b"-1", b"1e15", b"9" * 400, b"0x1", b"\xff", b"", b"1e-400", b"1_0")
        )
        content = b" ".join(words)
    file.write_bytes(content)
    if random.random() < 0.1:
        (folder / "images" / "a.png").write_bytes(_large(random))
    return _evaluating(random, place, folder, file.name)


def corpus(random: Random, place: Place) -> Case:
    ending = random.choice(("txt", "jsonl"))
    content = (place.seeds / f"text.{ending}").read_bytes()
    file = place.folder / f"t.{ending}"
    if ending == "jsonl" and random.random() < 0.7:
        rows = content.splitlines()
        at = random.randrange(len(rows))
        rows[at] = documents.mutate(random, rows[at])
        content = b"\n".join(rows)
    else:
        content = random.choice(
            (
                raw.mutate(random, content),
                b"\0" * 500,
                b"<|endoftext|>" * 5000,
                "\ufffe\ud800".encode("utf-8", "surrogatepass"),
                b"x" * 200_000,
                b"\n" * 5000,
                content.decode().encode("utf-16"),
                b"\xff",
            )
        )
    file.write_bytes(content)
    if random.random() < WHOLE:
        command = [
            "convert",
            str(place.seeds / "llama"),
            "-p",
            "fp32",
            "--eval",
            str(file),
            "--eval-windows",
            "1",
            "--launches",
            "0",
        ]
        return Case("convert: corpus", [*command, "-o", str(place.out / "dist")], seconds=150.0)
    return Case("corpus", call=partial(_texts, file))


def _texts(file: Path) -> None:
    from edgekit.data.texts import fingerprint, read_texts

    fingerprint(read_texts(file))


READERS: dict[str, Reader] = {"image": image, "coco": coco, "yolo": yolo, "corpus": corpus}
