"""Trains the sample language model: a BitNet b1.58 on text that write.py makes up on the fly.

    python samples/relief/train.py --checkpoint relief.pt            # about 75 minutes, one core
    python samples/relief/train.py --checkpoint relief.pt --resume   # goes on after an interruption

Copying has to be learnt first, and is learnt fastest from short text: the rows get longer by stages.
They start in floating point; the roundings are blended in later. Several questions about the same
passages follow each other in a row, for an answer teaches more than a passage does.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from folder import save
from network import Network, Shape
from optimizer import Optimizer
from prompt import prompt
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from vocabulary import ASSISTANT, BOS, EOS, USER, learn
from write import passages


@dataclass(frozen=True)
class Stage:
    """Until a share of the training is done: tokens in a row, rows in a batch, what the rows hold."""

    until: float
    length: int
    batch: int
    sources: tuple[int, ...]
    facts: tuple[int, ...]


STAGES = (
    Stage(0.35, 128, 24, (1, 1, 2), (1, 2)),
    Stage(0.60, 256, 12, (1, 2, 3), (1, 2, 3)),
    Stage(0.80, 320, 9, (1, 2, 3, 3), (1, 2, 3, 4)),
    Stage(1.00, 192, 16, (2, 3, 3, 3), (1, 1, 2)),
)
#: The share of the training at which rounding starts, and at which it is complete.
ROUNDING = (0.15, 0.35)
PASSAGE_WEIGHT = 0.15


def row(rng: random.Random, stage: Stage, tokenizer: Tokenizer) -> tuple[list[int], list[float]]:
    """Passages and as many questions about them as fit. What the model shall not say weighs less."""
    limit = stage.length + 1
    while True:
        texts, turns = passages(rng, rng.choice(stage.sources), rng.choice(stage.facts))
        tokens, weights = [BOS], [0.0]
        for turn in turns:
            text = turn.question if len(tokens) > 1 else prompt(texts, turn.question)
            asked = [USER, *tokenizer.encode(text).ids, EOS, ASSISTANT]
            answer = [*tokenizer.encode(turn.answer).ids, EOS]
            if len(tokens) + len(asked) + len(answer) > limit:
                continue
            tokens += asked + answer
            weights += [0.0, *[PASSAGE_WEIGHT] * (len(asked) - 3), 0.0, 0.0, *[1.0] * len(answer)]
        if len(tokens) > 1:
            spare = limit - len(tokens)
            return tokens + [EOS] * spare, weights + [0.0] * spare


def batches(stage: Stage, tokenizer: Tokenizer, seed: str) -> Iterator[tuple[Tensor, Tensor]]:
    rng = random.Random(seed)
    while True:
        tokens, weights = zip(*(row(rng, stage, tokenizer) for _ in range(stage.batch)))
        yield torch.tensor(tokens), torch.tensor(weights)


def right(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[int, int]:
    """How many answers are right to the last letter, of how many: what greedy decoding would give."""
    mine = weights == 1
    wrong = mine & (logits.argmax(-1) != targets)
    last = mine & (targets == EOS)
    missed = wrong.cumsum(1)[last]
    rows = last.nonzero()[:, 0]
    same = torch.zeros_like(missed, dtype=torch.bool)
    same[1:] = rows[1:] == rows[:-1]
    before = torch.where(same, missed.roll(1), 0)
    return int((missed == before).sum()), len(missed)


def share_of(done: float, start: float, end: float) -> float:
    """0 before the start, 1 after the end, linear in between."""
    return min(1.0, max(0.0, (done - start) / (end - start)))


def train(options: argparse.Namespace) -> None:
    tokenizer = learn(Shape.vocab_size)
    network = Network(Shape())
    optimizer = Optimizer(network, options.rate)
    spent, seen, steps = 0.0, 0, 0
    if options.resume:
        kept = torch.load(options.checkpoint, weights_only=True)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        spent, seen, steps = kept["spent"], kept["seen"], kept["steps"]
        tokenizer = Tokenizer.from_str(kept["tokenizer"])
    run = torch.compile(network, dynamic=False)
    size = sum(p.numel() for p in network.parameters())
    print(f"{size} parameters", file=sys.stderr)
    stage, stream = None, iter(())
    shown = saved = time.monotonic()
    loss_sum = answers = correct = 0.0
    while (done := spent / (60 * options.minutes)) < 1:
        now = next(s for s in STAGES if done < s.until)
        if now != stage:
            stage, stream = now, batches(now, tokenizer, f"train {options.seed} {steps}")
        start = time.monotonic()
        tokens, weights = next(stream)
        targets, weights = tokens[:, 1:], weights[:, 1:]
        logits = run(tokens[:, :-1].contiguous(), torch.tensor(share_of(done, *ROUNDING)))
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum() / weights.sum()
        network.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        share = min(1.0, (steps + 1) / 50) * (1 - share_of(done, options.decay, 1.0))
        optimizer.step(options.rate * share)
        steps, seen = steps + 1, seen + targets.numel()
        fine, count = right(logits.detach(), targets, weights)
        loss_sum, answers, correct = loss_sum + float(loss.detach()), answers + count, correct + fine
        took = time.monotonic() - start
        spent += min(took, 10.0)  # without compilation
        if steps % 50 == 0:
            print(
                f"{done:5.1%} step {steps} {spent / 60:5.1f} min {seen / 1e6:.2f} M tokens  loss {loss_sum / 50:.3f}"
                f"  right {correct / max(1, answers):.3f}  {(time.monotonic() - shown) / 50:.2f} s a step",
                file=sys.stderr,
                flush=True,
            )
            loss_sum = answers = correct = 0.0
            shown = time.monotonic()
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            keep(options.checkpoint, network, tokenizer, optimizer, spent, seen, steps)
    keep(options.checkpoint, network, tokenizer, optimizer, spent, seen, steps)
    save(network, tokenizer, options.out)
    if options.master:
        save(network, tokenizer, options.master, packed=False)


def keep(
    file: Path, network: Network, tokenizer: Tokenizer, optimizer: Optimizer, spent: float, seen: int, steps: int
) -> None:
    """Writes all that --resume needs; the old checkpoint stays until the new one is complete."""
    new = file.with_suffix(".new")
    torch.save(
        {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "tokenizer": tokenizer.to_str(),
            "spent": spent,
            "seen": seen,
            "steps": steps,
        },
        new,
    )
    new.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the sample language model.")
    add = parser.add_argument
    add("--out", type=Path, default=Path(__file__).with_name("model"))
    add("--master", type=Path, help="a folder for the weights before rounding, too")
    add("--checkpoint", type=Path, default=Path("relief.pt"))
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--minutes", type=float, default=86.0, help="length of the training, without compilation")
    add("--rate", type=float, default=3e-3, help="highest learning rate")
    add("--decay", type=float, default=0.5, help="share of the training after which the rate falls to 0")
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=1)
    add("--pack", action="store_true", help="only write --out from the checkpoint, as it is now")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.pack:
        network = Network(Shape())
        kept = torch.load(options.checkpoint, weights_only=True)
        network.load_state_dict(kept["network"])
        save(network, Tokenizer.from_str(kept["tokenizer"]), options.out)
    else:
        train(options)


if __name__ == "__main__":
    main()
