"""What may be asked of language models only."""

from __future__ import annotations

from edgekit.options import Option
from edgekit.spec.values import Precision

_TABLES = ("w4", "w8", "fp32")
_SMALL = (Precision.W4, Precision.W8, Precision.TERNARY)

OPTIONS = (
    Option(
        "context",
        "Tokens to keep; the KV cache is as large (default: 2048, or the model's own).",
        "reading",
        int,
        minimum=16,
    ),
    Option(
        "eval_windows", "Windows of 512 tokens of --eval, at most.", "data", int, minimum=1, default=16, needs="eval"
    ),
    Option(
        "bits",
        "Of w4: bits a weight in all, scales included (default: 5).",
        "compiling",
        float,
        minimum=4.0625,
        maximum=9,
        metavar="BITS",
        packages="w4 packages for CPUs and Snapdragons",
        precisions=(Precision.W4,),
    ),
    Option(
        "block_size",
        "Weights that share a scale (default: what diverges least).",
        "compiling",
        int,
        choices=("16", "32", "64", "128", "256"),
        packages="w4 and w8 packages",
        precisions=(Precision.W4, Precision.W8),
    ),
    Option(
        "mode",
        "BitNet: exact computes with each token's inputs as in training (default), fast as the kernel likes best.",
        "compiling",
        choices=("exact", "fast"),
        packages="ternary packages",
        precisions=(Precision.TERNARY,),
    ),
    Option(
        "prompt_step",
        "On a Snapdragon or in TFLite: tokens of a prompt read at once (default: 128).",
        "compiling",
        int,
        minimum=1,
        metavar="TOKENS",
        packages="packages of fixed sizes, for Snapdragons and TFLite",
    ),
    Option(
        "part_bytes",
        "On a Snapdragon: weights in one context, at most (default: 1500000000).",
        "compiling",
        int,
        minimum=1,
        metavar="BYTES",
        packages="Snapdragons",
    ),
    Option(
        "head",
        "Weights of the last layer, as long as the vocabulary (default: w8; among w4 what it costs decides). One that "
        "is named is outside the budget of --bits.",
        "compiling",
        choices=_TABLES,
        packages="quantised packages for CPUs",
        precisions=_SMALL,
    ),
    Option(
        "embedding",
        "The table of tokens (default: the head's own where the model ties them, then stored once; else w8).",
        "compiling",
        choices=_TABLES,
        packages="quantised packages for CPUs",
        precisions=_SMALL,
    ),
    Option(
        "kv_cache",
        "On CPUs: what is kept of the tokens read. int8 takes a quarter of the memory and reads long prompts more "
        "slowly; float packages keep fp32.",
        "compiling",
        choices=("fp32", "int8"),
        default="fp32",
        packages="quantised packages for CPUs",
        precisions=_SMALL,
    ),
)
