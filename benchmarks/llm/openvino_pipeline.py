"""OpenVINO GenAI's pipeline, from the GGUF file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
from child import Engine


class Pipeline(Engine):
    def __init__(self, model: str, threads: int) -> None:
        self._pipeline = openvino_genai.LLMPipeline(model, "CPU", {"INFERENCE_NUM_THREADS": threads})
        self._path, self._threads, self._request = Path(model), threads, None

    def read(self, tokens: list[int]) -> Any:
        settings = {"INFERENCE_NUM_THREADS": self._threads}
        if self._request is None:  # the graph of the pipeline, whose logits the pipeline keeps
            compiled = openvino.Core().compile_model(self._path / "openvino_model.xml", "CPU", settings)
            self._request = compiled.create_infer_request()
        self._request.reset_state()
        self._held = 0
        return self._infer(tokens)

    def step(self, token: int) -> Any:
        return self._infer([token])

    def _infer(self, tokens: list[int]) -> Any:
        held, self._held = self._held, self._held + len(tokens)
        given = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, self._held), np.int64),
            "position_ids": np.arange(held, self._held, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        return self._request.infer(given)["logits"][0, -1]

    def timed(self, tokens: list[int], count: int) -> tuple[float, float]:
        asked = openvino_genai.GenerationConfig()
        asked.max_new_tokens, asked.ignore_eos, asked.do_sample = count + 1, True, False
        done = self._pipeline.generate(openvino.Tensor(np.array([tokens], np.int64)), asked)
        return done.perf_metrics.get_ttft().mean / 1e3, done.perf_metrics.get_tpot().mean / 1e3


def prepare(source: str, kind: str, out: str) -> None:
    """Its reader's graph of the GGUF file, with the weights compressed by nncf as optimum-intel does."""
    import nncf

    openvino_genai.LLMPipeline(source, "CPU", enable_save_ov_model=True)
    folder, target = Path(source).parent, Path(out)
    target.mkdir()
    model = openvino.Core().read_model(folder / "openvino_model.xml")
    mode = getattr(nncf.CompressWeightsMode, kind)
    openvino.save_model(nncf.compress_weights(model, mode=mode, group_size=64), target / "openvino_model.xml")
    for file in folder.glob("openvino_*tokenizer.*"):
        shutil.copy(file, target)


def open_engine(model: str, options: dict[str, Any]) -> Engine:
    return Pipeline(model, options["threads"])
