"""Source: a Hugging Face folder of a causal language model (config.json, safetensors, tokenizer).

Nothing is downloaded and no code of the folder is run: weights are read from safetensors only.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError, UnsafeSourceError, guard
from edgekit.model import CheckpointModel, SourceInfo
from edgekit.sources import families, licence, others
from edgekit.sources.base import SourceOptions
from edgekit.sources.checked_folder import INDEX, checked_folder
from edgekit.sources.config_bounds import check_bounds
from edgekit.sources.files import check_fetched, check_folder, combined_sha256, contained, json_of
from edgekit.sources.leftover import check_finite, check_left
from edgekit.sources.quantised.stated import SIDECARS, Stated, check_floats, stated
from edgekit.sources.text import read_text_model, ready
from edgekit.spec import Precision
from edgekit.system.documents import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_SPARE = 2**20  # elements that no file need hold
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


@dataclass(frozen=True)
class Held:
    """What a file says of a tensor: its shape, and its type as safetensors names it."""

    shape: tuple[int, ...]
    kind: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class HuggingFaceSource:
    name = "huggingface"
    form = CheckpointModel.form
    task = "text-generation"

    def matches(self, path: str) -> bool:
        return Path(path).is_dir() and (Path(path) / "config.json").is_file()

    def files(self, path: str) -> list[Path]:
        folder = Path(path)
        check_folder(folder)
        small = ("config.json", "generation_config.json", *SIDECARS, *_TOKENIZER)
        return [*(folder / n for n in small if (folder / n).is_file()), *licence.files_of(folder), *_weights(folder)]

    def read(self, path: str, options: SourceOptions, into: Path) -> CheckpointModel:
        folder = Path(os.path.abspath(path))  # named as typed: a link's own name, not where it leads
        described = licence.files_of(folder)
        files = [f for f in self.files(path) if f.name not in {d.name for d in described}]
        shards = _weights(folder)
        for file in files:
            check_fetched(file)
        raw, held = json_of(folder / "config.json"), _held(shards)
        check_bounds(raw, shards, folder.name)
        quantisation = _quantised(folder, raw, held)
        with checked_folder(folder) as checked:
            config = read_config(checked)
            families.check(config, folder.name)
            layers, parameters = _counted(config, folder.name)
            info = SourceInfo(
                kind=self.name,
                name=folder.name,
                sha256=combined_sha256(files),
                bytes=sum(f.stat().st_size for f in shards),
                licence=licence.of_folder(folder, raw),
                layout=f"{config.architectures[0]}, {quantisation.method if quantisation else 'safetensors'}",
                parameters=parameters,
            )
            return read_text_model(
                folder.name, folder, config, checked, info, options, into, _native(config, quantisation, layers, held)
            )

    def network(self, model: CheckpointModel, dtype: str) -> PreTrainedModel:
        """The transformers model with its weights, `dtype` "float32" or "auto" (as stored)."""
        folder = Path(model.path)
        shards = _weights(folder)
        names = [s.relative_to(folder).as_posix() for s in shards]
        with checked_folder(folder, names) as checked:
            return self._network(checked, shards, model, dtype)

    def _network(self, folder: Path, shards: list[Path], model: CheckpointModel, dtype: str) -> PreTrainedModel:
        from transformers import AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from edgekit.sources import bitnet
        from edgekit.sources.quantised.reader import Reader

        disable_progress_bar()
        config, held = read_config(folder), _held(shards)
        quantisation = _quantised(Path(model.path), json_of(Path(model.path) / "config.json"), held)
        if _is_bitnet(config, quantisation):
            return ready(bitnet.network(folder, config, quantisation.settings if quantisation else {}))
        if quantisation is not None:
            reader = Reader(quantisation)
            network = ready(reader.network(folder, config))
            check_finite(network, model.source.name)
            network.reading_notes = reader.notes()
            return network
        _check_size(config, sum(h.elements for h in held.values()), model.source.name)
        try:
            network, loading = AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
            )
        except Exception as error:  # the library raises whatever its parsers do
            raise SourceError(
                f"{model.source.name} cannot be loaded",
                str(error).strip().splitlines()[0][:300],
                "check that config.json and the weights belong together",
            ) from error
        missing = sorted(loading["missing_keys"])
        if missing:  # the library only warns, and makes some up
            raise SourceError(
                f"{model.source.name} lacks {missing[0]}",
                f"{len(missing)} tensors that its config.json asks for are missing",
                "check that config.json and the weights belong together",
            )
        check_left(loading["unexpected_keys"], network, model.source.name)
        check_finite(network, model.source.name)
        return ready(network)


def _check_size(config: PreTrainedConfig, held: int, name: str) -> None:
    """Raises SourceError where most of the network has no tensors, which transformers would allocate first."""
    _, elements = _counted(config, name)
    if elements > 2 * held + _SPARE:
        raise SourceError(
            f"{name} lacks most of its weights",
            f"its config.json asks for {elements} elements, and its files hold {held}",
            "check that config.json and the weights belong together",
        )


def read_config(folder: Path) -> PreTrainedConfig:
    """The transformers config. Raises SourceError for an architecture that is not known."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        raw = json_of(folder / "config.json")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except SourceError:
        raise
    except Exception as error:  # the library raises whatever its parsers do
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise SourceError(
            f"The config.json of {folder.name} is not of a model edgekit knows",
            reason,
            "edgekit convert --help names the families; models that bring their own code are not run",
        ) from error
    named = raw.get("architectures")
    if not isinstance(named, list) or not any(isinstance(a, str) and a.endswith(_CAUSAL) for a in named):
        raise SourceError(
            f"{folder.name} is no causal language model",
            f"its architectures are {ascii(named)[:200] if named else 'not named'}",
            "pass the folder of a model for text alone, whose architecture ends in ForCausalLM",
        )
    usual = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if isinstance(usual, str) and _bare(named[0]) != _bare(usual):  # libraries go by one or by the other
        raise SourceError(
            f"The config.json of {folder.name} names two kinds of models",
            f"its model_type is {ascii(config.model_type)[:60]}, whose architecture is {usual}, and it names "
            f"{ascii(named[0])[:60]}",
            "check that config.json is the model's own",
        )
    return config


def _bare(architecture: object) -> str:
    return str(architecture).replace("_", "").lower()


def _quantised(folder: Path, raw: JsonObject, held: dict[str, Held]) -> Stated | None:
    """The statement on how the weights are quantised, or None. Raises SourceError for a method that is not read."""
    from edgekit.sources.quantised.reader import check_method

    quantisation = stated(folder, raw, held)
    if quantisation is None:
        if raw.get("model_type") != "bitnet":
            check_floats({n: h.kind for n, h in held.items()}, folder.name)
        return None
    check_method(quantisation)
    return quantisation


def _is_bitnet(config: PreTrainedConfig, quantisation: Stated | None) -> bool:
    return config.model_type == "bitnet" or (quantisation is not None and quantisation.method == "bitnet")


def _native(
    config: PreTrainedConfig, quantisation: Stated | None, layers: dict[str, tuple[int, int]], held: dict[str, Held]
) -> Precision | None:
    """The precision that the weights are quantised to already, or None."""
    from edgekit.sources.quantised.reader import precision

    if _is_bitnet(config, quantisation):
        return Precision.TERNARY
    return precision(quantisation, layers, held) if quantisation else None


def _counted(config: PreTrainedConfig, name: str) -> tuple[dict[str, tuple[int, int]], int]:
    """Outputs and inputs of each linear layer of the network, and its parameters: those it computes with,
    however few elements they are stored in."""
    import torch
    from transformers import AutoModelForCausalLM

    wrong = guard(SourceError, f"{name} cannot be loaded", "check its config.json")
    with wrong, torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    linear = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    layers = {n: (m.out_features, m.in_features) for n, m in linear.items()}
    return layers, sum(p.numel() for p in network.parameters())


def _weights(folder: Path) -> list[Path]:
    """Every file of weights. Raises SourceError when one is missing."""
    single, index = folder / "model.safetensors", folder / INDEX
    if index.is_file():
        placed = json_of(index).get("weight_map")
        if not isinstance(placed, dict) or not placed or not all(isinstance(n, str) for n in placed.values()):
            raise SourceError(
                f"{INDEX} of {folder.name} is malformed",
                "its weight_map says not where each tensor is",
                "copy it again",
            )
        names = sorted(set(placed.values()))
        for name in names:
            contained(folder, name)
            if not name.endswith(".safetensors"):
                raise UnsafeSourceError(
                    f"{INDEX} of {folder.name} names {ascii(name)[:80]}",
                    "weights are read from safetensors only",
                    "take the safetensors version of the model",
                )
        missing = [n for n in names if not (folder / n).is_file()]
        if missing:
            raise SourceError(
                f"{folder.name} is not complete: {len(missing)} of {len(names)} files of weights are missing",
                f"the first is {missing[0]}",
                "download or copy them",
            )
        return [folder / n for n in names]
    if single.is_file():
        return [single]
    if list(folder.glob("pytorch_model*.bin")):
        raise UnsafeSourceError(
            f"{folder.name} has its weights in pickled files",
            "reading a pickle can run code",
            "take the safetensors version of the model",
        )
    raise others.named(str(folder)) or SourceError(
        f"{folder.name} holds no weights", f"there is no model.safetensors and no {INDEX}"
    )


def _held(shards: list[Path]) -> dict[str, Held]:
    """All tensors as stored; raises SourceError for a file that is cut short."""
    from safetensors import SafetensorError, safe_open

    held: dict[str, Held] = {}
    for shard in shards:
        try:
            with safe_open(str(shard), "pt") as archive:
                for name in archive.keys():  # noqa: SIM118 (not a dictionary)
                    part = archive.get_slice(name)
                    held[name] = Held(tuple(part.get_shape()), str(part.get_dtype()))
        except SafetensorError as error:
            raise SourceError(
                f"{shard.name} is not a safetensors file, or it is truncated", str(error), "download or copy it again"
            ) from error
    return held
