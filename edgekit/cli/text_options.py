"""What `convert` is asked of language models only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_TABLES = click.Choice(["w4", "w8", "fp32"])
_OPTIONS = (
    click.option(
        "--context",
        type=click.IntRange(16),
        help="Language models: tokens to keep; the KV cache is as large (default: 2048, or the model's own).",
    ),
    click.option(
        "--bits", metavar="BITS", help="Language models, w4: bits a weight in all, scales included (default: 5)."
    ),
    click.option(
        "--block-size",
        type=click.Choice(["16", "32", "64", "128", "256"]),
        help="Language models: weights that share a scale (default: what diverges least).",
    ),
    click.option(
        "--mode",
        type=click.Choice(["exact", "fast"]),
        help="BitNet: exact computes with each token's inputs as in training (default), fast as the kernel likes best.",
    ),
    click.option(
        "--prompt-step",
        type=click.IntRange(1),
        metavar="TOKENS",
        help="Language models on a Snapdragon or in TFLite: tokens of a prompt read at once (default: 128).",
    ),
    click.option(
        "--part-bytes",
        type=click.IntRange(1),
        metavar="BYTES",
        help="Language models on a Snapdragon: weights in one context, at most (default: 1500000000).",
    ),
    click.option(
        "--head",
        type=_TABLES,
        help="Language models: weights of the last layer, as long as the vocabulary (default: w8; among w4 what it "
        "costs decides). One that is named is outside the budget of --bits.",
    ),
    click.option(
        "--embedding",
        type=_TABLES,
        help="Language models: the table of tokens (default: the head's own where the model ties them, then stored "
        "once; else w8).",
    ),
    click.option(
        "--kv-cache",
        type=click.Choice(["fp32", "int8"]),
        default="fp32",
        show_default=True,
        help="Language models on CPUs: what is kept of the tokens read. int8 takes a quarter of the memory and reads "
        "long prompts more slowly; float packages keep fp32.",
    ),
)
_GIVEN = ("bits", "block_size", "mode", "head", "embedding", "prompt_step", "part_bytes")


def text_options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def text_given(given: dict[str, Any]) -> dict[str, str]:
    """Of all options of `convert`, those above that were given."""
    named = {k: str(given[k]) for k in _GIVEN if given[k]}
    return named | ({"kv_cache": "int8"} if given["kv_cache"] == "int8" else {})
