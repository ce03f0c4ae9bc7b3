"""Source: a `.gguf` file of a language model, as llama.cpp, Ollama and LM Studio have them.

Nothing is downloaded and no code of the file is run: a chat template is kept as text.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingError
from edgekit.model import CheckpointModel, SourceInfo
from edgekit.sources import licence
from edgekit.sources.base import SourceOptions
from edgekit.sources.files import combined_sha256, sha256
from edgekit.sources.gguf_header import MAGIC, GgufFile, check_weights, parts_of, read_gguf
from edgekit.sources.text import read_text_model
from edgekit.system.documents import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


class GgufSource:
    name = "gguf"
    form = CheckpointModel.form
    task = "text-generation"

    def matches(self, path: str) -> bool:
        """By name, or by the first bytes: Ollama keeps its files under their hash."""
        if path.lower().endswith(".gguf"):
            return True
        try:
            with Path(path).open("rb") as file:
                return file.read(4) == MAGIC
        except OSError:
            return False

    def files(self, path: str) -> list[Path]:
        parts = parts_of(path)
        if len(parts) == 1:
            check_weights(parts[0])
        return parts

    def read(self, path: str, options: SourceOptions, into: Path) -> CheckpointModel:
        _require()
        from edgekit.sources.gguf_network import plan
        from edgekit.sources.gguf_tokenizer import end_tokens, write_tokenizer

        file = read_gguf(path)
        layout = plan(file)
        with tempfile.TemporaryDirectory(prefix="edgekit-gguf-") as name:
            folder = Path(name)
            layout.network.config.save_pretrained(folder)
            notes = write_tokenizer(file, folder)
            generation = _generation(file, end_tokens(file))
            (folder / "generation_config.json").write_text(json.dumps(generation, indent=1), encoding="utf-8")
            info = SourceInfo(
                kind=self.name,
                name=file.name,
                sha256=_sha256(file),
                licence=_licence(file),
                bytes=sum(p.stat().st_size for p in file.paths),
                layout=f"{file.metadata['general.architecture']}, {_commonest(file)}",
                parameters=sum(file.tensors[n].elements for n in layout.names),
                notes=(*layout.notes(file), *notes),
            )
            config = layout.network.config
            return read_text_model(_name(file), file.paths[0], config, folder, info, options, into, layout.native(file))

    def network(self, model: CheckpointModel, dtype: str) -> PreTrainedModel:
        """Linear layers whose integers the file's blocks give exactly are `PackedLinear`."""
        _require()
        from edgekit.sources.gguf_network import build

        return build(read_gguf(model.path), dtype)


def _require() -> None:
    try:
        import gguf  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingError(
            f"Reading a GGUF file needs {error.name}", "it is not installed", f"pip install {error.name}"
        ) from error


def _name(file: GgufFile) -> str:
    """The name of the file, without its number in a split; that of the model where the file has a hash for a
    name."""
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", file.paths[0].name.removesuffix(".gguf").removesuffix(".GGUF"))
    stated = file.metadata.get("general.name")
    if stem.startswith("sha256-") and isinstance(stated, str) and stated.strip():
        return re.sub(r"[^\w.]+", "-", stated.strip())[:80].strip("-") or stem
    return stem


def _sha256(file: GgufFile) -> str:
    return sha256(file.paths[0]) if len(file.paths) == 1 else combined_sha256(list(file.paths))


def _licence(file: GgufFile) -> str:
    """The licence's identifier, or its name where the identifier is "other"."""
    stated, name = (licence.printed(file.metadata.get(f"general.license{k}")) for k in ("", ".name"))
    return name if name and stated.lower() in ("", "other", "unknown") else stated


def _commonest(file: GgufFile) -> str:
    """The format most weights are in."""
    sizes: Counter[str] = Counter()
    for tensor in file.tensors.values():
        sizes[tensor.kind] += tensor.elements
    return sizes.most_common(1)[0][0]


def _generation(file: GgufFile, ends: list[int]) -> JsonObject:
    """The content of generation_config.json: the tokens that end an answer, and how to sample where the file says
    so."""
    settings: JsonObject = {"eos_token_id": ends}
    for key, name in _SAMPLING.items():
        value = file.metadata.get(f"general.sampling.{key}")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e4:
            settings[name] = value
    if settings.get("temperature"):
        settings["do_sample"] = True
    return settings
