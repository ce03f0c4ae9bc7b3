"""A Hugging Face folder as libraries may see it: a copy that holds only what was checked.

transformers opens more than the files it is known for: configs name other configs, weights, tokenizers and
code, by any path. So it is given a folder of edgekit's own, with small files written anew and links to the
weights that were looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import SourceError
from edgekit.sources.files import contained, json_of
from edgekit.system.documents import JsonObject, decode, read_bytes

INDEX = "model.safetensors.index.json"
# Whole, as data: a tokenizer's own definitions name no files.
_WHOLE = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_TEMPLATE = "chat_template.jinja"
_LARGEST, _LARGEST_TEMPLATE = 2**28, 2**20  # bytes
# Of config.json: what makes transformers look elsewhere, or load weights by code of another library.
_ELSEWHERE = {
    "auto_map",
    "_name_or_path",
    "name_or_path",
    "transformers_weights",
    "configuration_files",
    "custom_pipelines",
    "gguf_file",
    "base_model_name_or_path",
    "_commit_hash",
    "model_file",
    "quantization_config",
    "compression_config",
    "sparsity_config",
}
# Of config.json besides what a family's own class declares: names from before transformers 5.
_OLDER = {
    "model_type",
    "architectures",
    "torch_dtype",
    "dtype",
    "rope_scaling",
    "rope_theta",
    "text_config",
    "tie_word_embeddings",
    "use_cache",
    "transformers_version",
}
_TOKENIZER_TEXT = {
    "tokenizer_class",
    "backend",
    "padding_side",
    "truncation_side",
    "errors",
    "chat_template",
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
    "replace_additional_special_tokens",
}
_TOKENIZER_PARTS = {
    "additional_special_tokens",
    "extra_special_tokens",
    "added_tokens_decoder",
    "model_input_names",
    "model_specific_special_tokens",
}


@contextlib.contextmanager
def checked_folder(folder: Path, weights: Sequence[str] = ()) -> Iterator[Path]:
    """A folder that exists while the block runs, with the config, the tokenizer and `weights`, names of files in
    `folder`.

    Raises SourceError for a file that cannot be read, UnsafeSourceError for one that lies elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        copy = Path(name) / (folder.name or "model")  # libraries put its name into what they say
        copy.mkdir()
        _write(copy / "config.json", plain_config(json_of(folder / "config.json")))
        for small, plain in _SMALL.items():
            if (folder / small).is_file():
                _write(copy / small, plain(json_of(contained(folder, small))))
        for whole in _WHOLE:
            if (folder / whole).is_file():
                (copy / whole).write_bytes(_read(contained(folder, whole), _LARGEST))
        template = _template(folder)
        if template is not None:
            (copy / _TEMPLATE).write_text(template, encoding="utf-8")
        for shard in weights:
            _place(contained(folder, shard).resolve(), copy / shard)
        if weights and (folder / INDEX).is_file():
            _write(copy / INDEX, {"metadata": {}, "weight_map": json_of(folder / INDEX)["weight_map"]})
        yield copy


def plain_config(config: JsonObject) -> JsonObject:
    """A config.json reduced to what is known to be harmless: the settings that its family's class declares, and
    numbers and switches among the others. It names no files or code, and does not say how weights are stored,
    which edgekit reads itself: libraries would act on these."""
    declared = _declared(config.get("model_type")) | _OLDER
    values = {}
    for key, value in config.items():
        plain = key in declared or isinstance(value, (bool, int, float, type(None)))
        if plain and key not in _ELSEWHERE and not key.startswith("adapter"):
            values[key] = value
    if isinstance(values.get("text_config"), dict):
        values["text_config"] = plain_config(values["text_config"])
    result: JsonObject = _without_paths(values)
    return result


def _declared(kind: object) -> set[str]:
    """The settings that a family's class declares; none for a family that transformers does not know, which
    another check reports."""
    from transformers import CONFIG_MAPPING

    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return set()
    family = CONFIG_MAPPING[kind]
    return {*getattr(family, "__dataclass_fields__", ()), *getattr(family, "attribute_map", ())}


def plain_generation(settings: JsonObject) -> JsonObject:
    """A generation_config.json reduced to numbers, switches and ids."""
    plain = (bool, int, float, type(None))
    return {
        k: v
        for k, v in settings.items()
        if k not in _ELSEWHERE and (isinstance(v, plain) or (isinstance(v, list) and all(type(i) is int for i in v)))
    }


def plain_settings(settings: JsonObject) -> JsonObject:
    """A tokenizer_config.json reduced to numbers, switches and those texts that are no names of files."""
    values = {}
    for key, value in settings.items():
        known = key in _TOKENIZER_TEXT | _TOKENIZER_PARTS
        if known or (key not in _ELSEWHERE and isinstance(value, (bool, int, float, type(None)))):
            values[key] = value
    return values


def _numbers(ids: JsonObject) -> dict[str, int]:
    return {k: v for k, v in ids.items() if isinstance(v, int)}


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if not _is_path(v)}
    if isinstance(value, list):
        return [_without_paths(v) for v in value if not _is_path(v)]
    return value


def _is_path(value: object) -> bool:
    return isinstance(value, str) and ("\\" in value or (len(value) > 1 and "/" in value and not value.startswith("<")))


_SMALL: dict[str, Callable[[JsonObject], object]] = {
    "generation_config.json": plain_generation,
    "special_tokens_map.json": plain_settings,  # transformers takes both for the same
    "tokenizer_config.json": plain_settings,
    "added_tokens.json": _numbers,
}


def _template(folder: Path) -> str | None:
    """The chat template that stands in a file of its own."""
    if (folder / _TEMPLATE).is_file():
        content = _read(contained(folder, _TEMPLATE), _LARGEST_TEMPLATE)
        try:
            return decode(content)
        except ValueError as error:
            raise SourceError(f"{_TEMPLATE} of {folder.name} cannot be read: {error}", "", "copy it again") from error
    if (folder / "chat_template.json").is_file():
        text = json_of(contained(folder, "chat_template.json")).get("chat_template")
        return text if isinstance(text, str) else None
    return None


def _read(path: Path, largest: int) -> bytes:
    try:
        return read_bytes(path, largest)
    except ValueError as error:
        raise SourceError(f"{path.name} of {path.parent.name} cannot be read: {error}", "", "copy it again") from error


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _place(real: Path, at: Path) -> None:
    """Links the file where the system allows it, since weights are large; else copies it."""
    at.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(real, at)
    except (OSError, NotImplementedError):
        shutil.copyfile(real, at)
