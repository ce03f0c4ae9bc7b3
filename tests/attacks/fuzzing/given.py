"""Readers of what people pass beside a model and its data: targets, settings, words, results."""

from __future__ import annotations

import shutil
import sqlite3

from tests.attacks.fuzzing import documents, raw, texts
from tests.attacks.fuzzing.case import Case, Place, Random, Reader
from tests.attacks.fuzzing.packaged import DETECTOR, TEXT

_TARGET = b"""about = "A chip"
backend = "onnxruntime"
precisions = ["fp32", "w8a8"]
devices = ["local"]
source = "https://example.org"

[text]
backend = "genai"
precisions = ["w4", "w8"]

[tolerance]
map_drop = 0.005
slower = 1.0

[[published]]
model = "x"
operator = "AveragePool 2x2 stride 1"
device = "y"
precision = "w8a8"
ms = 3.5
source = "z"

[chip]
soc = "SM8750"
soc_id = 69
htp = 79
aihub = ["Samsung Galaxy S25"]
android = ["SM8750"]
"""


def target(random: Random, place: Place) -> Case:
    file = place.folder / "mine.toml"
    file.write_bytes(raw.mutate(random, _TARGET) if random.random() < 0.2 else documents.mutate_toml(random, _TARGET))
    if random.random() < 0.5:
        return Case(
            "target", ["convert", "absent.onnx", "-t", str(file), *random.choice(((), ("-p", "fp32"), ("--json",)))]
        )
    own = place.out / "config" / "targets"
    own.mkdir(parents=True)
    shutil.copy(file, own)
    return Case("targets", ["targets", *random.choice(((), ("--json",)))])


_SETTINGS = b'threads = 2\naihub_patience = 10\nstore = "x.sqlite"\ncache = "x"\naihub_python = "python"\n'


def settings(random: Random, place: Place) -> Case:
    """The user's own file, and the one of the current folder: what lies there may start nothing."""
    content = raw.mutate(random, _SETTINGS) if random.random() < 0.2 else documents.mutate_toml(random, _SETTINGS)
    if random.random() < 0.5:
        (place.out / "config").mkdir()
        kept = [
            r for r in content.split(b"\n") if not r.startswith((b"store", b"cache", b"aihub_python"))
        ]  # the user's own words would be followed
        (place.out / "config" / "edgekit.toml").write_bytes(b"\n".join(kept))
    else:
        (place.folder / "edgekit.toml").write_bytes(content)
    picture, package = str(place.seeds / "images" / "a.png"), str(place.seeds / "packages" / DETECTOR)
    return Case(
        "settings",
        random.choice(
            (["doctor", "--json"], ["detect", package, picture], ["report", package, "-o", str(place.out / "r.html")])
        ),
    )


_CLIENT = b"[api]\napi_token = abcdef0123456789\napi_url = https://127.0.0.1:9\nweb_url = https://127.0.0.1:9\nverbose = True\n"


def client_ini(random: Random, place: Place) -> Case:
    content = random.choice(
        (
            raw.mutate(random, _CLIENT),
            raw.mutate(random, _CLIENT),
            _CLIENT + b"\xff\xfe",
            _CLIENT * 2,
            b"[api]\n" * 2,
            b"[" * 5000,
            b"",
            _CLIENT.replace(b"api_url", b"url"),
            _CLIENT.replace(b"https", b"%(x)s\x1b[31m"),
            _CLIENT.decode().encode("utf-16"),
            b"api_token = x\n",
            b"[api]\napi_token\n",
            b"[DEFAULT]\napi_token = y\n[api]\n",
            b"\0" * 2**21,
        )
    )
    (place.out / "client.ini").write_bytes(content)
    return Case(
        "client.ini",
        ["doctor", "--package", str(place.seeds / "packages" / DETECTOR), "-d", "aihub:Samsung Galaxy S25"],
    )


def words(random: Random, place: Place) -> Case:
    """What stands on the command line itself, or in the small files it names."""
    pick = random.choice
    text = str(place.seeds / "packages" / TEXT)
    kind = random.randrange(6)
    if kind < 2:
        flag = pick(
            (
                "--labels",
                "--mean",
                "--std",
                "--image-size",
                "--name",
                "--decoder",
                "-t",
                "-p",
                "--hub-options",
                "--allow",
                "--reference",
                "--context",
                "--bits",
                "--eval",
                "--calibration",
                "--float-layers",
            )
        )
        value = pick(texts.LABELS if flag == "--labels" else (*texts.NUMBERS, *texts.PROMPTS))
        return Case(
            flag,
            ["convert", str(place.seeds / "absent.onnx"), f"{flag}={value}" if flag.startswith("--") else flag + value],
        )
    if kind == 2:
        file = place.folder / "schema.json"
        file.write_bytes(
            pick(texts.SCHEMAS).encode() if random.random() < 0.8 else raw.mutate(random, b'{"type": "object"}')
        )
        return Case(
            "schema",
            ["generate", text, "-p", "hi", "-n", "4", "--schema", str(file), *pick(((), ("--json",)))],
            seconds=60.0,
        )
    if kind == 3:
        file = place.folder / "prompt.txt"
        file.write_bytes(pick(texts.PROMPTS).encode("utf-8", "surrogatepass") + pick((b"", b"\xff", b"\0")))
        return Case("prompt file", ["generate", text, "-f", str(file), "-n", "2"])
    if kind == 4:
        flag = pick(
            (
                "--temperature",
                "--top-k",
                "--top-p",
                "--min-p",
                "--repetition-penalty",
                "--seed",
                "--stop",
                "-n",
                "--threads",
                "--logprobs",
            )
        )
        return Case(
            flag,
            [
                "generate",
                text,
                "-p",
                "hi",
                f"{flag}={pick((*texts.NUMBERS, '1e308', '1e-308'))}",
                *(() if flag == "-n" else ("-n", "2")),
                "--json",
            ],
        )
    prompt = pick(texts.PROMPTS)
    return Case(
        "prompt",
        [
            "generate",
            text,
            f"--prompt={prompt}",
            "-n",
            "2",
            *pick(((), ("--chat",), ("--json",), ("--overflow", "truncate"))),
        ],
    )


def results(random: Random, place: Place) -> Case:
    file = place.folder / "store.sqlite"
    shutil.copy(place.seeds / "store.sqlite", file)
    if random.random() < 0.4:
        file.write_bytes(raw.mutate(random, file.read_bytes(), 4096))
    else:
        connection = sqlite3.connect(file)
        table, column = random.choice(
            (
                ("profiles", "device"),
                ("profiles", "plan"),
                ("launches", "data"),
                ("profiles", "command"),
                ("profiles", "created"),
            )
        )
        (honest,) = connection.execute(f"SELECT {column} FROM {table}").fetchone()
        value: object = (
            documents.mutate(random, honest.encode()).decode("utf-8", "replace")
            if honest.startswith("{")
            else random.choice(("", "\x1b[31m", "x" * 100_000, 5, b"\xff", "\0", "<script>", "nan"))
        )
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
        connection.commit()
        connection.close()
    package = str(place.seeds / "packages" / DETECTOR)
    return Case(
        "results",
        ["report", package, "-o", str(place.out / "r.html"), "--store", str(file), *random.choice(((), ("--json",)))],
    )


READERS: dict[str, Reader] = {
    "target": target,
    "settings": settings,
    "client-ini": client_ini,
    "words": words,
    "results": results,
}
