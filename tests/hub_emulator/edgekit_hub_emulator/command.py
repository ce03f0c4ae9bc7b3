"""The verb `edgekit hub-emulator`, registered as an entry point of `edgekit.verbs`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit
from edgekit.cli.secret import secret_in
from edgekit.errors import RemoteError, UsageError
from edgekit.system.staging import outer_environment
from edgekit.system.tether import run_guarded
from edgekit_hub_emulator import TOKEN

_PATIENCE = 20  # seconds that the emulator has to end its jobs and itself


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: last time's, or any free one.")
@click.option("--state", metavar="DIR", type=PATH, help="Uploads and jobs, kept (default: beside the database).")
@click.option(
    "--token-file",
    metavar="FILE",
    type=PATH,
    help="Holds the only token taken, as EDGEKIT_EMULATOR_TOKEN may (default: last time's, or a random one).",
)
@click.option(
    "--fault",
    "faults",
    metavar="FAULT",
    multiple=True,
    help="KIND[=VALUE][:WHEN[+SKIP]][:TIMES], as 503:job-get:2. May be given several times.",
)
@click.option(
    "--client-python",
    metavar="FILE",
    type=PATH,
    help="An interpreter that has qai_hub (default: see `edgekit doctor`).",
)
@click.argument("run", metavar="[-- COMMAND ...]", nargs=-1)
@common_options
@click.pass_context
def command(
    context: click.Context,
    port: int,
    state: str | None,
    token_file: str | None,
    faults: tuple[str, ...],
    client_python: str | None,
    run: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run an AI Hub on this machine, for Qualcomm's own client and no account.

    Jobs run here: compilers for real, NPUs in Qualcomm's simulator. Every result is marked as
    emulated, and its times are this machine's. Runs until Ctrl-C, or as long as COMMAND, whose
    client finds it and whose exit code it returns:

    \b
    edgekit hub-emulator -- edgekit convert m.onnx -t qcs6490 --via aihub
    """
    import edgekit
    from edgekit.aihub import environment
    from edgekit.settings import data_folder
    from edgekit_hub_emulator.faults import parse

    for fault in faults:
        try:
            parse(fault)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--fault") from error
    python = Path(client_python) if client_python else environment.client_python()
    folder = Path(state).resolve() if state else data_folder() / "hub-emulator"
    arguments = [
        "--state",
        str(folder),
        "--port",
        str(port),
        "--edgekit-python",
        sys.executable,
        "--edgekit-path",
        str(Path(edgekit.__file__).parents[1]),
    ]
    arguments += [a for f in faults for a in ("--fault", f)]
    variables = {**os.environ, **({TOKEN: secret_in(token_file, "--token-file")} if token_file else {})}
    # -I: nothing of edgekit's environment, whose protobuf is another, reaches the client's. Its stdin
    # closes when this process ends, however it does, and it ends with it.
    process = subprocess.Popen(
        [str(python), "-I", str(Path(__file__).parent), *arguments, "--attended"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=variables,
    )
    assert process.stdout is not None
    code = 0
    try:
        line = process.stdout.readline()
        if not line:
            raise RemoteError("The emulator did not start", f"exit code {process.wait()}", "see the lines above")
        ready = json.loads(line)
        if as_json:
            emit("hub-emulator", **{k: v for k, v in ready.items() if k != "schema"})
            sys.stdout.flush()
        if run:
            code = _run(run, ready["client_ini"], python, as_json)
        else:
            if not as_json:
                _say(ready)
            process.wait()
    except KeyboardInterrupt:
        code = 130 if run else 0  # Ctrl-C is how a server ends, and no success of a command
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    context.exit(code)


def _run(command: Sequence[str], ini: str, python: Path, as_json: bool) -> int:
    """The exit code of `command`; beside a JSON document its output goes to stderr."""
    environment = {**outer_environment(), "QAIHUB_CLIENT_INI": ini, "EDGEKIT_AIHUB_PYTHON": str(python)}
    click.echo("AI Hub is emulated for this command", err=True)
    try:
        return run_guarded(command, environment, stdout=2 if as_json else None)
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be run", str(error), "check its path") from error


def _say(ready: Mapping[str, object]) -> None:
    click.echo(f"AI Hub, emulated, at {ready['url']}; uploads and jobs in {ready['state']}\n")
    click.echo("Point Qualcomm's client at it:\n")
    click.echo(f"  export QAIHUB_CLIENT_INI={ready['client_ini']}\n")
    click.echo(f"{ready['devices']} devices, all of them emulated. Ctrl-C stops it; what it knows is kept.")
