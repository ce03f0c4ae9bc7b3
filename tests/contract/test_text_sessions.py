"""What every engine of language models keeps: a cache that holds what it was told to, logits that depend on nothing
else, and the same answers for tokens that come at once or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.package import Package
from edgekit.runtime import Detector, EngineOptions, LanguageModel, TextSession, load, open_text_session
from edgekit.runtime.measuring import Effort
from edgekit.spec import Sampling, TextSpec
from tests.contract.conftest import CONTEXT, TEXTS

TOKENS = (5, 17, 42, 99, 7, 3, 250, 31)
SCHEMA = (
    '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}'
)


@pytest.fixture(params=TEXTS, scope="module")
def package(request: pytest.FixtureRequest, package_of: Callable[[str], Package]) -> Package:
    """A package that this engine opens."""
    return package_of(request.param)


@pytest.fixture(scope="module")
def shared(package: Package) -> Iterator[TextSession]:
    session = opened(package)
    yield session
    session.close()


@pytest.fixture
def session(shared: TextSession) -> TextSession:
    shared.reset()
    return shared


def opened(package: Package, threads: int | None = 1) -> TextSession:
    """In the simulator where it is for a processor that is not in here."""
    return open_text_session(package, EngineOptions(threads, simulate=bool(package.manifest.engine.chips)))


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Reading at once and one by one adds in another order; float16 of an NPU has three digits."""
    return bool(np.abs(one - other).max() <= 2e-2 * np.abs(one).max())


def test_it_says_how_it_runs(package: Package, session: TextSession) -> None:
    assert session.threads >= 1
    assert bool(session.simulator) == bool(package.manifest.engine.chips)
    assert session.held == 0


def test_logits_are_float32_for_each_token_of_the_vocabulary(package: Package, session: TextSession) -> None:
    assert session.start(TOKENS) == len(TOKENS)
    logits = session.logits()
    assert logits.shape == (package.manifest.model_as(TextSpec).vocab_size,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_the_cache_holds_what_was_read(session: TextSession) -> None:
    session.start(TOKENS[:3])
    assert session.held == 3
    session.append(TOKENS[3:5])
    assert session.held == 5
    session.reset()
    assert session.held == 0


def test_tokens_at_once_and_one_by_one_are_the_same_text(session: TextSession) -> None:
    session.start(TOKENS)
    at_once = session.logits().copy()
    session.reset()
    session.start(TOKENS[:1])
    for token in TOKENS[1:]:
        session.append([token])
    assert close(at_once, session.logits())


def test_only_what_the_cache_lacks_is_read(session: TextSession) -> None:
    session.start(TOKENS)
    first = session.logits().copy()
    assert session.start(TOKENS[:5]) >= 1  # the logits of the last token must be made
    assert session.held == 5
    assert session.start(TOKENS) <= len(TOKENS)
    assert session.held == len(TOKENS)
    assert close(first, session.logits())
    assert session.start((*TOKENS, 11)) == 1
    assert session.held == len(TOKENS) + 1


def test_what_came_before_leaves_nothing_behind(session: TextSession) -> None:
    session.start(TOKENS)
    first = session.logits().copy()
    session.start([200, 201, 202])
    assert not close(first, session.logits())
    session.start(TOKENS)
    assert close(first, session.logits())


def test_the_context_can_be_filled(session: TextSession) -> None:
    session.start(np.random.default_rng(0).integers(0, 300, CONTEXT - 1).tolist())
    session.append([7])
    assert session.held == CONTEXT
    assert np.isfinite(session.logits()).all()


def test_several_texts_at_once_or_a_refusal(session: TextSession) -> None:
    prompts = [TOKENS[:3], TOKENS]
    if not session.batches:
        with pytest.raises(UsageError, match="side by side"):
            session.batch(prompts)
        return
    batch = session.batch(prompts)
    assert not batch.reading(0) and batch.reading(1)
    for token in TOKENS[3:]:
        batch.logits()
        batch.append([token, 0])
    assert not batch.reading(1)
    both = batch.logits()
    assert both.shape[0] == 2 and both.dtype == np.float32
    session.start(TOKENS)
    assert close(both[0], session.logits()) and close(both[1], session.logits())


def test_a_schema_is_followed_or_refused(package: Package, session: TextSession) -> None:
    session.start(TOKENS)
    with pytest.raises(UsageError):
        session.guided(TOKENS, '{"type": "no such type"}', Sampling())
    try:
        text = session.guided(TOKENS, SCHEMA, Sampling())
    except UsageError:
        return  # this engine follows none
    tokens = []
    while not text.done and text.held < CONTEXT:
        assert text.logits().dtype == np.float32
        tokens.append(text.next())
    with load(package, kind=LanguageModel) as llm:
        assert llm.tokens.text(tokens).startswith("{")
    assert session.held == len(TOKENS)


def test_its_tokenizer_gives_ids_and_renders_a_chat(package: Package, session: TextSession) -> None:
    tokenizer = session.tokenizer
    ids = tokenizer.encode("once upon a time")
    assert ids and all(0 <= i < package.manifest.model_as(TextSpec).vocab_size for i in ids)
    mark, number = next(iter(tokenizer.special_tokens().items()))
    assert number in tokenizer.encode(mark) and number not in tokenizer.encode_plain(mark)
    assert "hello" in tokenizer.render([{"role": "user", "content": "hello"}])


def test_a_launch_measures_it(package: Package) -> None:
    with load(package, 1, simulate=bool(package.manifest.engine.chips), kind=LanguageModel) as llm:
        timings = llm.measure(Effort(3, 1, 0.1))
        assert timings.first_run_s > 0 and len(timings.samples_s["run"]) == 3
        assert timings.text is not None and min(timings.text.prompt_s) > 0
        assert {n: a.shape for n, a in llm.probe().items()} == {"logits": (llm.spec.vocab_size,)}


def test_closing_twice_is_harmless(package: Package) -> None:
    session = opened(package)
    session.close()
    session.close()


def test_it_is_no_detector(package: Package) -> None:
    with pytest.raises(UsageError, match="is no detector"):
        load(package, kind=Detector)
