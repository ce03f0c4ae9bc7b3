"""`edgekit`: the group, errors into exit codes, and verbs loaded when they are called."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import click

from edgekit import __version__
from edgekit.cli.apart import run_apart
from edgekit.cli.console import adapt_output
from edgekit.cli.elsewhere import named_elsewhere, nearest_verb
from edgekit.cli.ending import ended_politely
from edgekit.cli.verbs import VERBS, command_of, registered, sentences
from edgekit.errors import ConversionError, DeviceError, EdgekitError, MissingError, UsageError
from edgekit.system.distribution import install
from edgekit.system.redaction import redact
from edgekit.system.staging import own_temporary_folder

_SMALLER = "end other programs, or take a machine or limit (ulimit -v) with more memory"
_BUG = 70  # EX_SOFTWARE of sysexits.h: none of the codes that scripts act on


class Verbs(click.Group):
    """Imports a verb's module only when it is used: `edgekit --help` stays quick."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*VERBS, *sorted(registered())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return command_of(name)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if not (name.startswith("-") or context.resilient_parsing or command_of(name)):
            near = nearest_verb(name, self.list_commands(context))
            context.fail(f"There is no verb {name!r}." + (f" Did you mean {near}?" if near else ""))
        return super().resolve_command(context, arguments)

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError:  # `edgekit … | head`; click would exit with 1, a failed verdict
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(sentences().items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgekit")
def cli() -> None:
    """Trained detectors and language models into measured packages for every target.

    \b
    edgekit convert yolov9-t.pt -p fp32 -p w8a8 --calibration DATA --eval DATA
    edgekit detect  dist/yolov9-t-cpu-w8a8 dog.jpg --save out/
    edgekit profile dist/yolov9-t-cpu-* -d local
    edgekit convert SmolLM2-135M/ -p w4 --eval text.txt -o dist/
    edgekit chat    dist/SmolLM2-135M-cpu-w4

    Results go to stdout, progress to stderr. Every verb takes --json, -q (no progress) and -v (more).
    Exit codes: 0 ok, 1 a verdict failed, 2 a wrong request (also a path that is not there),
    3 not installed or configured, 4 device, 5 conversion, 6 integrity, 7 remote service.
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs the command line and exits the process."""
    adapt_output()
    ended_politely()
    given = sys.argv[1:] if arguments is None else arguments
    with own_temporary_folder():
        try:
            code = run_apart(run, given)
        except EdgekitError as error:
            code = fail(error, as_json="--json" in given)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    before = {n: os.environ.get(n) for n in ("EDGEKIT_QUIET", "EDGEKIT_VERBOSE")}  # options set them
    try:
        return _run(arguments)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(arguments, prog_name="edgekit", standalone_mode=False, color=_color())
        return result if isinstance(result, int) else 0
    except EdgekitError as error:
        return fail(error, as_json="--json" in arguments)
    except click.exceptions.Abort:
        click.echo("Interrupted. Finished steps are kept: the same command continues.", err=True)
        return 130
    except KeyboardInterrupt:
        click.echo("Interrupted. Finished steps are kept: the same command continues.", err=True)
        return 130
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.ctx is not None:
            error = named_elsewhere(error, error.ctx)
        if "--json" in arguments:
            return fail(UsageError(error.format_message()), as_json=True)
        error.show()
        return error.exit_code
    except OSError as error:
        what = f"{error.filename or 'A file'} cannot be used"
        return fail(ConversionError(what, str(error.strerror or error)), "--json" in arguments)
    except MemoryError:
        return fail(DeviceError("There is not enough memory for this", "", _SMALLER), "--json" in arguments)
    except ModuleNotFoundError as error:  # what only conversion imports; the rest says so itself
        what = f"This needs {error.name}, which is not installed"
        return fail(MissingError(what, "", install("convert")), "--json" in arguments)
    except ImportError as error:  # a library that is there and does not load: a full memory, above all
        what = f"This needs {error.name or 'a library'}, which cannot be loaded"
        return fail(MissingError(what, str(error), _SMALLER), "--json" in arguments)
    except Exception as error:
        click.echo(redact(traceback.format_exc()), err=True, nl=False)
        if "--json" in arguments:
            fail(EdgekitError("This is a bug in edgekit", f"{type(error).__name__}: {error}"), as_json=True)
        click.echo("This is a bug in edgekit: please report it with the lines above.", err=True)
        return _BUG


def _color() -> bool | None:
    """False when the user wants none; None lets click ask whether it writes to a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def fail(error: EdgekitError, as_json: bool) -> int:
    if os.environ.get("EDGEKIT_VERBOSE"):
        click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    if as_json:
        document: dict[str, Any] = {"schema": "edgekit.error/1", **error.to_dict()}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True, color=_color())
    return error.exit_code


if __name__ == "__main__":
    main()
