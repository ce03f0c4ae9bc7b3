"""Measures how many answers of the sample language model are right to the last letter.

    python samples/relief/evaluate.py                       # the model folder, PyTorch, float32
    python samples/relief/evaluate.py --package PACKAGE     # a package, with edgekit's runtime

Two sets: questions made by write.py with a seed that training does not use, each with three sources, and
those of questions.jsonl about documents/, with the passages that ask.py finds. Decoding is greedy.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

from library import SOURCES, Library
from prompt import UNKNOWN, prompt
from write import passages

HERE = Path(__file__).parent
_SOURCE = re.compile(r" \[(\d+)\]")


def generated(count: int, seed: int, facts: int) -> list[tuple[str, str]]:
    """Messages and right answers; each of three sources holds about as many facts."""
    rng, found = random.Random(f"evaluate {seed}"), []
    for _ in range(count):
        texts, turns = passages(rng, 3, facts)
        found.append((prompt(texts, turns[0].question), turns[0].answer))
    return found


def from_folder(folder: Path, most: int = 64) -> Callable[[str], str]:
    """The model in PyTorch. It keeps no keys and values: simple, and fast enough for this."""
    import torch
    from folder import restore
    from vocabulary import ASSISTANT, BOS, EOS, USER

    torch.set_num_threads(1)
    network, tokenizer = restore(folder)

    @torch.inference_mode()
    def answer(text: str) -> str:
        tokens = [BOS, USER, *tokenizer.encode(text).ids, EOS, ASSISTANT]
        start = len(tokens)
        while len(tokens) < min(start + most, network.shape.max_position_embeddings):
            token = int(network(torch.tensor([tokens]), torch.tensor(1.0))[0, -1].argmax())
            if token == EOS:
                break
            tokens.append(token)
        return tokenizer.decode(tokens[start:])

    return answer


def from_package(package: Path) -> Callable[[str], str]:
    from edgekit.runtime import load

    llm = load(package)
    return lambda text: "".join(llm.chat_stream([{"role": "user", "content": text}], max_tokens=64, temperature=0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the sample language model.")
    parser.add_argument("--model", type=Path, default=HERE / "model")
    parser.add_argument("--package", type=Path, help="measure this instead of --model")
    parser.add_argument("--count", type=int, default=200, help="generated questions")
    parser.add_argument("--seed", type=int, default=9001)
    parser.add_argument("--facts", type=int, default=1, help="how long the generated sources are")
    parser.add_argument("--sources", type=int, default=SOURCES, help="passages found for documents/")
    parser.add_argument("--questions", type=Path, default=HERE / "questions.jsonl")
    parser.add_argument("--show", action="store_true", help="print every answer that is wrong")
    options = parser.parse_args()
    answer = from_package(options.package) if options.package else from_folder(options.model)
    start, right, cited, unknown, refused = time.monotonic(), 0, 0, 0, 0
    for text, wanted in generated(options.count, options.seed, options.facts):
        given = answer(text)
        right += given == wanted
        cited += _SOURCE.sub("", given) == _SOURCE.sub("", wanted)
        if "[" not in wanted:
            unknown, refused = unknown + 1, refused + (given == wanted)
        if options.show and given != wanted:
            print(f"{text}\n  wanted: {wanted}\n  given:  {given}\n")
    print(
        f"generated: {right} of {options.count} right with source, {cited} without regard to the source; "
        f"{refused} of {unknown} that no source answers; {time.monotonic() - start:.0f} s"
    )
    library = Library(HERE / "documents")
    lines = options.questions.read_text(encoding="utf-8").splitlines()
    right = cited = reached = answerable = 0
    for line in lines:
        item = json.loads(line)
        found = library.find(item["question"], options.sources)
        files = [passage.file for passage in found]
        given = answer(prompt([p.text for p in found], item["question"])) if found else UNKNOWN
        numbers = [int(n) for n in _SOURCE.findall(given)]
        named = files[numbers[0] - 1] if numbers and 0 < numbers[0] <= len(files) else None
        fine = _SOURCE.sub("", given) == item["answer"]
        right, cited = right + fine, cited + (fine and named == item["file"])
        answerable += item["file"] is not None
        reached += item["file"] in files
        if options.show and not (fine and named == item["file"]):
            print(f"{item['question']}\n  wanted: {item['answer']} {item['file']}\n  given:  {given} {files}\n")
    print(
        f"documents: {right} of {len(lines)} right, {cited} of them with the right file; "
        f"the file was among the passages found for {reached} of {answerable}"
    )


if __name__ == "__main__":
    main()
