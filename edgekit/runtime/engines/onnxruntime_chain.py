"""A graph of a fixed number of tokens in ONNX Runtime: its parts one after another, the lookup first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.engine import Array, running

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg


class Chain:
    """`host` turns ids and positions into what the first of `parts` reads; all are ONNX Runtime's
    sessions."""

    def __init__(self, host: InferenceSession, parts: Sequence[InferenceSession]) -> None:
        self._sessions = [(s, _names(s.get_inputs()), _names(s.get_outputs())) for s in (host, *parts)]
        self.inputs = {
            i.name: (tuple(i.shape), np.float16 if "float16" in i.type else np.float32)
            for part in parts
            for i in part.get_inputs()
        }

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        known = dict(feeds)
        for session, takes, gives in self._sessions:
            with running():
                known |= zip(gives, session.run(None, {n: known[n] for n in takes}))
            known["hidden"] = known.get("hidden_out", known["hidden"])
        return known


def _names(values: Sequence[NodeArg]) -> list[str]:
    return [v.name for v in values]
