"""Finds the passages of a folder of documents that fit a question: BM25, from the bm25s package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import bm25s

#: The model learnt from up to three short passages. It is most often right when it gets only the best.
SOURCES = 1
_FOLLOWS = ("It ", "They ", "This ", "These ", "He ", "She ")
_WORD = re.compile(r"[a-z0-9]+")
#: Words that say nothing about which passage is meant.
_COMMON = (
    " a an and are at be by can do does for from how i if in is it may me must my of on or our should the "
    "them they this to us we what when where which who why will with you your "
)


@dataclass(frozen=True)
class Passage:
    file: str
    heading: str
    text: str


def split(file: str, text: str) -> list[Passage]:
    """A document's passages: its sentences, each with those after it that begin with "It" and the like."""
    passages: list[Passage] = []
    heading = ""
    text = "".join(c for c in text if c.isprintable() or c in "\n\t")  # nothing that steers a terminal
    text = text.replace("<|", "< |")  # nothing that could be taken for a special token
    for block in re.split(r"\n\s*\n", text):
        block = " ".join(block.split())
        if block.startswith("#"):
            heading = block.lstrip("# ")
            continue
        start = len(passages)
        for sentence in re.split(r"(?<=[.!?]) ", block) if block else ():
            if len(passages) > start and sentence.startswith(_FOLLOWS):
                sentence = f"{passages.pop().text} {sentence}"
            passages.append(Passage(file, heading, sentence))
    return passages


def terms(text: str) -> list[str]:
    """The words of a text, a plural `s` off, so that "boats" finds "boat"."""
    words = (word for word in _WORD.findall(text.lower()) if f" {word} " not in _COMMON)
    return [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in words]


class Library:
    """The passages of a folder of Markdown and text files, and which of them fit a question."""

    def __init__(self, folder: Path) -> None:
        files = sorted(f for f in folder.rglob("*") if f.suffix in (".md", ".txt"))
        self.passages = [
            passage
            for file in files
            for passage in split(str(file.relative_to(folder)), file.read_text(errors="replace", encoding="utf-8"))
        ]
        if not self.passages:
            raise SystemExit(f"no .md or .txt files with text in {folder}")
        self.index = bm25s.BM25()
        self.index.index([terms(f"{p.heading} {p.text}") for p in self.passages], show_progress=False)

    def find(self, question: str, count: int = SOURCES) -> list[Passage]:
        asked = [term for term in terms(question) if term in self.index.vocab_dict]
        if not asked:
            return []
        count = min(count, len(self.passages))
        found, scores = self.index.retrieve([asked], k=count, show_progress=False)
        return [self.passages[i] for i, score in zip(found[0], scores[0]) if score > 0]
