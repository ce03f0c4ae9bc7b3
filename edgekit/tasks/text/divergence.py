"""Whether a language model's divergence from its float original is tolerated, or cannot be told."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.package.receipt import Measurement, Reason, Trip
from edgekit.tasks.judging import Findings


def judge_divergence(
    rows: Sequence[Measurement], target: str, tolerated: float, *, few_tokens: bool = False
) -> Findings:
    """A trip when the model is certainly further from float than `tolerated` (nats a token), or unclear when
    the interval holds that limit.

    `rows`: "KL divergence", "perplexity" and "float perplexity" of a comparison. On few tokens the interval is wide,
    so that a mean of more than twice the limit, which is refused elsewhere, is unclear too.
    """
    figures = {m.name: m for m in rows}
    kl = figures["KL divergence"]
    low, high = kl.interval or (kl.value, kl.value)
    if high <= tolerated:
        return Findings()
    measured = (
        f"KL divergence {kl.value:.3f} nats a token ({low:.3f} to {high:.3f}) on {kl.samples} tokens, perplexity "
        f"{figures['perplexity'].value:.2f} against {figures['float perplexity'].value:.2f}; "
        f"{target} tolerates {tolerated:g}"
    )
    if low > tolerated or (kl.value > 2 * tolerated and not few_tokens):
        return Findings(trips=[Trip(Reason.ACCURACY, f"far from float: {measured}")])
    remedy = "a simulator computes no more in a bearable time" if few_tokens else "more --eval-windows would tell"
    return Findings(unclear=[Trip(Reason.ACCURACY, f"accuracy cannot be told on this text: {measured}; {remedy}")])
