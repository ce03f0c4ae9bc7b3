"""One launch of one engine, in a process of its own: load, read a prompt, write tokens; or its logits.

    python child.py ENGINE MODEL '{"threads": 1, "context": 512, "prompt": 128, "written": 64}'

ENGINE names a module beside this one with `open_engine(model, options)`, and `prepare(source, kind, out)`
for {"prepare": kind, "out": file}. Needs numpy and that engine's library alone. Prints JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))


class Engine:
    """What is timed. An engine with a loop of its own overrides `timed`."""

    def read(self, tokens: list[int]) -> Any:
        """Forget everything, read `tokens`; float32 logits (V,) for the next."""
        raise NotImplementedError

    def step(self, token: int) -> Any:
        """One more token; its logits."""
        raise NotImplementedError

    def timed(self, tokens: list[int], count: int) -> tuple[float, float]:
        """Seconds to read `tokens` and have the first answer, and of each of up to `count` written after it."""
        start = time.perf_counter()
        logits = self.read(tokens)
        token = int(logits.argmax())
        between = time.perf_counter()
        for _ in range(count):
            token = int(self.step(token).argmax())
        return between - start, (time.perf_counter() - between) / count


def main() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    name, model, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if "prepare" in options:
        importlib.import_module(name).prepare(model, options["prepare"], options["out"])
        return
    start = time.perf_counter()
    engine = importlib.import_module(name).open_engine(model, options)
    loaded = time.perf_counter() - start
    if "windows" in options:  # int64 (N, T): half is read at once, then token by token
        windows = np.load(options["windows"])
        half = windows.shape[1] // 2
        rows = [
            [engine.read(w[:half].tolist()).copy(), *(engine.step(int(t)).copy() for t in w[half:-1])] for w in windows
        ]
        np.save(options["logits"], np.array(rows, np.float32))
        return
    prompt = [5 + i % 200 for i in range(options["prompt"])]
    engine.timed(prompt[:4], 2)
    read, wrote = engine.timed(prompt, options["written"])
    with open("/proc/self/status", encoding="utf-8") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    print(json.dumps({"load": loaded, "prompt": len(prompt) / read, "decode": 1 / wrote, "memory": peak}))


if __name__ == "__main__":
    main()
