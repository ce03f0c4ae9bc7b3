"""llama.cpp through the low-level interface of llama-cpp-python: its own decode calls, nothing around them."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from child import Engine


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, user: Any) -> None:
    pass


class Llama(Engine):
    def __init__(self, model: str, options: dict[str, Any]) -> None:
        llama_cpp.llama_log_set(_silent, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = options["context"]
        settings.n_threads = settings.n_threads_batch = options["threads"]
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        self._size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def read(self, tokens: list[int]) -> Any:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        return self._decode(tokens)

    def step(self, token: int) -> Any:
        return self._decode([token])

    def _decode(self, tokens: list[int]) -> Any:
        given = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(given, len(tokens))):
            raise SystemExit("llama_decode failed")
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, -1), (self._size,))


def open_engine(model: str, options: dict[str, Any]) -> Engine:
    return Llama(model, options)


def prepare(source: str, kind: str, out: str) -> None:
    """llama.cpp's own quantiser; kind: the name of a file type, as Q4_K_M."""
    llama_cpp.llama_log_set(_silent, None)
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.allow_requantize = True  # ternary blocks stay as they are
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(settings)):
        raise SystemExit(f"llama.cpp could not quantise {source} to {kind}")
