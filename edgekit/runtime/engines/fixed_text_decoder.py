"""A decoder of fixed sizes, run step by step: the KV cache, masks and positions are kept here.

What the graphs take and give is written in edgekit/fixed_text/graphs.py. Numpy only; who runs a graph is
the engine's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit.runtime.engine import Array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


_UNSEEN = -1e4  # added to a score: its exponential is zero, and it is a number in float16 too
_PAYS = 8  # reading a whole prompt step is taken to cost as much as this many single tokens


class Graph(Protocol):
    """One graph that reads a step of tokens. It is given `input_ids` and `position_ids` besides what
    `inputs` lists, and takes of all that what it needs."""

    @property
    def inputs(self) -> Mapping[str, tuple[tuple[int, ...], DTypeLike]]:
        """Shape and type of each."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]: ...


class _Sized:
    """A graph, and what the shapes of its inputs say."""

    def __init__(self, graph: Graph) -> None:
        self.run, inputs = graph.run, graph.inputs
        self.windows = {n: int(n[5:] or 0) for n in inputs if n.startswith("mask")}
        self.step, self.context = inputs[next(iter(self.windows))][0][2:]
        self.past = {n: i for n, i in inputs.items() if n.startswith("past_")}


class Decoder:
    """Reads tokens after those it holds. `prompt` reads many at once, `token` one."""

    def __init__(self, prompt: Graph, token: Graph) -> None:
        self._prompt, self._token = _Sized(prompt), _Sized(token)
        self.context, self.held = self._token.context, 0
        self.logits = np.zeros(0, np.float32)
        self._past = {n: np.zeros(shape, dtype) for n, (shape, dtype) in self._token.past.items()}

    def read(self, tokens: Sequence[int]) -> None:
        at = 0
        while at < len(tokens):
            left = len(tokens) - at
            whole = self.held + self._prompt.step <= self.context and left * _PAYS > self._prompt.step
            chain = self._prompt if whole and left > 1 else self._token
            part = tokens[at : at + chain.step]
            self._step(chain, part)
            at += len(part)

    def _step(self, chain: _Sized, tokens: Sequence[int]) -> None:
        """Tokens stand at the end of a step; what is before them in it is seen by none of them."""
        blank = chain.step - len(tokens)
        positions = self.held + np.arange(chain.step) - blank
        ids = np.zeros((1, chain.step), np.int64)
        ids[0, blank:] = tokens
        feeds: dict[str, Array] = {"input_ids": ids, "position_ids": positions.clip(0)[None]}
        feeds |= {n: self._mask(chain, positions, blank, w) for n, w in chain.windows.items()}
        for name, (shape, _) in chain.past.items():
            past = self._past[name]
            feeds[name] = np.ascontiguousarray(past[:, :, : shape[2], : shape[3]])
        outputs = chain.run(feeds)
        end = min(self.held + len(tokens), chain.context - 1)  # nothing sees the last but itself
        room = slice(self.held, end)
        new = slice(blank, blank + end - self.held)
        for name, past in self._past.items():
            if name.startswith("past_key"):
                past[..., room] = outputs[name[5:]][..., new]
            else:
                past[:, :, room] = outputs[name[5:]][:, :, new]
        self.held += len(tokens)
        self.logits = outputs["logits"][0, 0].astype(np.float32, copy=False)

    def _mask(self, chain: _Sized, positions: Array, blank: int, window: int) -> Array:
        earlier = np.arange(chain.context - chain.step)
        keys = np.concatenate([earlier, positions])
        real = np.concatenate([earlier < self.held, np.arange(chain.step) >= blank])
        distance = positions[:, None] - keys
        visible = real & (distance >= 0) & (distance < (window or chain.context))
        mask: Array = np.where(visible, 0.0, _UNSEEN).astype(np.float32)[None, None]
        return mask
