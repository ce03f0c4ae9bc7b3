"""Source: a Hugging Face folder of a causal language model (config.json, safetensors, tokenizer).

Nothing is downloaded and no code of the folder is run: weights are read from safetensors only.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from edgekit.errors import SourceError, UnsafeSourceError, guard
from edgekit.model import SourceInfo, TextModel
from edgekit.sources.base import SourceOptions
from edgekit.sources.checked_folder import INDEX, checked_folder
from edgekit.sources.config_bounds import check_bounds
from edgekit.sources.files import check_folder, combined_sha256, contained, json_of
from edgekit.sources.text import read_text_model, ready
from edgekit.spec import Precision

_SPARE = 2**20  # elements that no file need hold
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
              "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json")  # fmt: skip


class HuggingFaceSource:
    name = "huggingface"
    text = True

    def matches(self, path: str) -> bool:
        return Path(path).is_dir() and (Path(path) / "config.json").is_file()

    def files(self, path: str) -> list[Path]:
        folder = Path(path)
        check_folder(folder)
        small = ("config.json", "generation_config.json", *_TOKENIZER)
        return [*(folder / n for n in small if (folder / n).is_file()), *_weights(folder)]

    def read(self, path: str, options: SourceOptions, into: Path) -> TextModel:
        folder = Path(path).resolve()
        files = self.files(path)
        shards = _weights(folder)
        check_bounds(json_of(folder / "config.json"), shards, folder.name)
        with checked_folder(folder) as checked:
            config = read_config(checked)
            info = SourceInfo(
                kind=self.name, name=folder.name, sha256=combined_sha256(files),
                bytes=sum(f.stat().st_size for f in shards), licence=_licence(folder),
                layout=f"{config.architectures[0]}, {_quantised(config) or 'safetensors'}",
                parameters=_parameters(shards),
            )  # fmt: skip
            return read_text_model(folder.name, folder, config, checked, info, options, into,
                                   _native(config))  # fmt: skip

    def network(self, model: TextModel, dtype: str) -> Any:
        """The transformers model with its weights, `dtype` "float32" or "auto" (as stored)."""
        folder = Path(model.path)
        shards = _weights(folder)
        names = [s.relative_to(folder).as_posix() for s in shards]
        with checked_folder(folder, names) as checked:
            return self._network(checked, shards, model, dtype)

    def _network(self, folder: Path, shards: list[Path], model: TextModel, dtype: str) -> Any:
        from transformers import AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from edgekit.sources import bitnet, quantised

        disable_progress_bar()
        config = read_config(folder)
        if bitnet.is_bitnet(config):
            return ready(bitnet.network(folder, config))
        if quantised.is_quantised(config):
            reader = quantised.Reader(config, model.source.name)
            network = ready(reader.network(folder, config))
            network.reading_notes = reader.notes()
            return network
        _check_size(config, _parameters(shards), model.source.name)
        try:
            network, found = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=dtype, trust_remote_code=False, local_files_only=True,
                use_safetensors=True, attn_implementation="eager", output_loading_info=True,
            )  # fmt: skip
        except Exception as error:  # the library raises whatever its parsers do
            raise SourceError(
                f"{model.source.name} cannot be loaded", str(error).strip().splitlines()[0][:300],
                "check that config.json and the weights belong together",
            ) from error  # fmt: skip
        missing = sorted(found["missing_keys"])
        if missing:  # the library only warns, and makes some up
            raise SourceError(
                f"{model.source.name} lacks {missing[0]}",
                f"{len(missing)} tensors that its config.json asks for are missing",
                "check that config.json and the weights belong together",
            )
        return ready(network)


def _check_size(config: Any, held: int, name: str) -> None:
    """Tensors that are missing are made before they are missed: raises SourceError where they would be most
    of the network."""
    import torch
    from transformers import AutoModelForCausalLM

    wrong = guard(SourceError, f"{name} cannot be loaded", "check its config.json")
    with wrong, torch.device("meta"):
        wanted = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if wanted > 2 * held + _SPARE:
        raise SourceError(
            f"{name} lacks most of its weights", f"its config.json asks for {wanted} elements, and its files hold {held}",
            "check that config.json and the weights belong together",
        )  # fmt: skip


def read_config(folder: Path) -> Any:
    """The transformers config. Raises SourceError for an architecture that is not known."""
    from transformers import AutoConfig

    try:
        raw = json_of(folder / "config.json")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except SourceError:
        raise
    except Exception as error:  # the library raises whatever its parsers do
        said = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise SourceError(
            f"The config.json of {folder.name} is not of a model edgekit knows", said,
            "edgekit convert --help names the families; models that bring their own code are not run",
        ) from error  # fmt: skip
    named = raw.get("architectures")
    if not isinstance(named, list) or not any(
        isinstance(a, str) and a.endswith(_CAUSAL) for a in named
    ):
        raise SourceError(
            f"{folder.name} is no causal language model",
            f"its architectures are {ascii(named)[:200] if named else 'not named'}",
            "pass the folder of a model for text alone, whose architecture ends in ForCausalLM",
        )
    return config


def _native(config: Any) -> Precision | None:
    """What the weights are quantised to already."""
    from edgekit.sources import bitnet, quantised

    if bitnet.is_bitnet(config):
        return Precision.TERNARY
    return quantised.precision(config) if quantised.is_quantised(config) else None


def _weights(folder: Path) -> list[Path]:
    """Every file of weights. Raises SourceError when one is missing."""
    single, index = folder / "model.safetensors", folder / INDEX
    if index.is_file():
        placed = json_of(index).get("weight_map")
        if (
            not isinstance(placed, dict)
            or not placed
            or not all(isinstance(n, str) for n in placed.values())
        ):
            raise SourceError(
                f"{INDEX} of {folder.name} is malformed", "its weight_map says not where each tensor is",
                "copy it again",
            )  # fmt: skip
        names = sorted(set(placed.values()))
        for name in names:
            contained(folder, name)
            if not name.endswith(".safetensors"):
                raise UnsafeSourceError(
                    f"{INDEX} of {folder.name} names {ascii(name)[:80]}", "weights are read from safetensors only",
                    "take the safetensors version of the model",
                )  # fmt: skip
        missing = [n for n in names if not (folder / n).is_file()]
        if missing:
            raise SourceError(
                f"{folder.name} is not complete: {len(missing)} of {len(names)} files of weights are missing",
                f"the first is {missing[0]}", "download or copy them",
            )  # fmt: skip
        return [folder / n for n in names]
    if single.is_file():
        return [single]
    if list(folder.glob("pytorch_model*.bin")):
        raise UnsafeSourceError(
            f"{folder.name} has its weights in pickled files", "reading a pickle can run code",
            "take the safetensors version of the model",
        )  # fmt: skip
    raise SourceError(
        f"{folder.name} holds no weights", f"there is no model.safetensors and no {INDEX}"
    )


def _parameters(shards: list[Path]) -> int:
    """Elements of all tensors as stored; raises SourceError for a file that is cut short."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for shard in shards:
        try:
            with safe_open(str(shard), "pt") as archive:
                for name in archive.keys():  # noqa: SIM118 (not a dictionary)
                    total += math.prod(archive.get_slice(name).get_shape())
        except SafetensorError as error:
            raise SourceError(
                f"{shard.name} is not a safetensors file, or it is truncated", str(error),
                "download or copy it again",
            ) from error  # fmt: skip
    return total


def _quantised(config: Any) -> str:
    stated = getattr(config, "quantization_config", None)
    stated = stated if isinstance(stated, dict) else getattr(stated, "__dict__", None)
    return str((stated or {}).get("quant_method", ""))


def _licence(folder: Path) -> str:
    """As the model card's front matter states it."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    with card.open("rb") as file:
        text = file.read(65536).decode("utf-8", "replace")
    for line in text.splitlines()[:60]:
        key, _, value = line.partition(":")
        if key.strip() in ("license", "licence") and value.strip():
            return value.strip()[:80]
    return ""
