"""The same weights for every engine: a shape with random values, or a Hugging Face folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # tests/gguf_files.py writes models

_WIDTHS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
SHAPES = {
    "tiny": (256, 512, 2, 4, 2, 1024),
    "smollm2-135m": (576, 1536, 30, 9, 3, 49152),
    "qwen2-0.5b": (896, 4864, 24, 14, 2, 151936),
    "bitnet-tiny": (256, 512, 2, 4, 2, 1024),
    "bitnet-0.7b": (1536, 4096, 24, 16, 16, 32002),
    "bitnet-2b": (2560, 6912, 30, 20, 5, 128256),
}


def random_model(folder: Path, shape: str) -> None:
    """A Llama, or a BitNet, as a Hugging Face folder. Its logits are spread as a trained model's are, so
    that divergences say something about rounding."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.gguf_files import byte_level

    torch.manual_seed(0)
    tokenizer = byte_level()
    config = AutoConfig.for_model(
        "bitnet" if shape.startswith("bitnet") else "llama",
        **dict(zip(_WIDTHS, SHAPES[shape])),
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        hidden_act="silu",  # of BitNet as well, where llama.cpp knows nothing else
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.norm.weight.fill_(3 / (config.hidden_size**0.5 * config.initializer_range))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def package(out: Path, folder: Path, context: int, *words: str) -> None:
    """edgekit's, by its command line; nothing is evaluated, and so nothing refused."""
    command = [
        sys.executable,
        "-m",
        "edgekit.cli.main",
        "convert",
        str(folder),
        "--name",
        "model",
        "--launches",
        "0",
        "--context",
        str(context),
        "-o",
        str(out),
        "--json",
        *words,
    ]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def gguf(out: Path, folder: Path, kind: str) -> None:
    """As llama.cpp's converter writes it; kind: of the matrices but the table."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.gguf_files import tokenizer_metadata, write

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    changed = {"general.file_type": 1, **_padded(tokenizer_metadata(tokenizer, "qwen2"), model.config.vocab_size)}
    table = {"token_embd.weight": "F16"}
    write(out, model, tokenizer, kind, changed=changed, kinds=table)


def _padded(metadata: dict[str, Any], size: int) -> dict[str, Any]:
    """A vocabulary as long as the table: llama.cpp opens no other."""
    more = range(len(metadata["tokenizer.ggml.tokens"]), size)
    named = {"tokenizer.ggml.tokens": [f"<unused{i}>" for i in more], "tokenizer.ggml.token_type": [5] * len(more)}
    return {key: metadata[key] + rest for key, rest in named.items()}


def reference(out: Path, folder: Path, text: Path | None) -> None:
    """What divergences are measured on: windows.npy, token ids int64 (N, 64), and transformers' logits in
    float32 for the second half of each, float32 (N, 32, V), as eager.npy and sdpa.npy: by two ways of its
    own to compute attention."""
    import numpy as np
    import torch

    out.mkdir(exist_ok=True)
    model = _network(folder)
    windows = _drawn(model) if text is None else _read(folder, text)
    np.save(out / "windows.npy", windows)
    half = windows.shape[1] // 2
    for way in ("eager", "sdpa"):
        model.set_attn_implementation(way)
        with torch.no_grad():
            logits = [model(torch.tensor(w[None])).logits[0, half - 1 : -1].float().numpy() for w in windows]
        np.save(out / f"{way}.npy", np.array(logits))


def _drawn(model: Any) -> Any:
    """Four texts from the model itself."""
    import torch

    torch.manual_seed(1)
    starts = torch.randint(5, model.config.vocab_size, (4, 1))
    drawn = model.generate(starts, max_new_tokens=63, min_new_tokens=63, do_sample=True, top_k=0)
    return drawn.numpy()


def _read(folder: Path, text: Path) -> Any:
    import numpy as np
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(text.read_text(encoding="utf-8"), add_special_tokens=False).input_ids
    count = min(len(ids) // 64, 16)
    return np.array(ids[: 64 * count], np.int64).reshape(count, 64)


def _network(folder: Path) -> Any:
    """In float32, BitNet's layers as they are trained (tests compare them with transformers' own)."""
    from edgekit.sources.base import SourceOptions
    from edgekit.sources.huggingface import HuggingFaceSource

    source = HuggingFaceSource()
    with tempfile.TemporaryDirectory() as files:
        return source.network(source.read(str(folder), SourceOptions(), Path(files) / "files"), "float32")
