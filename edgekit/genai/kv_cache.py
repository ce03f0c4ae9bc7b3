"""Options of onnxruntime-genai's builder for an int8 KV cache."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgekit.quantize.kv_cache import CacheScales


@contextlib.contextmanager
def builder_options(cache: CacheScales | None) -> Iterator[list[str]]:
    """Options for the builder, which reads the scales from a file; none for a float cache."""
    if cache is None:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        file = Path(folder) / "scales.json"
        scales = {"k_scales": [x.tolist() for x in cache.keys], "v_scales": [x.tolist() for x in cache.values]}
        file.write_text(json.dumps({"scales": scales}), encoding="utf-8")
        yield ["kv_cache_quant_scheme=int8_per_channel", f"kv_cache_scale_file={file}"]
