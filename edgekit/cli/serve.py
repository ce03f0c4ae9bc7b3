"""edgekit serve"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click

from edgekit.cli.generation import engine_options
from edgekit.cli.output import emit, json_option
from edgekit.errors import MissingError, UsageError


@click.command()
@click.argument("package")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 answers other machines too."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one."
)
@click.option("--api-key", envvar="EDGEKIT_API_KEY", help="Ask for this key (also EDGEKIT_API_KEY).")
@engine_options
@json_option
def command(
    package: str,
    host: str,
    port: int,
    api_key: str | None,
    threads: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Answer the OpenAI protocol with PACKAGE: /v1/chat/completions, /v1/completions, /v1/models.

    \b
    edgekit serve dist/smol-cpu-w4
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none any-app

    Streams, JSON schemas (response_format), logprobs, seed and stop strings are understood; one
    request is answered at a time, the others wait. Ends with Ctrl-C.
    """
    try:
        import uvicorn

        from edgekit.serving.app import LOCAL, Server
    except ImportError as error:
        raise MissingError(
            "Serving needs starlette and uvicorn", str(error), "pip install 'edgekit[serve]'"
        ) from error
    from edgekit.runtime import load_text

    with load_text(package, threads, device == "sim:htp") as llm:
        hosts = LOCAL if host in LOCAL else ("*",)
        application = Server(
            llm, Path(package).name.removesuffix(".edgepkg"), api_key or ""
        ).application(hosts)
        config = uvicorn.Config(application, log_level="warning", access_log=False, log_config=None)
        with _listen(host, port) as listening:  # with port 0 only now it is known
            where = f"[{host}]" if ":" in host else host
            url = f"http://{where}:{listening.getsockname()[1]}/v1"
            if as_json:
                emit("serve", url=url, model=Path(package).name)
            else:
                click.echo(url)
            sys.stdout.flush()
            click.echo("Ctrl-C ends it", err=True)
            uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on", str(error.strerror or error), "choose another --port, or 0 for any"
        ) from error  # fmt: skip
