"""edgekit detect"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit import settings
from edgekit.cli.apart import bound
from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit, table, threads_option
from edgekit.errors import DataError, no_file
from edgekit.progress import note
from edgekit.spec import DetectionSpec

if TYPE_CHECKING:
    from edgekit.runtime import Detection


@click.command()
@click.argument("package", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--save", metavar="DIR", type=PATH, help="Draw the boxes and write the pictures there.")
@click.option("--score", type=click.FloatRange(0, 1), help="Least score (default: the package's).")
@click.option("--iou", type=click.FloatRange(0, 1), help="Overlap above which the weaker box goes.")
@click.option("--max", "limit", type=click.IntRange(1), help="Most boxes an image.")
@click.option("--class-agnostic", is_flag=True, help="Boxes of different classes suppress each other too.")
@click.option(
    "-d",
    "--device",
    type=click.Choice(["local", "sim:htp"]),
    default="local",
    show_default=True,
    help="sim:htp: Qualcomm's simulator, for packages of a Snapdragon; seconds an image.",
)
@threads_option
@common_options
def command(package: str, images: tuple[str, ...], save: str | None, as_json: bool, **options: Any) -> int:
    """Find objects in IMAGES (files or folders) with PACKAGE.

    Boxes are x1 y1 x2 y2 in pixels of each image. Of several images, one that cannot be read is left
    out, and the exit code is 5.
    """
    from edgekit.package import Package
    from edgekit.runtime import Detector, load
    from edgekit.runtime.image import read_image

    opened = Package(package)
    _ = opened.manifest.model_as(DetectionSpec)  # says so when it is no detector
    bound(opened)
    results: list[dict[str, Any]] = []
    unread = 0
    threads = options["threads"] or settings.threads()
    with load(opened, threads, options["device"] == "sim:htp", kind=Detector) as detector:
        files = _files(images)
        taken = {f.resolve() for f in files}
        for path in files:
            try:
                image = read_image(path)
            except DataError as error:
                if len(files) == 1:
                    raise
                unread += 1
                results.append({"image": str(path), "saved": None, "detections": [], "error": error.to_dict()})
                click.echo(f"{click.style('left out', fg='red')} {path}: {error.why or error.what}", err=True)
                continue
            detections = detector(
                image,
                score_threshold=options["score"],
                iou_threshold=options["iou"],
                max_detections=options["limit"],
                class_agnostic=options["class_agnostic"],
            )
            drawn = None
            if save:
                from edgekit.report.draw import draw_boxes

                drawn = draw_boxes(image, detections, Path(save), path, taken)
                taken.add(drawn.resolve())
            results.append(
                {
                    "image": str(path),
                    "saved": str(drawn) if drawn else None,
                    "detections": [d._asdict() for d in detections],
                }
            )
            if not as_json:
                _show(path, detections, drawn)
    if as_json:
        emit("detect", package=package, images=results)
    return DataError.exit_code if unread else 0


def _files(images: tuple[str, ...]) -> list[Path]:
    """Folders at any depth, as a data set is read: what is hidden or no image is left out, and said."""
    from edgekit.data.images.folder import images_in

    files: list[Path] = []
    for name in images:
        if Path(name).is_dir():
            inside, left_out = images_in(Path(name))
            files += inside
            for sentence in left_out:
                note(sentence)
        elif Path(name).is_file():
            files.append(Path(name))
        else:
            raise no_file("image", name)
    return files


def _show(path: Path, detections: Sequence[Detection], drawn: Path | None) -> None:
    click.echo(click.style(f"{path}", bold=True) + (f"  → {drawn}" if drawn else ""))
    rows = [(d.label, f"{d.score:.3f}", " ".join(f"{v:.1f}" for v in d.box)) for d in detections]
    click.echo(table(rows, ("label", "score", "x1 y1 x2 y2")) if rows else "nothing found")
