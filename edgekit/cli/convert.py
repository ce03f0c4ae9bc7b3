"""edgekit convert"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgekit import registry
from edgekit.cli.apart import bound_sources
from edgekit.cli.completion import PATH, complete_devices, complete_precisions, complete_targets
from edgekit.cli.output import common_options, emit, number, table
from edgekit.cli.summary import summary
from edgekit.cli.task_options import Sections, given_options, owned_options
from edgekit.cli.unused import check_without
from edgekit.package.search import PlannedJob, Upload
from edgekit.spec import to_json

if TYPE_CHECKING:
    from edgekit.conversion.outcome import Outcome


@click.command(cls=Sections)
@click.argument("source", type=PATH, required=False)
@click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    shell_complete=complete_targets,
    default=("cpu",),
    show_default=True,
    help="Where it will run (see `edgekit targets`). May be given several times.",
)
@click.option(
    "-p",
    "--precision",
    "precisions",
    multiple=True,
    shell_complete=complete_precisions,
    help="fp32, w8a8, … (default: what the source is quantised to where the target has it, else the target's first).",
)
@click.option("--calibration", metavar="DATA", type=PATH, help="Folder of images, or text file, to quantise with.")
@click.option(
    "--eval",
    "eval_",
    metavar="DATA",
    type=PATH,
    help="Folder of images with boxes, or text file, to measure accuracy on.",
)
@click.option("-o", "--out", type=PATH, default="dist", show_default=True, help="Folder the packages go to.")
@click.option("--name", help="Name of the packages (default: the source's).")
@click.option(
    "--task",
    type=click.Choice(registry.names("tasks")),
    help="What the model does, where its source may be read for several (default: the source's own).",
)
@click.option(
    "--launches",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Rounds of the speed check; 0 leaves it out.",
)
@click.option(
    "-d",
    "--device",
    shell_complete=complete_devices,
    help="Where the speed check runs, as ssh:pi@HOST (default: this machine, for targets that it can time).",
)
@click.option("--merge", is_flag=True, help="One package for the chips of all Snapdragon targets given.")
@click.option(
    "--via",
    type=click.Choice(registry.names("services")),
    help="Send the model to Qualcomm AI Hub and have it compiled there (Snapdragon targets).",
)
@click.option("--download", is_flag=True, help="SOURCE is a model of the Hugging Face hub, OWNER/NAME: download it.")
@click.option("--allow", multiple=True, metavar="REASON", help="Write the package although: accuracy, slower, misread.")
@click.option("--force", is_flag=True, help="Replace packages of which more is known than of the new ones.")
@click.option("--recipe", metavar="FILE", type=PATH, help="A TOML file that says all this; what is typed beats it.")
@owned_options
@common_options
@click.pass_context
def command(invocation: click.Context, /, recipe: str | None, as_json: bool, **_: Any) -> int:
    """Turn SOURCE into a package for each target and precision.

    SOURCE: a YOLOv9 or GELAN checkpoint (.pt, .safetensors), a detector as .onnx, a torch program
    (.pt2), or module.py:function, which runs that file's code. Or a language model: a Hugging Face
    folder (Llama, SmolLM, Qwen, Gemma, Phi, Mistral, OLMo, Granite, LFM2, Nemotron, ERNIE,
    Hunyuan, BitNet) or a .gguf file.

    \b
    edgekit convert yolov9-t.pt -p fp32
    edgekit convert yolov9-t.pt -p w8a8 --calibration photos/ --eval coco/
    edgekit convert yolox.onnx --labels coco
    edgekit convert SmolLM2-135M/ -p w4 --eval text.txt --context 2048
    edgekit convert --recipe models.toml

    A package that is less accurate or slower than its float parent is refused, and the exit code
    is 1, unless --allow names the reason. An interrupted conversion continues where it stopped.
    """
    from edgekit.cli.recipe import conversions

    runs = conversions(invocation, recipe) if recipe else [invocation]
    if not all(run.params["source"] for run in runs):
        raise click.UsageError("Missing argument 'SOURCE', or --recipe FILE.", invocation)
    sources = [_here(run) for run in runs]
    bound_sources(sources)
    start = time.monotonic()
    outcomes = [o for run, source in zip(runs, sources) for o in _converted(run, source)]
    if invocation.params["dry_run"]:
        return _planned(outcomes, as_json)
    refused = [o for o in outcomes if o.refused]
    if as_json:
        rows = [
            {
                "name": o.name,
                "target": o.target,
                "precision": o.precision,
                "path": str(o.path) if o.path else None,
                "seconds": o.seconds,
                "receipt": o.receipt.to_dict(),
            }
            for o in outcomes
        ]
        emit("convert", packages=rows, seconds=round(time.monotonic() - start, 2))
        return 1 if refused else 0
    click.echo(summary(outcomes))
    return 1 if refused else 0


def _here(run: click.Context) -> str:
    """The source as a path, downloaded where the hub's name is given."""
    from edgekit.sources.hub import fetch, is_hub_id, refuse

    source: str = run.params["source"]
    if not is_hub_id(source):
        check_without(run, ("download",), f"{source} is on this machine")
        return source
    if not run.params["download"]:
        raise refuse(source)
    run.params["name"] = run.params["name"] or source.partition("/")[2]
    return fetch(source)


def _converted(run: click.Context, source: str) -> list[Outcome]:
    from edgekit.cli.arguments import parse_source_options
    from edgekit.conversion.pipeline import convert

    given = run.params
    return convert(
        source,
        given["targets"],
        precisions=given["precisions"],
        out=given["out"],
        calibration=given["calibration"],
        eval=given["eval_"],
        name=given["name"] or "",
        task=given["task"] or "",
        options=parse_source_options(given),
        allow=given["allow"],
        launches=given["launches"],
        device=given["device"] or "",
        merge=given["merge"],
        via=given["via"] or "",
        force=given["force"],
        **given_options(run),
    )


def _planned(outcomes: Sequence[Outcome], as_json: bool) -> int:
    """Prints what a dry run would send."""
    if as_json:
        rows = [
            {"name": o.name, "target": o.target, "precision": o.precision, "would": to_json(o.receipt.search)}
            for o in outcomes
        ]
        emit("convert.dry-run", packages=rows)
        return 0
    lines = []
    for o in outcomes:
        for row in o.receipt.search:
            if isinstance(row, Upload):
                lines.append((o.name, f"upload {row.what}", number(row.bytes, "bytes"), row.to))
            elif isinstance(row, PlannedJob):
                lines.append((o.name, f"{row.job} job", "", f"{row.device}, {row.runtime}"))
    click.echo(table(lines, ("package", "would", "size", "where")))
    click.echo("\nNothing was sent. Files sent before are not sent again. To check a detector's")
    click.echo("package there, up to --simulated-images of your images are sent as well.")
    return 0
