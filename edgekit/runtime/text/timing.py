"""What one launch measures of a language model: reading a prompt, writing tokens, with an empty and a
full context. Needs nothing but the runtime."""

from __future__ import annotations

import gc
import time

import numpy as np

from edgekit.runtime.measuring import Depth, Effort, TextTimings, Timings
from edgekit.runtime.text.session import TextSession
from edgekit.spec import TextSpec

_PROMPT = 128  # tokens
_SHALLOW = 16  # tokens before the first that is timed
_DEEP = 16  # tokens timed at the end of the context
_DEPTHS = (256, 1024, 4096, 16384)  # tokens in the cache before others are timed


def measure_text(session: TextSession, spec: TextSpec, effort: Effort) -> Timings:
    """`samples_s`: under `run`, seconds a token after a prompt of 16. `text`: seconds to read a prompt, and of a token
    near the end of the context, where filling it takes less than `effort.seconds`.

    Tokens are drawn at random, the likeliest next is computed and put aside: what is in a text does
    not change how long it takes.
    """
    context, random = spec.context_length, np.random.default_rng(0)

    def tokens(count: int) -> list[int]:
        return [int(t) for t in random.integers(0, spec.vocab_size, count)]

    def write(count: int) -> list[float]:
        taken = []
        for token in tokens(min(count, context - session.held - 1)):
            start = time.perf_counter()
            session.logits().argmax()
            session.append([token])
            taken.append(time.perf_counter() - start)
        return taken

    gc.disable()
    try:
        start = time.perf_counter()
        session.start(tokens(min(_SHALLOW, context // 2)))
        session.logits().argmax()
        first = time.perf_counter() - start
        write(effort.warmup)
        samples = write(effort.iterations)
        length = min(_PROMPT, context - 2)
        prompts = [_read(session, tokens(length)) for _ in range(3)]
        deep: list[float] = []
        depths: list[Depth] = []
        fill = context - _DEEP - 1
        if fill > length and fill / length * min(prompts) * 2 < effort.seconds:
            session.reset()
            session.start(tokens(_SHALLOW))
            for depth in sorted({d for d in _DEPTHS if _SHALLOW < d < fill - _DEEP} | {fill}):
                session.append(tokens(depth - session.held))
                session.logits().argmax()  # some engines only read what was appended now
                depths.append(Depth(depth, write(_DEEP)))
            deep = depths.pop().samples_s
    finally:
        gc.enable()
    return Timings(first, {"run": samples}, TextTimings(length, prompts, fill, deep, depths))


def _read(session: TextSession, tokens: list[int]) -> float:
    """Seconds to read a prompt, which is until its first token is known."""
    session.reset()
    start = time.perf_counter()
    session.start(tokens)
    session.logits().argmax()
    return time.perf_counter() - start
