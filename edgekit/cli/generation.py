"""What `generate`, `chat` and `serve` share: options of sampling, and what is shown of a text."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekit.cli.console import utf8
from edgekit.cli.output import Given, threads_option
from edgekit.errors import DataError, no_file
from edgekit.system.documents import DocumentError, decode
from edgekit.system.redaction import printable

if TYPE_CHECKING:
    from edgekit.runtime import Generation

_LARGEST = 2**26  # bytes of a prompt or schema

F = TypeVar("F", bound=Callable[..., Any])

_ENGINE = (
    threads_option,
    click.option(
        "-d",
        "--device",
        type=click.Choice(["local", "sim:htp"]),
        default="local",
        show_default=True,
        help="sim:htp: Qualcomm's simulator, for packages of a Snapdragon; seconds a token.",
    ),
)
_OPTIONS = (
    click.option("-n", "--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="At most."),
    click.option("--temperature", type=float, help="0 is greedy (default: the package's own)."),
    click.option("--top-k", type=click.IntRange(0), help="Choose among so many; 0: all."),
    click.option("--top-p", type=float, help="Choose among the likeliest that together reach it."),
    click.option("--min-p", type=float, help="Leave out what is less likely than this share of the likeliest."),
    click.option("--repetition-penalty", type=float, help="Above 1: what was said becomes less likely."),
    click.option("--seed", type=int, help="Same seed, same text."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times."),
    click.option(
        "--overflow",
        type=click.Choice(["error", "truncate", "shift"]),
        help="When the context is full: refuse, leave out the oldest of the prompt, or of all (default: error; chat:"
        " truncate).",
    ),
    *_ENGINE,
)
SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "stop", "overflow")


def sampling_options(function: F) -> F:
    return _with(_OPTIONS, function)


def engine_options(function: F) -> F:
    return _with(_ENGINE, function)


def _with(options: Sequence[Callable[[F], F]], function: F) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def runtime_options(given: Given) -> Given:
    """The options that the runtime takes."""
    options = {k: given[k] for k in SAMPLING if given.get(k) is not None}
    if options.get("stop"):
        options["stop"] = tuple(utf8(s, "--stop") for s in options["stop"])
    return options


def show(pieces: Iterable[str]) -> str:
    """Print text as it comes; returns all of it. What would steer a terminal is left out."""
    shown = []
    for piece in pieces:
        shown.append(piece)
        sys.stdout.write(printable(piece, "\n\t"))
        sys.stdout.flush()
    return "".join(shown)


def speed(done: Generation) -> str:
    """One line on how fast a text came."""
    read = f"{done.read} of {done.prompt_tokens} prompt tokens read in {done.prompt_s:.2f} s"
    return f"{len(done.tokens)} tokens, {done.tokens_per_second:.1f} tokens/s; {read}; ended by {done.finish}"


def text_of(path: str) -> str:
    """The content of a file, or of stdin for -. Raises UsageError where there is none, DataError."""
    if path != "-" and not Path(path).is_file():
        raise no_file("file", path)
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            return decode(file.read(_LARGEST + 1), _LARGEST)
    except DocumentError as error:
        raise DataError(f"{path} cannot be read", str(error), "pass UTF-8 text") from error
