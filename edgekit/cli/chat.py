"""edgekit chat"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit import settings
from edgekit.cli.apart import bound
from edgekit.cli.completion import PATH
from edgekit.cli.console import utf8
from edgekit.cli.generation import runtime_options, sampling_options, show, speed, text_of
from edgekit.cli.output import Given, common_options, emit
from edgekit.errors import EdgekitError, UsageError
from edgekit.package import Package
from edgekit.spec import TextSpec
from edgekit.system.documents import parse_json

if TYPE_CHECKING:
    from edgekit.runtime import LanguageModel

_HELP = """/reset       forget the conversation
/save FILE   write it as JSON
/system TEXT begin anew with a system message
/undo        take back the last question and answer
/quit        leave (Ctrl-D as well); Ctrl-C ends an answer"""


@click.command()
@click.argument("package", type=PATH)
@click.option("--system", metavar="TEXT", help="A system message to begin with.")
@click.option("--load", "saved", metavar="FILE", type=PATH, help="Go on with a conversation that /save wrote.")
@sampling_options
@common_options
def command(package: str, system: str | None, saved: str | None, as_json: bool, **given: Any) -> None:
    """Talk with PACKAGE. /help shows what can be typed besides questions.

    The conversation stays in the model's cache: each turn reads only what is new. When stdin is no
    terminal, each line is a question; with --json the conversation is printed at the end.
    """
    from edgekit.runtime import load_text

    first = [{"role": "system", "content": utf8(system, "--system")}] if system else []
    talk = _saved(saved) if saved else list(first)
    options = {"overflow": "truncate", **runtime_options(given)}
    opened = Package(package)
    if not opened.manifest.model_as(TextSpec).chat:
        raise UsageError(
            f"{package} has no chat template",
            "it continues text, it was not trained to answer",
            "edgekit generate PACKAGE -p TEXT",
        )
    bound(opened)
    with load_text(opened, given["threads"] or settings.threads(), given["device"] == "sim:htp") as llm:
        click.echo(f"{llm.spec.context_length} tokens of context, {llm.session.threads} threads; /help", err=True)
        while True:
            line = _ask()
            if line is None or line.strip() in ("/quit", "/exit"):
                break
            if line.startswith("/"):
                talk = _obey(line.strip(), talk, first)
            elif line.strip():
                _answer(llm, talk, line, options, quiet=as_json)
    if as_json:
        emit("chat", package=package, messages=talk)


def _ask() -> str | None:
    try:
        return input(click.style("> ", fg="cyan") if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _answer(llm: LanguageModel, talk: list[dict[str, str]], question: str, options: Given, quiet: bool) -> None:
    talk.append({"role": "user", "content": question})
    try:
        pieces = llm.chat_stream(talk, **options)
    except EdgekitError as error:
        talk.pop()
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        return
    answer: list[str] = []
    try:
        if quiet:
            answer.extend(pieces)
        else:
            show(_collect(pieces, answer))
    except KeyboardInterrupt:
        click.echo(" …", nl=False)
    if not quiet:
        click.echo()
    talk.append({"role": "assistant", "content": "".join(answer)})
    if llm.last:
        click.echo(click.style(speed(llm.last), dim=True), err=True)


def _collect(pieces: Iterable[str], answer: list[str]) -> Iterator[str]:
    for piece in pieces:
        answer.append(piece)
        yield piece


def _obey(line: str, talk: list[dict[str, str]], first: list[dict[str, str]]) -> list[dict[str, str]]:
    word, _, rest = line.partition(" ")
    if word == "/reset":
        return list(first)
    if word == "/system" and rest:
        return [{"role": "system", "content": rest}]
    if word == "/undo":
        while talk and talk.pop()["role"] != "user":
            pass
        return talk
    if word == "/save" and rest:
        try:
            Path(rest).write_text(json.dumps(talk, ensure_ascii=False, indent=1), encoding="utf-8")
            click.echo(f"{len(talk)} messages in {rest}", err=True)
        except OSError as error:
            click.echo(f"{rest} cannot be written: {error.strerror}", err=True)
        return talk
    click.echo(_HELP, err=True)
    return talk


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"role", "content"}
        and all(isinstance(v, str) for v in value.values())
    )


def _saved(path: str) -> list[dict[str, str]]:
    try:
        talk = parse_json(text_of(path))
        if not isinstance(talk, list) or not all(_is_message(m) for m in talk):
            raise ValueError("it is no list of messages")
        return list(talk)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is no conversation", str(error), "pass a file that /save wrote") from error
