"""A licence is named where a folder or a file names it, in one printable line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.sources.licence import of_folder, printed

CARDS = {
    "plain": ("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n", "apache-2.0"),
    "quoted, with a comment": ("---\nlicense: 'mit'  # see below\n---\n", "mit"),
    "a list": ("---\nlicense:\n- mit\n- apache-2.0\ntags: [a]\n---\n", "mit, apache-2.0"),
    "a list in one line": ('---\nlicense: [mit, "bsd-3-clause"]\n---\n', "mit, bsd-3-clause"),
    "another one, named": ("---\nlicense: other\nlicense_name: tongyi-qianwen\n---\n", "tongyi-qianwen"),
    "named before": ("---\nlicense_name: llama3.2\nlicense: other\n---\n", "llama3.2"),
    "far down": ("---\n" + "tags: x\n" * 200 + "license: gemma\n---\n", "gemma"),
    "with a mark of byte order": ("\ufeff---\nlicense: mit\n---\n", "mit"),
    "of something within": ("---\nmodel:\n  license: mit\n---\n", ""),
    "in prose": ("# Model\nlicense: mit\n", ""),
    "that steers a terminal": ("---\nlicense: mit\x1b[2J\n---\n", ""),
    "nothing, in YAML's words": ("---\nlicense: null\n---\n", ""),
    "another one, named nothing": ("---\nlicense: other\nlicense_name: null\n---\n", "other"),
    "on the line below": ("---\nlicense: >-\n  apache-2.0\ntags: x\n---\n", "apache-2.0"),
    "without end": ("---\nlicense: mit\n", "mit"),
}


@pytest.mark.parametrize("name", CARDS)
def test_of_a_model_card(name: str, tmp_path: Path) -> None:
    text, expected = CARDS[name]
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert of_folder(tmp_path, {}) == expected


TEXTS = {
    "an identifier": ("// SPDX-License-Identifier: BSD-3-Clause\n", "BSD-3-Clause"),
    "a title": (
        "\n                                 Apache License\n                   Version 2.0\n",
        "Apache License",
    ),
    "a heading": ("# MIT License\n\nCopyright\n", "MIT License"),
    "an owner before": ("Copyright (c) 2026 Anna\n\nBSD 3-Clause License\n", "BSD 3-Clause License"),
    "endless": ("A" * 200000, "A" * 80),
    "nothing": ("\n\n", ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_of_its_text(name: str, tmp_path: Path) -> None:
    text, expected = TEXTS[name]
    (tmp_path / "LICENSE").write_text(text, encoding="utf-8")
    assert of_folder(tmp_path, {}) == expected


def test_the_card_counts_before_the_config_and_that_before_the_text(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("MIT License\n", encoding="utf-8")
    assert of_folder(tmp_path, {"license": "gemma"}) == "gemma"
    (tmp_path / "README.md").write_text("---\nlicense: llama3\n---\n", encoding="utf-8")
    assert of_folder(tmp_path, {"license": "gemma"}) == "llama3"


def test_the_text_names_what_the_card_calls_another_one(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\n---\n", encoding="utf-8")
    (tmp_path / "LICENSE").write_text("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n", encoding="utf-8")
    assert of_folder(tmp_path, {}) == "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT"


def test_a_link_that_leads_elsewhere_states_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/README.md").symlink_to(tmp_path / "secret")
    assert of_folder(tmp_path / "model", {}) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mit", "mit"),
        (" a\n b ", "a b"),
        (["mit", 5, "x"], "mit, x"),
        (None, ""),
        (5, ""),
        ("a\x07", ""),
        ({"a": 1}, ""),
        ("y" * 500, "y" * 80),
    ],
)
def test_what_is_printed_is_one_line(value: Any, expected: str) -> None:
    assert printed(value) == expected
