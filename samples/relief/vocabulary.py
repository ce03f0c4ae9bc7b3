"""The tokenizer of the sample language model: byte-level BPE, digits one by one, four special tokens.

Digits stand alone because numbers are copied, not known. The splitting rule is the one of Qwen2, which
every runtime has.
"""

from __future__ import annotations

import random

from prompt import prompt
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from write import passages

SPECIALS = ("<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>")
BOS, EOS, USER, ASSISTANT = range(4)
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: A turn ends with <|eos|>. There is no system turn: its text would count as the user's.
CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|assistant|>' if message['role'] == 'assistant' else '<|user|>' }}{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def learn(size: int, seed: int = 1, count: int = 6000) -> Tokenizer:
    """A tokenizer for the text that write.py makes."""
    rng = random.Random(f"vocabulary {seed}")
    texts = []
    for _ in range(count):
        sources, turns = passages(rng, rng.randint(1, 3), rng.randint(1, 4))
        texts.append(prompt(sources, turns[0].question))
        texts.extend(f"{turn.question}\n{turn.answer}" for turn in turns[:3])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIALS),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return tokenizer
