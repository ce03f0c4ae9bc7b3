"""Parts of the text runtime: characters that are whole, stop strings, sampling, requests."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import IntegrityError, UsageError
from edgekit.runtime.text.generation import parse_request as request
from edgekit.runtime.text.sampling import Sampler, log_softmax, penalised
from edgekit.runtime.text.tokens import Pieces, Tokens, write_tokens
from edgekit.spec import Sampling, TextSpec

BYTES = [b"<s>", *(bytes([b]) for b in range(256)), b" Lily", b" Li", b"\xf0\x9f", b"\x91\x8d"]
TOKENS = Tokens(write_tokens(BYTES, [0]))
SPEC = TextSpec("x", 512, 64, 64, 0, (2,))


def ids(text: str) -> list[int]:
    return [1 + b for b in text.encode()]


def test_every_piece_is_whole_characters_and_nothing_is_lost() -> None:
    text = "né 👍🏽 日本 e\u0301 ‮"
    pieces = Pieces(TOKENS)
    seen = [pieces.add(i) for i in ids(text)]
    assert "".join(seen) + pieces.finish() == text
    assert not any("\ufffd" in p for p in seen)


def test_bytes_that_are_no_text_become_replacement_characters_as_python_has_them() -> None:
    for raw in (b"\xff\xc3\xa9", b"a\xe2\x82", b"\xf0\x9f\x91", b"\x80\x80z", b"\xed\xa0\x80"):
        pieces = Pieces(TOKENS)
        text = "".join(pieces.add(1 + b) for b in raw) + pieces.finish()
        assert text == raw.decode("utf-8", "replace")


def test_special_tokens_are_no_text_unless_asked_for() -> None:
    assert TOKENS.text([0, 257]) == " Lily"
    assert TOKENS.text([0, 257], special=True) == "<s> Lily"
    assert Pieces(TOKENS).add(0) == ""
    assert TOKENS[100000] == b"" and TOKENS.text([5000]) == ""


@pytest.mark.parametrize("stop", [["END"], ["D", "END"], ["xx", "END!"], ["N"]])
def test_a_stop_string_and_what_may_begin_one_is_never_shown(stop: list[str]) -> None:
    text = "aE EN ENd xEND!"
    pieces, shown = Pieces(TOKENS, stop), ""
    for i in ids(text):
        shown += pieces.add(i)
        assert not any(s in shown for s in stop)
        if pieces.stopped:
            break
    assert pieces.stopped and pieces.finish() == ""
    assert shown == text[: min(text.index(s) for s in stop if s in text)]


def test_what_was_held_back_comes_at_the_end() -> None:
    pieces = Pieces(TOKENS, ["END"])
    assert [pieces.add(i) for i in ids("xEN")] == ["x", "", ""]
    assert pieces.finish() == "EN" and not pieces.stopped


def test_a_damaged_file_of_tokens_is_refused() -> None:
    good = write_tokens(BYTES, [0])
    for bad in (b"", b"EKTOK\0\0\2" + good[8:], good[:100], good[:8] + b"\xff\xff\xff\xff" + good[12:], good[:-1]):
        with pytest.raises(IntegrityError):
            Tokens(bad)


def frequencies(sampling: Sampling, logits: np.ndarray, count: int = 4000) -> np.ndarray:
    sampler = Sampler(sampling, seed=1)
    return np.bincount([sampler(logits, []) for _ in range(count)], minlength=len(logits)) / count


def test_sampling_draws_what_the_distribution_says() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))
    assert np.abs(frequencies(Sampling(1.0), logits) - [0.5, 0.25, 0.15, 0.1]).max() < 0.03
    flat = np.array([0.5, 0.25, 0.15, 0.1]) ** 0.5
    assert np.abs(frequencies(Sampling(2.0), logits) - flat / flat.sum()).max() < 0.03
    assert np.abs(frequencies(Sampling(1.0, top_k=2), logits) - [2 / 3, 1 / 3, 0, 0]).max() < 0.03
    assert np.abs(frequencies(Sampling(1.0, top_p=0.7), logits) - [2 / 3, 1 / 3, 0, 0]).max() < 0.03
    assert np.abs(frequencies(Sampling(1.0, min_p=0.4), logits) - [2 / 3, 1 / 3, 0, 0]).max() < 0.03
    assert Sampler(Sampling(), None)(logits, []) == 0


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    logits = np.zeros(1000, np.float32)
    draws = [[Sampler(Sampling(1.0), seed)(logits, []) for _ in range(3)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_the_repetition_penalty_is_that_of_its_paper() -> None:
    logits = np.array([2.0, -2.0, 1.0], np.float32)
    assert penalised(logits, [0, 1, 1], 2.0).tolist() == [1.0, -4.0, 1.0]
    assert logits.tolist() == [2.0, -2.0, 1.0]


def test_log_softmax_is_scipys() -> None:
    from scipy.special import log_softmax as independent

    logits = np.random.default_rng(0).normal(0, 30, (3, 100)).astype(np.float32)
    assert np.abs(log_softmax(logits) - independent(logits.astype(np.float64), -1)).max() < 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.5},
        {"min_p": 1},
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"max_tokens": 0},
        {"overflow": "drop"},
        {"nonsense": 1},
        {"logprobs": -1},
        {"temperature": "hot"},
        {"schema": {"type": "object"}, "min_p": 0.1},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        request(SPEC, options)


def test_what_is_not_asked_for_is_as_the_package_recommends() -> None:
    spec = TextSpec("x", 8, 8, 8, 0, (), sampling=Sampling(0.7, 20, 0.8))
    assert request(spec, {"top_p": 0.5, "seed": None}).sampling == Sampling(0.7, 20, 0.5)
