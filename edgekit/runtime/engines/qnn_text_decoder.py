"""A decoder of fixed sizes, run step by step: the KV cache, masks and positions are kept here.

What the graphs take and give is written in edgekit/qnn/text_graphs.py. Numpy only; a graph is
anything with the `run` and `get_inputs` of ONNX Runtime's sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.engine import Array

_UNSEEN = -1e4  # added to a score: its exponential is zero, and it is a number in float16 too
_PAYS = 8  # reading a whole prompt step is taken to cost as much as this many single tokens


class Chain:
    """The parts of one graph, which follow one another."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = [(p, [i.name for i in p.get_inputs()]) for p in parts]
        inputs = {i.name: i for p in parts for i in p.get_inputs()}
        self.step = int(inputs["hidden"].shape[1])
        self.windows = {n: int(n[5:] or 0) for n in inputs if n.startswith("mask")}
        self.context = int(inputs[next(iter(self.windows))].shape[3])
        self.past = {
            n: (tuple(i.shape), np.float16 if "float16" in i.type else np.float32)
            for n, i in inputs.items() if n.startswith("past_")
        }  # fmt: skip

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        made: dict[str, Array] = {}
        for part, names in self._parts:
            outputs = [o.name for o in part.get_outputs()]
            made |= zip(outputs, part.run(None, {n: feeds[n] for n in names}))
            feeds["hidden"] = made.get("hidden_out", feeds["hidden"])
        return made


class Decoder:
    """Reads tokens after those it holds. `host` turns ids into vectors, `prompt` reads many at once,
    `token` one."""

    def __init__(self, host: Any, prompt: Chain, token: Chain) -> None:
        self._host, self._prompt, self._token = host, prompt, token
        self._host_inputs = {i.name for i in host.get_inputs()}
        self._host_outputs = [o.name for o in host.get_outputs()]
        self.context, self.held = token.context, 0
        self.logits = np.zeros(0, np.float32)
        self._past = {n: np.zeros(shape, dtype) for n, (shape, dtype) in token.past.items()}

    def read(self, tokens: Sequence[int]) -> None:
        at = 0
        while at < len(tokens):
            left = len(tokens) - at
            whole = self.held + self._prompt.step <= self.context and left * _PAYS > self._prompt.step
            chain = self._prompt if whole and left > 1 else self._token
            part = tokens[at : at + chain.step]
            self._step(chain, part)
            at += len(part)

    def _step(self, chain: Chain, tokens: Sequence[int]) -> None:
        """Tokens stand at the end of a step; what is before them in it is seen by none of them."""
        blank = chain.step - len(tokens)
        positions = self.held + np.arange(chain.step) - blank
        ids = np.zeros((1, chain.step), np.int64)
        ids[0, blank:] = tokens
        given = {"input_ids": ids, "position_ids": positions.clip(0)[None]}
        feeds = dict(zip(self._host_outputs, self._host.run(
            None, {n: a for n, a in given.items() if n in self._host_inputs})))  # fmt: skip
        feeds |= {n: self._mask(chain, positions, blank, w) for n, w in chain.windows.items()}
        for name, (shape, _) in chain.past.items():
            past = self._past[name]
            feeds[name] = np.ascontiguousarray(past[:, :, : shape[2], : shape[3]])
        made = chain.run(feeds)
        end = min(self.held + len(tokens), chain.context - 1)  # nothing sees the last but itself
        room = slice(self.held, end)
        new = slice(blank, blank + end - self.held)
        for name, past in self._past.items():
            if name.startswith("past_key"):
                past[..., room] = made[name[5:]][..., new]
            else:
                past[:, :, room] = made[name[5:]][:, :, new]
        self.held += len(tokens)
        self.logits = made["logits"][0, 0].astype(np.float32, copy=False)

    def _mask(self, chain: Chain, positions: Array, blank: int, window: int) -> Array:
        earlier = np.arange(chain.context - chain.step)
        keys = np.concatenate([earlier, positions])
        real = np.concatenate([earlier < self.held, np.arange(chain.step) >= blank])
        distance = positions[:, None] - keys
        seen = real & (distance >= 0) & (distance < (window or chain.context))
        mask: Array = np.where(seen, 0.0, _UNSEEN).astype(np.float32)[None, None]
        return mask
