"""The next token from logits. numpy only, so that one seed gives one text on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.errors import IntegrityError, UsageError
from edgekit.spec import Sampling

Array = np.ndarray[Any, Any]

_NEGLIGIBLE = 25.0  # nats below the best logit: together less than one in 10^5 of any vocabulary


def check_sampling(s: Sampling) -> None:
    """Raises UsageError for values that mean nothing."""
    rules = (
        ("temperature", s.temperature, 0 <= s.temperature <= 100, "0 (greedy) or more"),
        ("top_k", s.top_k, s.top_k >= 0, "0 (no limit) or more"),
        ("top_p", s.top_p, 0 < s.top_p <= 1, "above 0, up to 1"),
        ("min_p", s.min_p, 0 <= s.min_p < 1, "0 or more, below 1"),
        ("repetition_penalty", s.repetition_penalty, s.repetition_penalty > 0, "above 0; 1 is none"),
    )
    for name, value, good, words in rules:
        if not good:
            raise UsageError(f"{name} {value:g} is not {words}")


class Sampler:
    """Chooses tokens: repetition penalty, temperature, top-k, top-p, min-p, in this order."""

    def __init__(self, sampling: Sampling, seed: int | None = None) -> None:
        check_sampling(sampling)
        self.sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(seed))

    def __call__(self, logits: Array, earlier: Sequence[int]) -> int:
        """`logits` float32 (V,); `seen`: tokens so far, for the penalty."""
        s = self.sampling
        if s.repetition_penalty != 1.0:
            logits = penalised(logits, earlier, s.repetition_penalty)
        if s.temperature == 0:
            return int(logits.argmax())
        far = logits.astype(np.float64) - float(logits.max())  # in float32 a low temperature leaves none
        candidates = np.flatnonzero(far >= -_NEGLIGIBLE * s.temperature)
        if not len(candidates):
            raise IntegrityError("The model in this package gives numbers that are none", "", "convert again")
        scaled = far[candidates] / s.temperature
        order = np.argsort(-scaled, kind="stable")
        if s.top_k:
            order = order[: s.top_k]
        p = np.exp(scaled[order] - scaled[order[0]])
        p /= p.sum()
        if s.top_p < 1:  # the smallest set that reaches top_p
            keep = int(np.searchsorted(np.cumsum(p), s.top_p)) + 1
            p, order = p[:keep], order[:keep]
        if s.min_p:
            keep = int((p >= s.min_p * p[0]).sum())
            p, order = p[:keep], order[:keep]
        drawn = int(np.searchsorted(np.cumsum(p), self._random.random() * p.sum(), side="right"))
        return int(candidates[order[min(drawn, len(order) - 1)]])


def penalised(logits: Array, earlier: Sequence[int], penalty: float) -> Array:
    """Tokens already seen are made less likely (Keskar et al., arXiv 1909.05858)."""
    known = np.unique(np.asarray(earlier, np.int64))
    changed = logits.copy()
    values = changed[known]
    changed[known] = np.where(values > 0, values / penalty, values * penalty)
    return changed


def log_softmax(logits: Array) -> Array:
    """float64, of the last axis."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
