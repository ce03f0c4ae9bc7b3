"""edgekit convert"""

from __future__ import annotations

import time
from typing import Any

import click

from edgekit.cli.apart import bound_source
from edgekit.cli.completion import PATH, complete_precisions, complete_targets
from edgekit.cli.output import common_options, emit, number, table
from edgekit.cli.summary import summary
from edgekit.cli.text_options import text_given, text_options
from edgekit.cli.unused import check_kind, check_needs, check_without


@click.command()
@click.argument("source", type=PATH)
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
    help="fp32, w8a8, … (default: the target's first).",
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
@click.option("--labels", metavar="FILE", type=PATH, help="Class names: a file with one a line, a,b,c or `coco`.")
@click.option("--image-size", metavar="SIZE", help="640, or HEIGHTxWIDTH (default: the model's own, or 640).")
@click.option("--decoder", help="How the outputs of an ONNX or torch source are laid out, when it cannot be told.")
@click.option(
    "--resize",
    type=click.Choice(["letterbox", "letterbox-topleft", "stretch"]),
    help="How images are fitted (default: as the family of the detector does).",
)
@click.option("--color", type=click.Choice(["rgb", "bgr"]), help="Channel order of the model's input.")
@click.option("--mean", help="Subtracted from pixels 0..255: one number or three.")
@click.option("--std", help="Pixels are divided by it: one number or three.")
@click.option(
    "--reference", metavar="MODEL", type=PATH, help="Another form of the same model to state the difference from."
)
@click.option(
    "--calibration-images", type=click.IntRange(1), default=64, show_default=True, help="Use at most so many."
)
@click.option("--eval-images", type=click.IntRange(1), help="Use at most so many (default: all).")
@click.option(
    "--float-layers", type=click.IntRange(0), help="Leave so many sensitive layers in float (default: as needed)."
)
@click.option(
    "--launches",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Rounds of the speed check; 0 leaves it out.",
)
@click.option("--merge", is_flag=True, help="One package for the chips of all Snapdragon targets given.")
@click.option(
    "--simulated-images",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Images to run in a simulator, at seconds each, or at AI Hub.",
)
@click.option(
    "--via",
    type=click.Choice(["aihub"]),
    help="Send the model to Qualcomm AI Hub and have it compiled there (Snapdragon targets).",
)
@click.option("--dry-run", is_flag=True, help="With --via: show what would be sent, and where; send nothing.")
@click.option(
    "--runtime", help="With --via: precompiled_qnn_onnx (default), qnn_context_binary, qnn_dlc, tflite, onnx."
)
@click.option("--quantize", type=click.Choice(["here", "aihub"]), help="With --via: who quantises (default: here).")
@click.option("--link", is_flag=True, help="With --via: a context binary by way of a DLC and a link job.")
@click.option("--qairt-version", metavar="VERSION", help="With --via: default is the one installed here.")
@click.option("--hub-options", metavar="TEXT", help="With --via: more options of the compile job.")
@text_options
@click.option("--download", is_flag=True, help="SOURCE is a model of the Hugging Face hub, OWNER/NAME: download it.")
@click.option(
    "--eval-windows",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Language models: windows of 512 tokens of --eval, at most.",
)
@click.option("--allow", multiple=True, metavar="REASON", help="Write the package although: accuracy, slower, misread.")
@click.option("--force", is_flag=True, help="Replace packages of which more is known than of the new ones.")
@common_options
@click.pass_context
def command(
    invocation: click.Context,
    /,
    source: str,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> int:
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

    A package that is less accurate or slower than its float parent is refused, and the exit code
    is 1, unless --allow names the reason. An interrupted conversion continues where it stopped.
    """
    from edgekit.cli.arguments import parse_source_options
    from edgekit.conversion.pipeline import convert
    from edgekit.conversion.reading import source_for
    from edgekit.sources.hub import fetch, is_hub_id, refuse
    from edgekit.target import find_target

    check_needs(invocation)
    options = parse_source_options(given)
    if is_hub_id(source):
        if not given["download"]:
            raise refuse(source)
        given["name"] = given["name"] or source.partition("/")[2]
        source = fetch(source)
    else:
        check_without(invocation, ("download",), f"{source} is on this machine")
    text = bool(getattr(source_for(source), "text", False))
    check_kind(invocation, text)
    found = [find_target(t) for t in targets]
    if not text and not any(p.startswith("w") for p in precisions or [t.precisions[0] for t in found]):
        check_without(invocation, ("float_layers",), "nothing is quantised: name a precision with -p")
    if not (given["via"] or any(t.simulator for t in found)):
        check_without(invocation, ("simulated_images",), "none of the targets has a simulator")
    bound_source(source)
    start = time.monotonic()
    outcomes = convert(
        source,
        targets,
        precisions,
        given["out"],
        given["calibration"],
        given["eval_"],
        given["name"] or "",
        options,
        given["allow"],
        given["reference"],
        given["calibration_images"],
        given["eval_images"],
        given["float_layers"],
        given["launches"],
        given["merge"],
        given["simulated_images"],
        given["via"] or "",
        _hub(given),
        text_given(given),
        given["eval_windows"],
        given["force"],
    )
    if given["dry_run"]:
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


def _hub(given: dict[str, Any]) -> dict[str, str]:
    """What AI Hub is asked, as `backends.aihub.Wanted` takes it."""
    named = {
        "runtime": given["runtime"],
        "quantize": given["quantize"],
        "qairt": given["qairt_version"],
        "options": given["hub_options"],
        "link": "yes" if given["link"] else "",
        "dry_run": "yes" if given["dry_run"] else "",
    }
    return {k: v for k, v in named.items() if v}


def _planned(outcomes: Any, as_json: bool) -> int:
    """What a dry run found."""
    if as_json:
        rows = [
            {"name": o.name, "target": o.target, "precision": o.precision, "would": o.receipt.search} for o in outcomes
        ]
        emit("convert.dry-run", packages=rows)
        return 0
    lines = []
    for o in outcomes:
        for row in o.receipt.search:
            if row["kind"] == "upload":
                lines.append((o.name, f"upload {row['what']}", number(row["bytes"], "bytes"), row["to"]))
            else:
                lines.append((o.name, f"{row['job']} job", "", f"{row['device']}, {row['runtime']}"))
    click.echo(table(lines, ("package", "would", "size", "where")))
    click.echo("\nNothing was sent. Files sent before are not sent again.")
    return 0
