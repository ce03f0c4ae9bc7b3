"""Readers of folders of language models: their JSON, tokenizers, weights and templates."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

from tests.attacks.fuzzing import documents, pickles, raw, texts
from tests.attacks.fuzzing.case import Case, Place, Random, Reader
from tests.attacks.fuzzing.models import WHOLE, converting, read

_JSON = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def _folder(random: Random, place: Place, seed: str) -> Path:
    return Path(shutil.copytree(place.seeds / seed, place.folder / "model"))


def _network(folder: Path, out: Path) -> None:
    """What conversion reads next of a folder that it took: its weights."""
    read(str(folder), out, ())
    from edgekit import registry
    from edgekit.model import as_checkpoint, load_model

    registry.load("sources", "huggingface").network(as_checkpoint(load_model(out / "model"), ""), "float32")


def _language(random: Random, place: Place, folder: Path, note: str, lie: bool = False) -> Case:
    case = converting(random, place, folder, note, lie)
    if case.call is not None:
        case.call = partial(_network, folder, place.out)
    return case


def folder_json(random: Random, place: Place) -> Case:
    folder = _folder(random, place, "llama")
    name = random.choice(_JSON)
    (folder / name).write_bytes(documents.mutate(random, (folder / name).read_bytes()))
    if random.random() < 0.15:
        config = {
            "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]},
            "model_type": random.choice(("llama", "evil")),
            "architectures": ["EvilForCausalLM"],
        }
        whole = json.loads((place.seeds / "llama" / "config.json").read_bytes()) | config
        (folder / "config.json").write_text(json.dumps(whole), encoding="utf-8")
        (folder / "evil.py").write_text(
            f"open({str(place.canary)!r}, 'w')\nclass C: pass\nclass M: pass\nclass T: pass\n", encoding="utf-8"
        )
    return _language(random, place, folder, name)


def folder_tokenizer(random: Random, place: Place) -> Case:
    folder = _folder(random, place, "llama")
    definition = (folder / "tokenizer.json").read_bytes()
    kind = random.randrange(8)
    if kind == 0:
        (folder / "tokenizer.json").unlink()
        name = random.choice(
            ("tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
        )
        (folder / name).write_bytes(
            random.choice((b"", b"{}", b"[]", b"\xff" * 50, b"a b\n" * 9, b"\x0a\x05\x0a\x01a\x15\0"))
        )
    elif kind == 1:
        (folder / "tokenizer.json").write_bytes(raw.mutate(random, definition))
    else:
        document = json.loads(definition)
        part = random.choice(
            (
                "model",
                "added_tokens",
                "normalizer",
                "pre_tokenizer",
                "post_processor",
                "decoder",
                "truncation",
                "padding",
            )
        )
        document = documents.change_part(random, document, part)
        (folder / "tokenizer.json").write_text(documents.written(document), encoding="utf-8", errors="surrogatepass")
    return _language(random, place, folder, "tokenizer")


def folder_weights(random: Random, place: Place) -> Case:
    folder = _folder(random, place, "sharded")
    index, lie = folder / "model.safetensors.index.json", False
    kind = random.randrange(6)
    shard = folder / "model-00001-of-00002.safetensors"
    if kind < 3:
        index.write_bytes(documents.mutate(random, index.read_bytes()))
    elif kind == 3:
        content = shard.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = documents.mutate(random, content[8 : 8 + size])
        shard.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    elif kind == 4:
        shard.unlink()
        os.symlink(random.choice((str(place.secret), "..", shard.name, "/etc", "/dev/zero")), shard)
        lie = True
    else:
        name = random.choice(("../secret", "/etc/passwd", "a/../../x", "pytorch_model.bin", "x\0", "..", "C:\\x"))
        document = json.loads(index.read_bytes())
        document["weight_map"][random.choice(list(document["weight_map"]))] = name
        index.write_text(json.dumps(document), encoding="utf-8")
        (folder / "pytorch_model.bin").write_bytes(pickles.attack(random, str(place.canary))[0])
        lie = True
    return _language(random, place, folder, "weights", lie)


def folder_template(random: Random, place: Place) -> Case:
    """Conversion renders a template as transformers does, in a child: here that child alone, and at times all."""
    folder = _folder(random, place, "llama")
    honest = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    text = texts.template(random, honest, str(place.canary))
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.5:
        (folder / "chat_template.jinja").write_bytes(data)
    else:
        (folder / "chat_template.jinja").unlink()
        config = json.loads((folder / "tokenizer_config.json").read_bytes())
        config["chat_template"] = random.choice(
            (text, text, [{"name": "default", "template": text}], {"default": text}, [text], 5)
        )
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if random.random() < WHOLE:
        return converting(random, place, folder, "template")
    return Case("template", call=partial(_rendered, folder, place.out), seconds=60.0)


def _rendered(folder: Path, out: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    from edgekit.tasks.text.tokenizers import _expected

    read(str(folder), out, ())
    copied = out / "model" / "files"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(copied)
    if tokenizer.chat_template:
        _expected(tokenizer)


READERS: dict[str, Reader] = {
    "folder-json": folder_json,
    "folder-tokenizer": folder_tokenizer,
    "folder-weights": folder_weights,
    "folder-template": folder_template,
}
