"""The tokenizer that a GGUF file's metadata describe, as the files of a Hugging Face folder.

transformers can rebuild one too, but respells tokens, splits digits together where SmolLM splits them,
and forgets special tokens with characters such as those of DeepSeek. Here each token keeps its id and
its spelling, and what cuts a text into pieces is either known or an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.sources.gguf_config import token_id
from edgekit.sources.gguf_header import GgufFile
from edgekit.sources.tokenizer import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerBase

_UNKNOWN, _CONTROL, _USER, _BYTE = 2, 3, 4, 6  # of tokenizer.ggml.token_type
_SPACE = "\u2581"
_LONGEST, _MOST = 1024, 2**21  # characters of a token, tokens
_ENDS = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<|eot|>",
    "<｜end▁of▁sentence｜>",
}
_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"}
_DIGITS = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"}
_WHOLE_WORDS = {"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "lfm2"}  # ignore_merges, and a BOS
_AS_QWEN2 = {"stablelm2", "hunyuan"}
_PROBES = (
    "It's 1234567 o'clock, I'LL go",
    " \t two  spaces\n\n\r\nx ",
    "(a+b)*c == {d}; e_f://g",
    "na\u0131ve \u4f60\u597d \U0001f98a",
)


def write_tokenizer(file: GgufFile, folder: Path) -> list[str]:
    """tokenizer.json and what belongs to it, beside config.json; returns notes.

    Raises SourceError for what is not known.
    """
    from transformers import PreTrainedTokenizerFast

    tokens, types = _vocabulary(file)
    kind = file.metadata.get("tokenizer.ggml.model")
    notes: list[str] = []
    if kind == "gpt2":
        backend, begins = _byte_level(file, tokens, notes), _whole_words(file)
    elif kind == "llama":
        backend, begins = _sentencepiece(file, tokens, types), True
    else:
        raise SourceError(
            f"The tokenizer of {file.name} is not of a kind edgekit can package",
            f"its tokenizer.ggml.model is {str(kind)[:40]!r}",
            "edgekit knows 'gpt2' and 'llama'",
        )
    special = _special(file, len(tokens), kind)
    _add_tokens(file, backend, tokens, types, set(special.values()), kind)
    begin = special.get("bos_token")
    if _flag(file, "add_bos_token", begins) and begin is not None:
        _begin_with(backend, tokens[begin], begin)
    if _flag(file, "add_eos_token", False):
        notes.append("add_eos_token of the file is not followed: a prompt is not ended")
    named = {name: tokens[i] for name, i in special.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **named)
    template = file.metadata.get("tokenizer.chat_template")
    if isinstance(template, str) and template.strip():
        tokenizer.chat_template = template  # kept as text; nothing here renders it
    tokenizer.save_pretrained(folder)
    _check(file, tokenizer, tokens, special)
    _check(file, _read_again(file, folder, tokenizer), tokens, special)
    return notes


def end_tokens(file: GgufFile) -> list[int]:
    """The ids that end an answer: those the file names, and llama.cpp's own list of names."""
    tokens, types = _vocabulary(file)
    named = (token_id(file, name, len(tokens)) for name in ("eos", "eot", "eom"))
    listed = (i for i, t in enumerate(tokens) if t in _ENDS and types[i] in (_CONTROL, _USER))
    return sorted({i for i in (*named, *listed) if i is not None})


def _vocabulary(file: GgufFile) -> tuple[list[str], list[int]]:
    tokens, types = (file.metadata.get(f"tokenizer.ggml.{n}") for n in ("tokens", "token_type"))
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) for t in tokens):
        raise SourceError(
            f"{file.name} has no tokenizer",
            "tokenizer.ggml.tokens is missing from its metadata",
            "take a file that was converted together with its tokenizer",
        )
    if types is None:
        types = [1] * len(tokens)
    if not isinstance(types, list) or len(types) != len(tokens):
        raise _damaged(file, "it has another number of token types than of tokens")
    rows = file.tensors["token_embd.weight"].shape[0]
    if len(tokens) > min(rows, _MOST):
        raise SourceError(
            f"The tokenizer of {file.name} does not belong to its weights",
            f"it has {len(tokens)} tokens, and the embedding has {rows} rows",
            "download or copy it again",
        )
    if len(set(tokens)) != len(tokens):
        raise _damaged(file, "it has the same token twice")
    if max(map(len, tokens)) > _LONGEST:
        raise _damaged(file, f"a token is longer than {_LONGEST} characters")
    return tokens, types


def _byte_level(file: GgufFile, tokens: list[str], notes: list[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    vocabulary = {t: i for i, t in enumerate(tokens)}
    stated = file.metadata.get("tokenizer.ggml.merges")
    if not isinstance(stated, list) or not all(isinstance(m, str) for m in stated):
        raise _damaged(file, "tokenizer.ggml.merges is missing from its metadata")
    merges = []
    for text in stated:
        cut = text.find(" ", 1)
        left, right = text[:cut], text[cut + 1 :]
        if cut < 0 or not {left, right, left + right} <= vocabulary.keys():
            raise _damaged(file, f"the merge {text[:60]!r} is not of its tokens")
        merges.append((left, right))
    model = models.BPE(vocabulary, merges, fuse_unk=False, byte_fallback=False, ignore_merges=_whole_words(file))
    backend = Tokenizer(model)
    if file.metadata.get("tokenizer.ggml.pre") == "qwen2":
        backend.normalizer = normalizers.NFC()  # llama.cpp leaves it out; the models were trained with it
    backend.pre_tokenizer = _split(file, notes)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _whole_words(file: GgufFile) -> bool:
    return file.metadata.get("tokenizer.ggml.pre") in _WHOLE_WORDS


def _split(file: GgufFile, notes: list[str]) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    kind = file.metadata.get("tokenizer.ggml.pre", "")
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if kind in ("", "default"):
        notes.append("the file does not say how text is split before its tokens; GPT-2's way was taken")
        return plain
    if kind in _GPT2:
        return plain
    if kind in _DIGITS:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    pattern = GGUF_PRE_TOKENIZER_SPLITS.get("qwen2" if kind in _AS_QWEN2 else kind)
    if pattern is None:
        raise SourceError(
            f"The tokenizer of {file.name} splits text in a way edgekit does not know",
            f"its tokenizer.ggml.pre is {str(kind)[:40]!r}",
            "convert the folder the model was published in on Hugging Face instead",
        )
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), bytes_only])


def _sentencepiece(file: GgufFile, tokens: list[str], types: list[int]) -> Tokenizer:
    """A SentencePiece tokenizer that adds spaces as llama.cpp does: before the text and after each special token,
    unless the file says no."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers.tokenization_utils_base import generate_merges

    gemma = str(file.metadata["general.architecture"]).startswith("gemma")
    if gemma:  # runs of spaces are spelt with spaces in these files only
        tokens[:] = [t.replace(" ", _SPACE) if t and not t.strip(" ") else t for t in tokens]
        if len(set(tokens)) != len(tokens):
            raise _damaged(file, "it has the same token twice")
    scores = file.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise _damaged(file, "it has another number of scores than of tokens")
    vocabulary = {t: i for i, t in enumerate(tokens)}
    # Gemma's merges are in the order of its tokens, not of their scores.
    ranks = {t: -i if gemma else scores[i] for t, i in vocabulary.items()}
    plain = {t: r for t, r in ranks.items() if types[vocabulary[t]] not in (_UNKNOWN, _CONTROL, _BYTE)}
    unknown = token_id(file, "unknown", len(tokens))
    every = all(f"<0x{b:02X}>" in vocabulary for b in range(256))
    model = models.BPE(
        vocabulary,
        generate_merges(vocabulary, plain),
        fuse_unk=True,
        byte_fallback=every,
        unk_token=tokens[0 if unknown is None else unknown],
    )
    backend = Tokenizer(model)
    prefix = _flag(file, "add_space_prefix", not gemma)
    replace = normalizers.Replace(" ", _SPACE)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), replace]) if prefix else replace
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return backend


def _special(file: GgufFile, count: int, kind: object) -> dict[str, int]:
    """transformers' names of the special tokens, and their ids; SentencePiece's own where unstated."""
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if kind == "llama" and count > 2 else {}
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special = {}
    for key, name in names.items():
        stated = f"tokenizer.ggml.{key}_token_id" in file.metadata
        value = token_id(file, key, count) if stated else defaults.get(key)
        if value is not None:
            special[name] = value
    return special


def _add_tokens(
    file: GgufFile, backend: Tokenizer, tokens: list[str], types: list[int], special: set[int], kind: str
) -> None:
    """Adds the tokens that are never split, even where a text could be read otherwise."""
    from tokenizers import AddedToken

    phi3 = kind == "llama" and file.metadata["general.architecture"] == "phi3"
    never, also = [], []
    for index, token in enumerate(tokens):
        spaces = kind == "llama" and not token.strip(_SPACE)  # these come from merges
        if index in special or types[index] in (_CONTROL, _UNKNOWN):
            # Phi-3's swallow the space after them; the file does not say so, llama.cpp knows it too.
            swallows = phi3 and token not in ("<unk>", "<s>", "<|endoftext|>")
            never.append(AddedToken(token, normalized=False, special=True, rstrip=swallows))
        elif types[index] == _USER and not spaces:
            also.append(AddedToken(token, normalized=False, special=False))
    backend.add_special_tokens(never)
    backend.add_tokens(also)


def _begin_with(backend: Tokenizer, token: str, index: int) -> None:
    from tokenizers import processors

    template = processors.TemplateProcessing(
        single=f"{token}:0 $A:0", pair=f"{token}:0 $A:0 {token}:1 $B:1", special_tokens=[(token, index)]
    )
    before = backend.post_processor
    backend.post_processor = template if before is None else processors.Sequence([before, template])


def _flag(file: GgufFile, name: str, default: bool) -> bool:
    flag = file.metadata.get(f"tokenizer.ggml.{name}")
    return flag if isinstance(flag, bool) else default


def _check(file: GgufFile, tokenizer: PreTrainedTokenizerBase, tokens: list[str], special: dict[str, int]) -> None:
    """Each id is the file's token; raises SourceError for a tokenizer that came out otherwise."""
    vocabulary = {i: t for t, i in tokenizer.get_vocab().items()}
    wrong = [i for i in range(max(len(tokens), len(vocabulary))) if i >= len(tokens) or vocabulary.get(i) != tokens[i]]
    wrong += [i for name, i in special.items() if getattr(tokenizer, f"{name}_id") != i]
    if wrong:
        raise SourceError(
            f"The tokenizer of {file.name} cannot be rebuilt",
            f"{len(wrong)} tokens would have other ids, the first is {wrong[0]}",
            "convert the folder the model was published in on Hugging Face instead",
        )


def _read_again(file: GgufFile, folder: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Reads the tokenizer again as later steps do: for some families transformers uses a class of its own."""
    again = read_tokenizer(folder)
    other = [t for t in _PROBES if _cut(again, t) != _cut(tokenizer, t)]
    if other:
        raise SourceError(
            f"The tokenizer of {file.name} is not that of its architecture",
            f"transformers would cut {other[0]!r} into other tokens than the file says",
            "convert the folder the model was published in on Hugging Face instead",
        )
    return again


def _cut(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], object]:
    """The tokens, and the pieces before any are merged, since a small vocabulary may not show a difference."""
    backend = tokenizer.backend_tokenizer
    plain = backend.normalizer.normalize_str(text) if backend.normalizer else text
    pieces = backend.pre_tokenizer.pre_tokenize_str(plain) if backend.pre_tokenizer else plain
    return tokenizer(text).input_ids, pieces


def _damaged(file: GgufFile, why: str) -> SourceError:
    return SourceError(f"The tokenizer of {file.name} is damaged", why, "download or copy it again")
