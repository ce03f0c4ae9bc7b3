"""Text in and out: UTF-8 whatever the locale, one error for what is no text, a plain sign where a console has none."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.runtime import load_text
from edgekit.runtime.text.sampling import Sampler
from edgekit.spec import Sampling
from tests.altered import put, seal
from tests.cli.commands import Edgekit
from tests.data import SHAPES

TOOL = Path(sys.executable).with_name("edgekit")


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(TOOL), *[w if isinstance(w, bytes) else str(w) for w in words]],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


def test_a_prompt_is_utf8_in_any_locale(text_packages: dict[str, Path], tmp_path: Path) -> None:
    package = text_packages["fp32"]
    (tmp_path / "p.txt").write_text("naïve café", encoding="utf-8")
    ascii_ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    there = run("generate", package, "-f", tmp_path / "p.txt", "-n", 4, "--json")
    here = run("generate", package, "-f", tmp_path / "p.txt", "-n", 4, "--json", **ascii_)
    said = run("generate", package, "-p", "naïve café".encode(), "-n", 4, "--json", **ascii_)
    assert there.returncode == here.returncode == said.returncode == 0, here.stderr
    texts = [[r["text"] for r in json.loads(x.stdout)["results"]] for x in (there, here, said)]
    assert texts[0] == texts[1] == texts[2]


def test_a_prompt_that_is_no_text(text_packages: dict[str, Path], tmp_path: Path) -> None:
    package = text_packages["fp32"]
    (tmp_path / "p.txt").write_bytes(b"hi \xff")
    for words in (
        ("-p", b"hi \xff"),
        ("-f", tmp_path / "p.txt"),
        ("-p", "x", "--stop", b"\xff"),
        ("-p", b"\xff", "--chat"),
    ):
        ran = run("generate", package, *words)
        assert ran.returncode in (2, 5) and b"UTF-8" in ran.stderr and b"Traceback" not in ran.stderr, ran.stderr
    with load_text(package) as llm:
        for ask in (llm.generate, llm.count):
            with pytest.raises(UsageError, match="surrogate"):
                ask("half \ud83d")
        with pytest.raises(UsageError, match="surrogate"):
            llm.chat([{"role": "user", "content": "half \ud83d"}])
        with pytest.raises(UsageError, match="surrogate"):
            llm.generate("x", stop="\udc00")


TOKENIZERS = {
    "truncation": {"truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5}},
    "a pattern that backtracks": {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    },
    "a text that grows": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "x"}, "content": "x" * 3000}] * 5,
        }
    },
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_fails_on_a_text(name: str, text_packages: dict[str, Path], tmp_path: Path) -> None:
    """The library's panics are no exceptions that Python programs catch."""
    package = tmp_path / "package"
    shutil.copytree(text_packages["fp32"], package)
    manifest = json.loads((package / "manifest.json").read_bytes())
    manifest["model"]["tokenizer"] = "tokenizers"
    seal(package, manifest)
    definition = json.loads((package / "tokenizer.json").read_bytes()) | TOKENIZERS[name]
    put(package, "tokenizer.json", json.dumps(definition).encode())
    ran = run("generate", package, "-p", "x" * 50 + "z", "-n", 2)
    assert ran.returncode in (0, 6) and b"panicked" not in ran.stderr, ran.stderr
    lines = ran.stderr.splitlines()
    assert sum(line.startswith(b"error:") for line in lines) == bool(ran.returncode), ran.stderr


def test_lines_of_jsonl_end_at_line_feeds(tmp_path: Path) -> None:
    from edgekit.data.texts import read_texts

    (tmp_path / "a.jsonl").write_text('{"text": "one\u2028two\x85three"}\r\n"four"\n', encoding="utf-8", newline="")
    assert read_texts(tmp_path / "a.jsonl") == ["one\u2028two\x85three", "four"]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_a_console_without_the_sign_gets_a_plain_one(encoding: str, packages: dict[str, Path], tmp_path: Path) -> None:
    image = next((SHAPES / "eval/images").glob("*.jpg"))
    odd = tmp_path / os.fsdecode(b"odd \xff \xe2\x86\x92.jpg")
    shutil.copy(image, odd)
    for path in (image, odd):
        ran = run("detect", packages["fp32"], path, "--save", tmp_path / "out", PYTHONIOENCODING=encoding)
        assert ran.returncode == 0 and b"->" in ran.stdout and b"Traceback" not in ran.stderr, ran.stderr


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--seed", -1), "seed"),
        (("--seed", 2**64), "seed"),
        (("--temperature", "nan"), "temperature"),
        (("--temperature", -1), "temperature"),
        (("--top-k", 10**20), "top_k"),
        (("--top-p", "inf"), "top_p"),
        (("--max-tokens", 10**20), "max_tokens"),
        (("--repetition-penalty", 0), "repetition_penalty"),
    ],
)
def test_numbers_that_mean_nothing(
    words: tuple[object, ...], name: str, text_packages: dict[str, Path], edgekit: Edgekit
) -> None:
    ran = edgekit("generate", text_packages["fp32"], "-p", "the cat", *words)
    assert ran.code == 2 and name in ran.err and ran.err.count("error:") == 1, ran.err


@pytest.mark.parametrize("temperature", [1e-3, 1e-8, 1e-30, 5e-324])
def test_a_temperature_near_zero_is_nearly_greedy(temperature: float) -> None:
    import numpy as np

    logits = np.array([1.0, 30.0, 29.9, -5.0], np.float32)
    assert Sampler(Sampling(temperature=temperature), 0)(logits, ()) == 1


def test_little_memory_is_one_error(packages: dict[str, Path], text_packages: dict[str, Path]) -> None:
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    image = next((SHAPES / "eval/images").glob("*.jpg"))
    for words in (("detect", packages["fp32"], image), ("generate", text_packages["fp32"], "-p", "x", "-n", 2)):
        ran = subprocess.run(
            [str(TOOL), *map(str, words)],
            preexec_fn=limited,
            capture_output=True,
            check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert ran.returncode in range(8), ran.stderr
        assert b"Traceback" not in ran.stderr, ran.stderr


def test_no_text_is_read_or_written_in_the_locales_encoding() -> None:
    """What the linter cannot see, because it does not know the type."""
    wrong = []
    for path in Path(edgekit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or any(k.arg in ("encoding", None) for k in node.keywords):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            text = any(k.arg == "text" for k in node.keywords)
            if name in ("read_text", "write_text") or (name in ("run", "Popen") and text):
                wrong.append(f"{path.name}:{node.lineno} {name}")
    assert not wrong
