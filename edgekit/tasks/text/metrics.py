"""How far a language model's package is from its float original, token by token.

Definitions follow llama.cpp's `perplexity --kl-divergence`: text is cut into windows; in each, the
second half is scored, so that every prediction has at least half a window before it.

    perplexity     exp of the mean of -log p(next token)
    KL divergence  mean over tokens of Σ p_float · (log p_float - log p_package), in nats
    same top       how often both find the same token likeliest
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import progress
from edgekit.package.receipt import Measurement, Provenance
from edgekit.runtime.text.sampling import log_softmax

Array = np.ndarray[Any, Any]
WINDOW = 512  # tokens, or the context when that is shorter


@dataclass(frozen=True)
class Scores:
    """One row a scored token: its negative log-probability, KL divergence, same likeliest token."""

    float_nll: Array
    nll: Array
    kl: Array
    same: Array


class Reference:
    """The float original's predictions on a text, kept on disk as float32 log-probabilities."""

    def __init__(self, network: Any, windows: Sequence[Sequence[int]], describe: str) -> None:
        """`network`: a transformers model in float32. `windows`: token ids."""
        import torch

        self.windows, self.describe = [list(w) for w in windows], describe
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")
        rows = sum(len(w) - 1 - first_scored(w) for w in self.windows)
        vocabulary = int(network.config.get_text_config().vocab_size)
        shape = (rows, vocabulary)
        file = Path(self._folder.name) / "reference.f32"
        self._stored: Array = np.memmap(file, np.float32, "w+", shape=shape)
        at = 0
        self.nll: Array = np.empty(rows)  # of each scored token
        with torch.no_grad():
            for window in progress.track(self.windows, "running the float original", len(self.windows)):
                logits = network(torch.tensor([window]), use_cache=False).logits[0, :, :vocabulary]
                part = log_softmax(logits[first_scored(window) : -1].float().numpy())
                self._stored[at : at + len(part)] = part
                following = window[first_scored(window) + 1 :]
                self.nll[at : at + len(part)] = -part[np.arange(len(part)), following]
                at += len(part)

    @property
    def tokens(self) -> int:
        return len(self._stored)

    def compare(self, session: Any, what: str) -> Scores:
        """Run a package's session over the same windows: the first half is read at once, the rest token
        by token, as when it generates."""
        nll, kl, same, float_nll = [], [], [], []
        at = 0
        for window in progress.track(self.windows, what, len(self.windows)):
            for logits, target in _predictions(session, window):
                expected = self._stored[at].astype(np.float64)
                seen = log_softmax(logits[: len(expected)])
                kl.append(max(float((np.exp(expected) * (expected - seen)).sum()), 0.0))  # rounding may go below
                nll.append(-float(seen[target]))
                float_nll.append(-float(expected[target]))
                same.append(int(seen.argmax()) == int(expected.argmax()))
                at += 1
        return Scores(*(np.asarray(v, np.float64) for v in (float_nll, nll, kl, same)))

    def close(self) -> None:
        del self._stored
        self._folder.cleanup()


def first_scored(window: Sequence[int]) -> int:
    """The first position whose prediction counts."""
    return len(window) // 2


def _predictions(session: Any, window: Sequence[int]) -> Iterator[tuple[Array, int]]:
    first = first_scored(window)
    session.reset()
    session.start(window[: first + 1])
    for position in range(first, len(window) - 1):
        yield session.logits(), window[position + 1]
        if position < len(window) - 2:
            session.append([window[position + 1]])


def measurements(scores: Scores, describe: str) -> list[Measurement]:
    """The scores as measurements of a receipt. Intervals are 95 %, tokens taken as independent."""
    count = len(scores.kl)

    def one(name: str, value: float, unit: str = "1", interval: tuple[float, float] | None = None) -> Measurement:
        return Measurement("accuracy", name, value, unit, Provenance.MEASURED, count, interval, note=describe)

    perplexity = math.exp(scores.nll.mean())
    return [
        one("KL divergence", float(scores.kl.mean()), "nats", _interval(scores.kl)),
        one("KL divergence 99 %", float(np.percentile(scores.kl, 99)), "nats"),
        one("same top token", float(scores.same.mean()), "1", _interval(scores.same)),
        one("perplexity", perplexity, "1", _exp(_interval(scores.nll))),
        one("float perplexity", math.exp(scores.float_nll.mean()), "1", _exp(_interval(scores.float_nll))),
        one(
            "perplexity ratio",
            float(math.exp((scores.nll - scores.float_nll).mean())),
            "1",
            _exp(_interval(scores.nll - scores.float_nll)),
        ),
    ]


def _interval(values: Array) -> tuple[float, float]:
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return mean - half, mean + half


def _exp(interval: tuple[float, float]) -> tuple[float, float]:
    return math.exp(interval[0]), math.exp(interval[1])
