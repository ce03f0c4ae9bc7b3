"""Whether a package's tokenizer and chat template give what their reference gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.errors import SourceError, UsageError
from edgekit.genai.agreement import TEXTS, disagreements
from edgekit.package.receipt import Measurement, Provenance
from edgekit.runtime.text.tokens import Tokens
from edgekit.system.child import Child, ChildError

_SECONDS = 20.0  # of which starting takes some
_TALKS = (
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "Where is\nthe station?"},
        {"role": "assistant", "content": "Over there."},
        {"role": "user", "content": "Thank you {{ x }} <b>"},
    ],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
)


def tokenizer_measurements(session: Any, tokens: Tokens, reference: Any, texts: Sequence[str]) -> list[Measurement]:
    """`session`: of the package; `reference`: the transformers tokenizer. Shares of texts that agree; nothing of a
    chat template whose reference renders no conversation at all."""
    count, other = disagreements(session.tokenizer.encode, reference, texts)
    first = f"; the first that differs: {other[0][:40]!r}" if other else ""
    backend = reference.backend_tokenizer
    returned = sum(_returns(t, tokens, backend) for t in TEXTS)
    rows = [
        Measurement(
            "text",
            "tokenizer equal",
            1 - len(other) / count,
            "1",
            Provenance.MEASURED,
            count,
            note=f"{count} texts, {session.spec.tokenizer} against tokenizers{first}",
        ),
        Measurement("text", "text returns from tokens", returned / len(TEXTS), "1", Provenance.MEASURED, len(TEXTS)),
    ]
    if reference.chat_template:
        rows += _template(session.tokenizer, reference)
    return rows


def _returns(text: str, tokens: Tokens, backend: Any) -> bool:
    ids = backend.encode(text, add_special_tokens=False).ids
    whole, expected = tokens.text(ids, special=True), backend.decode(ids, skip_special_tokens=False)
    return whole in (text, " " + text) or whole.strip() == expected.strip()


def _template(tokenizer: Any, reference: Any) -> list[Measurement]:
    same = tried = 0
    for talk, expected in zip(_TALKS, _expected(reference)):
        if expected is None:
            continue
        tried += 1
        try:
            same += tokenizer.render(talk) == expected
        except UsageError:
            continue
    if not tried:
        return []
    return [
        Measurement(
            "text",
            "chat template equal",
            same / tried,
            "1",
            Provenance.MEASURED,
            tried,
            note="conversations, against transformers' rendering",
        )
    ]


def not_compared(reference: Any, rows: Sequence[Measurement]) -> list[str]:
    """Sentences on the parts of a tokenizer that had no reference to compare with."""
    if reference.chat_template and not any(m.name == "chat template equal" for m in rows):
        return [f"the chat template: transformers renders none of {len(_TALKS)} conversations with it"]
    return []


def _expected(reference: Any) -> list[str | None]:
    """What transformers makes of each conversation; None where the template refuses it. Raises SourceError for
    a template that takes more time or memory than a template may."""
    child = Child("edgekit.tasks.text.template_child")
    special = {k: str(v) for k, v in reference.special_tokens_map.items() if isinstance(v, str)}
    question = {"template": reference.get_chat_template(), "special": special, "talks": list(_TALKS)}
    try:
        texts: list[str | None] = child.ask(question, _SECONDS)
    except ChildError as error:
        raise SourceError(
            "The chat template of this model cannot be rendered",
            f"the process that rendered it ended: {error}",
            "mend its chat_template, or remove it: the package then continues text and has no chat",
        ) from error
    finally:
        child.close()
    return texts
