"""From the divergence of a language model to what its receipt says of it."""

from __future__ import annotations

import pytest

from edgekit.package.receipt import Measurement, Provenance, Reason
from edgekit.tasks.text.divergence import judge_divergence


def rows(kl: float, interval: tuple[float, float] | None) -> list[Measurement]:
    how = Provenance.MEASURED
    return [
        Measurement("accuracy", "KL divergence", kl, "nats", how, samples=31, interval=interval),
        Measurement("accuracy", "perplexity", 4.0, "1", how),
        Measurement("accuracy", "float perplexity", 3.5, "1", how),
    ]


@pytest.mark.parametrize(
    ("kl", "interval", "few_tokens", "verdict"),
    [
        (0.05, (0.01, 0.09), False, "good"),
        (0.05, None, True, "good"),
        (0.09, (0.05, 0.20), False, "unclear"),
        (0.30, (0.05, 0.90), False, "refused"),  # more than twice the limit
        (0.30, (0.05, 0.90), True, "unclear"),  # the same on a simulator's few tokens
        (0.30, (0.20, 0.90), True, "refused"),
        (0.30, None, True, "refused"),
    ],
)
def test_a_package_is_refused_where_the_divergence_is_certain(
    kl: float, interval: tuple[float, float] | None, few_tokens: bool, verdict: str
) -> None:
    findings = judge_divergence(rows(kl, interval), "snapdragon-8-elite", 0.1, few_tokens=few_tokens)
    assert {t.reason for t in findings.trips + findings.unclear} <= {Reason.ACCURACY}
    assert (len(findings.trips), len(findings.unclear)) == {"good": (0, 0), "unclear": (0, 1), "refused": (1, 0)}[
        verdict
    ]


def test_what_would_tell_is_named_where_something_would() -> None:
    wide = rows(0.09, (0.05, 0.20))
    (here,) = judge_divergence(wide, "cpu", 0.1).unclear
    (simulated,) = judge_divergence(wide, "snapdragon-8-elite", 0.1, few_tokens=True).unclear
    assert here.message.endswith("more --eval-windows would tell")
    assert "--eval-windows" not in simulated.message and "31 tokens" in simulated.message
