"""edgekit's language models against llama.cpp, OpenVINO GenAI and bare onnxruntime-genai, in one run.

    python benchmarks/llm                               # SmolLM2-135M's shape, random weights, one thread
    python benchmarks/llm --shape qwen2-0.5b --threads 2 --rounds 7
    python benchmarks/llm --shape bitnet-2b             # ternary, against llama.cpp's TQ2_0
    python benchmarks/llm --model FOLDER                # a Hugging Face folder of your own
    python benchmarks/llm --alone --convert "-p w8" --convert "-p w8 --kv-cache int8" --prompt 2048

Every engine gets the same weights, quantised its own way. Each round launches each engine once, in a
process of its own, in turns: it loads, reads a prompt (128 tokens) and writes 64. Tokens a second,
load and memory are medians over rounds. KL: mean divergence of next-token distributions from
transformers in float32, in nats, over windows of 64 tokens, of --text or drawn from the model.
llama.cpp (compiled here) and OpenVINO are installed into environments of their own; one that cannot be
is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import models

from edgekit.settings import cache_folder

_CHILD = Path(__file__).with_name("child.py")
_PEERS = {"llama": ("llama-cpp-python==0.3.36",), "openvino_pipeline": ("openvino-genai==2026.4.1.0", "nncf==3.4.0")}
_WAYS = {False: ("-p w4", "-p w4 --bits 7"), True: ("-p ternary --mode fast", "-p ternary --mode exact")}
_WRITTEN, _CONTEXT = 64, 512


@dataclass
class Contender:
    name: str
    engine: str  # a module beside this one
    python: str
    model: Path
    context: int
    prompt: int
    seen: list[dict[str, float]] = field(default_factory=list)
    kl: float | None = None

    def run(self, threads: int, **more: Any) -> str:
        given = {"threads": threads, "context": self.context, "prompt": self.prompt, "written": _WRITTEN, **more}
        return child(self.python, self.engine, self.model, given)

    def middle(self, what: str) -> float:
        return statistics.median(s[what] for s in self.seen)

    @property
    def size(self) -> int:
        files = self.model.rglob("*") if self.model.is_dir() else [self.model]
        return sum(f.stat().st_size for f in files)


def child(python: str, engine: str, model: Path, given: dict[str, Any]) -> str:
    ran = subprocess.run(
        [python, str(_CHILD), engine, str(model), json.dumps(given)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(given.get("threads", 2))},
        encoding="utf-8",
        errors="replace",
    )
    if ran.returncode:
        raise RuntimeError(f"{engine}: {(ran.stderr.strip().splitlines() or ['no message'])[-1]}")
    return ran.stdout


def peer(engine: str) -> str:
    """The interpreter of an environment that holds it, made when it is not there. Raises RuntimeError."""
    folder = cache_folder() / f"peer-{engine}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {' '.join(_PEERS[engine])} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        ran = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_PEERS[engine]])
        if ran.returncode:
            raise RuntimeError("it could not be installed")
        (folder / "ready").touch()
    return str(python)


def contenders(folder: Path, work: Path, options: argparse.Namespace) -> list[Contender]:
    """Each with its file ready."""
    ternary = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "bitnet"
    context = max(_CONTEXT, 2 * options.prompt)
    found = []

    def add(name: str, engine: str, python: str, model: Path) -> None:
        found.append(Contender(name, engine, python, model, context, options.prompt))

    for way in options.convert or _WAYS[ternary]:
        made = once(work / f"{way}-{context}".replace(" ", ""), models.package, folder, context, *way.split())
        add(f"edgekit {way.removeprefix('-p ')}", "edgekit_runtime", sys.executable, next(made.iterdir()))
        if len(found) == 1:
            add("onnxruntime-genai, same", "genai_loop", sys.executable, found[0].model)
    if options.alone:
        return found
    source = once(work / "source.gguf", models.gguf, folder, "TQ2_0" if ternary else "F16")
    peers = [("llama.cpp", "llama", k) for k in (("TQ2_0",) if ternary else ("Q4_0", "Q4_K_M"))]
    if not ternary:
        peers.append(("OpenVINO GenAI", "openvino_pipeline", "INT4_SYM"))
    for name, engine, kind in peers:
        try:
            python = peer(engine)
            file = once(work / kind, prepared, python, engine, source, kind)
        except RuntimeError as error:
            print(f"{name} {kind} is left out: {error}", file=sys.stderr)
        else:
            add(f"{name} {kind}", engine, python, file)
    return found


def once(out: Path, make: Callable[..., Any], *given: Any) -> Path:
    if not out.exists():
        part = out.with_name(f"{out.name}.part")  # what is interrupted is not used again
        make(part, *given)
        part.rename(out)
    return out


def prepared(out: Path, python: str, engine: str, source: Path, kind: str) -> None:
    child(python, engine, source, {"prepare": kind, "out": str(out)})


def divergences(found: list[Contender], folder: Path, work: Path, text: Path | None) -> None:
    """Fills in `kl`."""
    known = once(work / "reference", models.reference, folder, text)
    p = _log_softmax(np.load(known / "eager.npy"))

    def kl(logits: Path) -> float:
        return float((np.exp(p) * (p - _log_softmax(np.load(logits)))).sum(-1).mean())

    for contender in found:
        if contender.engine != "genai_loop":
            out = work / "logits.npy"
            contender.run(2, windows=str(known / "windows.npy"), logits=str(out))
            contender.kl = kl(out)
    print(f"transformers in float32 differs from itself, eager from sdpa attention, by {kl(known / 'sdpa.npy'):.5f}")


def _log_softmax(logits: Any) -> Any:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read of memory: the best of ten sums over 512 MB."""
    from concurrent.futures import ThreadPoolExecutor

    parts, best = np.array_split(np.ones(2**26), threads), 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(10):
            start = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = max(best, sum(p.nbytes for p in parts) / (time.perf_counter() - start))
    return best


def show(found: list[Contender], threads: int, read: float) -> None:
    first = found[0]
    print(
        f"{threads} threads, medians of {len(first.seen)} launches each, in turns; memory is read at {read / 1e9:.1f} GB/s"
    )
    print(
        f"{'':28}{'KL':>9}{'prompt/s':>10}{'write/s':>9}{'load s':>8}{'peak MB':>9}{'file MB':>9}   first / it: prompt, write"
    )
    for c in found:
        ratios = f"{first.middle('prompt') / c.middle('prompt'):.2f}, {first.middle('decode') / c.middle('decode'):.2f}"
        kl = "" if c.kl is None else f"{c.kl:.5f}"
        print(
            f"{c.name:28}{kl:>9}{c.middle('prompt'):10.1f}{c.middle('decode'):9.1f}{c.middle('load'):8.2f}"
            f"{c.middle('memory') / 1e6:9.0f}{c.size / 1e6:9.1f}   {ratios}"
        )
    wrapped = [a["decode"] / b["decode"] for a, b in zip(found[1].seen, first.seen)]
    print(f"edgekit's runtime takes {statistics.median(wrapped) - 1:+.1%} of onnxruntime-genai's own loop a token")
    weights = (first.model / "model.onnx.data").stat().st_size
    print(f"{first.name} writes at {first.middle('decode') * weights / read:.0%} of the memory's bandwidth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=models.SHAPES, default="smollm2-135m")
    parser.add_argument("--model", type=Path, help="A Hugging Face folder instead of a shape.")
    parser.add_argument("--text", type=Path, help="Measure KL on it instead of what the model writes.")
    parser.add_argument(
        "--prompt", type=int, default=128, help="Tokens of the prompt; the context is twice that, 512 at least."
    )
    parser.add_argument(
        "--alone", action="store_true", help="No other engines: one package of edgekit's against another."
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--convert",
        action="append",
        help="Options of edgekit convert for a package of its own, "
        "as one word; once or more. Without: -p w4, and with --bits 7; of BitNet both modes.",
    )
    parser.add_argument("--work", type=Path, help="Make the models in this folder; those there are used again.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        folder = options.model or once(work / "source", models.random_model, options.shape)
        found = contenders(folder, work, options)
        divergences(found, folder, work, options.text)
        for threads in options.threads:
            for contender in found:
                contender.seen = []
            for turn in range(options.rounds):
                for contender in found if turn % 2 == 0 else reversed(found):
                    contender.seen.append(json.loads(contender.run(threads).strip().splitlines()[-1]))
            show(found, threads, bandwidth(threads))


if __name__ == "__main__":
    main()
