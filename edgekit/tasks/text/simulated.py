"""A language model's package in a simulator, where a token takes seconds: little text, and little is
claimed of it.

A part of the evaluation text is scored as elsewhere (text.py). Then the text that the float original
writes when it always takes the likeliest token: how far the package would have written the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgekit.package.receipt import Measurement, Provenance
from edgekit.spec import TextSpec
from edgekit.tasks.text import metrics as text
from edgekit.tasks.text.metrics import Reference

LARGE = 20_000_000  # parameters from which on a token takes a minute, and not both are looked at
_WINDOW, _SHORT = (48, 34)  # tokens, of which the second half counts; enough for a step of the prompt graph
_BEGINNING = 8  # of the evaluation text, from which the float original writes on


def length_for(spec: TextSpec, parameters: int | None) -> int:
    return min(_SHORT if (parameters or 0) >= LARGE else _WINDOW, spec.context_length)


class FewTokens:
    """The float original on one window of text (or none), and on what it writes itself."""

    def __init__(
        self, network: Any, spec: TextSpec, windows: Sequence[Sequence[int]], name: str, parameters: int | None
    ) -> None:
        length = length_for(spec, parameters)
        self._references: dict[str, Reference] = {}
        if windows:
            described = f"{name}, {len(windows)} window of {length} tokens, the second half"
            self._references["text"] = Reference(network, windows, described)
        if not windows or (parameters or 0) < LARGE:
            first = spec.bos if spec.bos is not None else (spec.stop or (0,))[0]
            written = greedy(network, list(windows[0][:_BEGINNING]) if windows else [first], length)
            described = f"{length} tokens that the float original writes, the second half"
            self._references["written"] = Reference(network, [written], described)

    def measure(self, session: Any, device: str) -> list[Measurement]:
        """Rows of a receipt, as `device` computes."""
        scores = {n: r.compare(session, f"simulating on {device}") for n, r in self._references.items()}
        main = next(iter(scores))
        rows = text.measurements(scores[main], self._references[main].describe)
        if "written" in scores:
            same = scores["written"].same.astype(bool)
            until = len(same) if same.all() else int(same.argmin())
            note = f"until the first other token; {self._references['written'].describe}"
            rows.append(
                Measurement(
                    "accuracy", "greedy text equal", until / len(same), "1", Provenance.MEASURED, len(same), note=note
                )
            )
        return [
            m if m.name.startswith("float ") else replace(m, provenance=Provenance.SIMULATED, device=device)
            for m in rows
        ]

    def close(self) -> None:
        for reference in self._references.values():
            reference.close()


def greedy(network: Any, start: Sequence[int], length: int) -> list[int]:
    """The likeliest continuation of `start`, to `length` tokens, whatever ends a text."""
    import torch

    ids, past, step = list(start), None, torch.tensor([list(start)])
    with torch.no_grad():
        while len(ids) < length:
            out = network(step, past_key_values=past, use_cache=True)
            past = out.past_key_values
            step = out.logits[:, -1:].argmax(-1)
            ids.append(int(step))
    return ids
