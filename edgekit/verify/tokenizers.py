"""Whether a package's tokenizer and chat template give what their reference gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.receipt import Measurement, Provenance
from edgekit.runtime.tokens import Tokens

_TEXTS = (
    "Hello, world!", "  two leading spaces", "trailing space ", "a\n\nb\tc\r\n", "1234567890 3.14e-10",
    "naïve café — ‘quotes’ “double”", "日本語のテキスト、中文文本", "Привет, мир", "مرحبا بالعالم", "हिन्दी पाठ",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪", "def f(x):\n    return x ** 2  # code", "https://example.org/a?b=c&d=%20", "ALL CAPS and MiXeD",
    "I'm, you're, they'll; don't", "x" * 200, "\u00a0\u200b\ufeff", "e\u0301 vs \u00e9", "a  b   c    d", "∑∫√ ≤ ≥ ≠",
)  # fmt: skip
_TALKS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "Where is\nthe station?"}, {"role": "assistant", "content": "Over there."},
     {"role": "user", "content": "Thank you {{ x }} <b>"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
)  # fmt: skip


def tokenizer_measurements(
    session: Any, tokens: Tokens, reference: Any, texts: Sequence[str]
) -> list[Measurement]:
    """`session`: of the package; `reference`: the transformers tokenizer. Shares of texts that agree."""
    tried = [*_TEXTS, *(p for t in texts for p in _paragraphs(t))]
    backend = reference.backend_tokenizer
    same = returned = 0
    first = ""
    for text in tried:
        expected = backend.encode(text, add_special_tokens=False).ids
        found = session.encode(text)
        same += found == expected
        first = first or ("" if found == expected else text)
        whole = tokens.text(expected, special=True)
        returned += (
            whole in (text, " " + text)
            or whole.strip() == backend.decode(expected, skip_special_tokens=False).strip()
        )
    note = f"{len(tried)} texts, against tokenizers" + (
        f"; the first that differs: {first[:40]!r}" if first else ""
    )
    made = [
        Measurement("text", "tokenizer equal", same / len(tried), "1", Provenance.MEASURED, len(tried), note=note),
        Measurement("text", "text returns from tokens", returned / len(tried), "1", Provenance.MEASURED, len(tried)),
    ]  # fmt: skip
    if reference.chat_template:
        made.append(_template(session, reference))
    return made


def _template(session: Any, reference: Any) -> Measurement:
    same = tried = 0
    for talk in _TALKS:
        try:
            expected = reference.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        except Exception:  # a template may refuse a conversation, a system message above all
            continue
        tried += 1
        try:
            same += session.render(talk) == expected
        except Exception:
            continue
    return Measurement("text", "chat template equal", same / max(tried, 1), "1", Provenance.MEASURED, tried,
                       note="conversations, against transformers' rendering")  # fmt: skip


def _paragraphs(text: str) -> list[str]:
    return [p for p in text[:20000].split("\n\n") if p.strip()][:40]
