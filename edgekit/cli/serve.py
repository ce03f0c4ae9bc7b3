"""edgekit serve"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from edgekit import settings
from edgekit.cli.completion import PATH
from edgekit.cli.generation import engine_options
from edgekit.cli.output import common_options, emit
from edgekit.cli.secret import checked, secret_in
from edgekit.errors import MissingError, UsageError
from edgekit.system.distribution import install


@click.command()
@click.argument("package", type=PATH)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 answers other machines too; asks for a key."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one.")
@click.option("--api-key-file", help="Ask for the key in this file (also EDGEKIT_API_KEY, the key itself).")
@click.option("--api-key", hidden=True)
@click.option(
    "--cors-origin", multiple=True, metavar="URL", help="A page that may ask, as https://app.example; * is any."
)
@click.option(
    "--queue",
    type=click.IntRange(0, 1000),
    default=16,
    show_default=True,
    help="Requests that may wait; more are told to come again (429).",
)
@engine_options
@common_options
def command(package: str, host: str, as_json: bool, **options: Any) -> None:
    """Answer the OpenAI protocol with PACKAGE: /v1/chat/completions, /v1/completions, /v1/models.

    \b
    edgekit serve dist/smol-cpu-w4
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none any-app

    Streams, JSON schemas (response_format), logprobs, seed and stop strings are understood, anything else
    is refused by its name; one request is answered at a time, the others wait. The model runs in a process
    of its own and is opened again should it die. Ends with Ctrl-C.
    """
    try:
        from edgekit.serving.app import Server
        from edgekit.serving.guard import is_loopback
        from edgekit.serving.listening import bound, run
        from edgekit.serving.model import Model
    except ImportError as error:
        raise MissingError("Serving needs starlette, uvicorn and msgspec", str(error), install("serve")) from error
    key = _key(options["api_key_file"], options["api_key"])
    origins: tuple[str, ...] = options["cors_origin"]
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s]+/?", origin):
            raise UsageError(f"{origin} is no page's origin", "", "give scheme and host: https://app.example")
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(bound(host, options["port"]))
        local = is_loopback(listening.getsockname()[0])
        if not local and not key:
            raise UsageError(
                f"{host} can be reached from other machines, and there is no key",
                "anybody there could use the model",
                "set EDGEKIT_API_KEY or pass --api-key-file FILE",
            )
        threads = options["threads"] or settings.threads()
        model = Model(package, threads, options["device"] == "sim:htp", queue=options["queue"])
        stack.callback(model.close)
        model.start()
        name = Path(package).name.removesuffix(".edgepkg")
        application = Server(model, name, key).application(local, origins)
        listening.listen(128)
        where = f"[{host}]" if ":" in host else host
        url = f"http://{where}:{listening.getsockname()[1]}/v1"  # with port 0 only now it is known
        if as_json:
            emit("serve", url=url, model=Path(package).name)
        else:
            click.echo(url)
        sys.stdout.flush()
        click.echo("Ctrl-C ends it", err=True)
        with contextlib.suppress(KeyboardInterrupt):  # how a server ends, and no failure
            run(application, model, listening)


def _key(file: str | None, value: str | None) -> str:
    """The key to ask for, "" when there is none."""
    if value is not None:
        raise UsageError(
            "A key is not taken from the command line",
            "everybody on this machine sees it in the list of processes",
            "set EDGEKIT_API_KEY or pass --api-key-file FILE",
        )
    if file is not None:
        return secret_in(file, "--api-key-file")
    key = os.environ.get("EDGEKIT_API_KEY", "").strip()
    return checked(key, "EDGEKIT_API_KEY") if key else ""
