"""edgekit generate"""

from __future__ import annotations

from typing import Any

import click

from edgekit import settings
from edgekit.cli.apart import bound
from edgekit.cli.completion import PATH
from edgekit.cli.console import utf8
from edgekit.cli.generation import runtime_options, sampling_options, show, speed, text_of
from edgekit.cli.output import common_options, emit
from edgekit.errors import UsageError


@click.command()
@click.argument("package", type=PATH)
@click.option("-p", "--prompt", multiple=True, help="The text to continue; several are generated side by side.")
@click.option("-f", "--file", metavar="FILE", type=PATH, help="Read the prompt from a file; - is stdin.")
@click.option("--chat", is_flag=True, help="The prompt is a question: use the chat template.")
@click.option("--schema", metavar="FILE", type=PATH, help="A JSON schema that the text must follow.")
@click.option("--logprobs", type=click.IntRange(0, 100), help="With --json: log-probabilities, and so many others.")
@click.option("--allow-special", is_flag=True, help="Special tokens in the prompt count as such, not as text.")
@sampling_options
@common_options
def command(
    package: str, prompt: tuple[str, ...], file: str | None, chat: bool, schema: str | None, as_json: bool, **given: Any
) -> None:
    """Continue a text with PACKAGE.

    \b
    edgekit generate dist/smol-cpu-w4 -p "Once upon a time" -n 64
    edgekit generate dist/smol-cpu-w4 -p "Where is the station?" --chat
    edgekit generate dist/smol-cpu-w4 -f story.txt --temperature 0.8 --seed 1

    Greedy unless the package recommends otherwise or --temperature is given.
    """
    from edgekit.package import Package
    from edgekit.runtime import load_text

    prompts = [*(utf8(p, "-p") for p in prompt), *([text_of(file)] if file else [])]
    if not prompts:
        raise UsageError("There is no prompt", "", "pass -p TEXT or -f FILE")
    options = {**runtime_options(given), "logprobs": given["logprobs"], "allow_special": given["allow_special"]}
    if schema:
        options["schema"] = text_of(schema)
    if chat and len(prompts) > 1:
        raise UsageError("--chat takes one prompt", "", "pass one -p")
    opened = Package(package)
    bound(opened)
    with load_text(opened, given["threads"] or settings.threads(), given["device"] == "sim:htp") as llm:
        if as_json or len(prompts) > 1:
            results = (
                [llm.chat([{"role": "user", "content": prompts[0]}], **options)]
                if chat
                else llm.generate(prompts, **options)
            )
            if as_json:
                rows = [
                    {
                        "prompt": p,
                        "text": g.text,
                        "finish": g.finish,
                        "tokens": g.tokens,
                        "scores": g.scores,
                        "prompt_tokens": g.prompt_tokens,
                        "prompt_s": g.prompt_s,
                        "decode_s": g.decode_s,
                    }
                    for p, g in zip(prompts, results)
                ]
                emit("generate", package=package, results=rows)
                return
            for p, g in zip(prompts, results):
                click.echo(click.style(p, bold=True) + g.text + "\n")
            return
        talk = [{"role": "user", "content": prompts[0]}]
        show(llm.chat_stream(talk, **options) if chat else llm.stream(prompts[0], **options))
        click.echo()
        assert llm.last is not None
        click.echo(speed(llm.last), err=True)
