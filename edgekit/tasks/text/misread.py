"""Whether the float original predicts text at all: what was misread, or is damaged, computes without an error,
and a package that agrees with it agrees with nothing.

On the evaluation text, its perplexity is compared with two guesses that know no language: one that takes all
tokens for equally likely, and one that counts them. The second learns as it goes, from the tokens before (Witten
and Bell's estimate: a new token has the share of those that were new so far), so that it pays for what it learns: a
text's own frequencies, counted beforehand, would be hard to beat on a short one.

Without such a text, a short plain one is taken that may be far from what the model was trained on, so that its
perplexity says little. What is asked is only whether the token that follows is put above the other tokens of the
same text more often than not: trained models do 94 times of 100, one far from its kind of text 64 times, and those
whose weights were shuffled, shifted or random 47 to 53 times. Frequencies cancel out: all are tokens of the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekit.errors import SourceError
from edgekit.package.receipt import Reason, Trip

Array = np.ndarray[Any, Any]
LENGTH = 512  # tokens of the plain text, at most
_LEAST = 0.55  # of the pairs, where chance is 0.5
_SURE = 1.96  # standard errors
TEXT = """Once upon a time there was a small village at the foot of a hill. The people who lived there kept sheep \
and grew apples. One day a girl named Anna went up the hill to look for her dog. She called his name, but he did not \
come. It was getting dark, and she was afraid that he had lost his way. Then she heard him bark from behind the old \
stone wall, and they ran home together.

Water is a clear liquid that covers most of the surface of the earth. It freezes at zero degrees and boils at one \
hundred degrees. All plants and animals need it to live. Rain falls from the clouds, runs into rivers and flows back \
to the sea.

The first thing to do is to read the question carefully. If you do not know the answer, say so, and ask for more \
information. How can I help you today? You can use the list below to find what you are looking for:

1. What is the name of the city?
2. When was it built, and by whom?
3. How many people live there now?
"""


@dataclass(frozen=True)
class Misread:
    """Evidence that a language model was misread: what was measured on the text `name`, and what it should be."""

    name: str
    seen: str
    likely: str

    def error(self) -> SourceError:
        return SourceError(
            f"{self.name} predicts text no better than a guess",
            f"{self.seen}; {self.likely}",
            "take the float original, or pass --eval TEXT of the kind it was trained on; "
            f"--allow {Reason.MISREAD} makes the packages all the same",
        )

    def trip(self) -> Trip:
        return Trip(
            Reason.MISREAD, f"the float original predicts text no better than a guess: {self.seen}", (self.likely,)
        )


def on_text(name: str, text: str, nll: Array, guess: Array, vocabulary: int) -> Misread | None:
    """Of the scored tokens of an evaluation text: `nll` by the float original, `guess` by `counting`."""
    for other, how in (
        (guess, "a guess that knows only how often each token has occurred"),
        (np.full(len(nll), math.log(vocabulary)), f"a guess that takes all {vocabulary} tokens for equally likely"),
    ):
        worse = nll - other
        if not worse.mean() - _SURE * _error(worse) <= 0:  # no numbers are no better
            seen = (
                f"perplexity {np.exp(nll.mean()):.4g} on {len(nll)} tokens of {text}, against "
                f"{math.exp(other.mean()):.4g} of {how}"
            )
            return Misread(
                name, seen, "its weights were misread or are damaged, or the text is of a kind it was not trained on"
            )
    return None


def beside_plain_text(verdict: Misread, network: Any, ids: Sequence[int]) -> Misread:
    """With what the same network makes of plain English, which tells damage from a text of another kind."""
    share, _ = preferred(network, ids)
    said = f"of plain English, it puts the token that follows above another one {share:.0%} of the time, by chance 50%"
    return replace(verdict, likely=f"{verdict.likely}: {said}")


def counting(windows: Sequence[Sequence[int]], first_scored: Callable[[Sequence[int]], int], vocabulary: int) -> Array:
    """-log p of each scored token by what was counted before it, over all windows in their order."""
    counts: dict[int, int] = {}
    total, losses = 0, []
    for window in windows:
        for position, token in enumerate(window):
            kinds, seen = len(counts), counts.get(token, 0)
            if position > first_scored(window):
                p = seen if seen else kinds / max(vocabulary - kinds, 1)
                losses.append(-math.log(p / (total + kinds)) if total else math.log(vocabulary))
            counts[token] = seen + 1
            total += 1
    return np.asarray(losses, np.float64)


def on_plain_text(name: str, network: Any, ids: Sequence[int]) -> Misread | None:
    """`ids`: of TEXT, as the model's tokenizer has them."""
    share, error = preferred(network, ids)
    if not share - _SURE * error <= _LEAST:
        return None
    seen = (
        f"of {len(ids)} tokens of plain English, it puts the one that follows above another one of the same text "
        f"{share:.0%} of the time"
    )
    likely = "chance is 50%, so its weights were misread, are damaged, or were never trained"
    return Misread(name, seen, likely)


def preferred(network: Any, ids: Sequence[int]) -> tuple[float, float]:
    """How often the following token is scored above another one of the text, and the standard error."""
    import torch

    with torch.no_grad():
        logits = network(torch.tensor([list(ids)]), use_cache=False).logits[0, :-1].float()
    scores = logits[:, list(ids[1:])].numpy()  # row: position; column: the token that follows another position
    following = np.asarray(ids[1:])
    own = scores.diagonal()[:, None]
    others = following[:, None] != following[None, :]
    won = ((own > scores) + 0.5 * (own == scores)) * others
    shares = won.sum(1) / np.maximum(others.sum(1), 1)
    return float(shares.mean()), _error(shares)


def _error(values: Array) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
