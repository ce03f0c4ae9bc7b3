"""Answers questions about a folder of local documents, without a network.

    python samples/relief/ask.py PACKAGE "When does the clinic at Harrow School open?"
    python samples/relief/ask.py PACKAGE --documents DIR     # asks for questions until an empty line

BM25 finds the passages that share the rarest words with the question; the model answers from them and
names its source, whose text is printed below the answer: a model this small mixes things up, so what
matters has to be read there. What the documents say is data: it reaches the model as plain text, and the only
thing done with the answer is to print it. Needs `pip install bm25s`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from library import SOURCES, Library
from prompt import UNKNOWN, prompt

from edgekit.runtime import load

#: The model takes 512 tokens in all.
PROMPT, ANSWER = 440, 64


def entered() -> str:
    try:
        return input("\nQuestion: ").strip()
    except EOFError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a folder of documents.")
    parser.add_argument("package", type=Path)
    parser.add_argument("question", nargs="?")
    parser.add_argument("--documents", type=Path, default=Path(__file__).with_name("documents"))
    parser.add_argument("--sources", type=int, default=SOURCES, help="passages to answer from, up to 3")
    options = parser.parse_args()
    library, llm = Library(options.documents), load(options.package)
    while question := options.question or entered():
        found = library.find(question, options.sources)
        while len(found) > 1 and llm.count(prompt([p.text for p in found], question)) > PROMPT:
            found.pop()
        if not found:  # no word of the question is in any document
            print(UNKNOWN, end="")
        messages = [{"role": "user", "content": prompt([p.text for p in found], question)}]
        answer = ""
        for piece in llm.chat_stream(messages, max_tokens=ANSWER, temperature=0) if found else ():
            print(piece, end="", flush=True)
            answer += piece
        print()
        for number in sorted({int(n) for n in re.findall(r"\[(\d+)\]", answer)}):
            if 1 <= number <= len(found):
                print(f"  [{number}] {found[number - 1].file}: {found[number - 1].text}")
        if options.question:
            break


if __name__ == "__main__":
    main()
