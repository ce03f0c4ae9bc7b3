"""Text to decide and to evaluate on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.data.texts import fingerprint, read_texts, windows_of
from edgekit.errors import DataError


def encode(text: str) -> list[int]:
    return [0, *text.encode()]


def test_texts_are_told_apart_as_each_kind_of_file_does(tmp_path: Path) -> None:
    plain, lines = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("\ufeffone\n<|endoftext|>\ntwo é\n<|endoftext|>\n", encoding="utf-8")
    lines.write_text(
        json.dumps({"text": "one"}) + "\n\n" + json.dumps({"content": "two é"}) + "\n" + '"three"\n', encoding="utf-8"
    )
    assert read_texts(plain) == ["one", "two é"]
    assert read_texts(lines) == ["one", "two é", "three"]
    assert fingerprint(["a", "b"]) != fingerprint(["ab"])


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b"\xff\xfe"), ("a.txt", b" \n "), ("a.jsonl", b"{"), ("a.jsonl", b'{"other": 1}'), ("a.jsonl", b"[1]")],
)
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        read_texts(tmp_path / name)


def test_windows_cover_a_text_and_each_begins_as_a_text_does() -> None:
    text = "x" * 250
    windows = windows_of([text, "short"], encode, 101, 10, "t")
    assert [len(w) for w in windows] == [101, 101, 51]
    assert all(w[0] == 0 for w in windows)
    assert windows_of([text], encode, 101, 1, "t") == windows[:1]
    with pytest.raises(DataError):
        windows_of(["short"], encode, 101, 10, "t")
