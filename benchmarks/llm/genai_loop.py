"""onnxruntime-genai's own loop, as its examples write it, on the same package."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import onnxruntime_genai as og
from child import Engine


class Loop(Engine):
    def __init__(self, model: str, threads: int) -> None:
        config = og.Config(model)
        settings = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": settings}}}))
        self._model = og.Model(config)
        self._tokenizer = og.Tokenizer(self._model)

    def timed(self, tokens: list[int], count: int) -> tuple[float, float]:
        stream, text, written = self._tokenizer.create_stream(), "", 0
        start = time.perf_counter()  # the generator makes its KV cache
        generator = og.Generator(self._model, og.GeneratorParams(self._model))
        generator.append_tokens(np.array(tokens, np.int32))
        generator.generate_next_token()
        text += stream.decode(generator.get_next_tokens()[0])
        between = time.perf_counter()
        while not generator.is_done() and written < count:
            generator.generate_next_token()
            text += stream.decode(generator.get_next_tokens()[0])
            written += 1
        return between - start, (time.perf_counter() - between) / max(written, 1)


def open_engine(model: str, options: dict[str, Any]) -> Engine:
    return Loop(model, options["threads"])
