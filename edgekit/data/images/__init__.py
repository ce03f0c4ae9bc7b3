"""Images with boxes from disk: COCO style, YOLO style, or bare images for calibration.

COCO style: one annotations `.json` beside `images/`, or that file itself. YOLO style: `images/` and
`labels/`, or labels beside images; names in an optional `data.yaml`, which may be passed itself.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.data.images.coco import annotations_in, read_annotations, read_coco
from edgekit.data.images.folder import check_readable, images_in
from edgekit.data.images.layout import images_of, layout_of, split_of
from edgekit.data.images.matching import match_categories
from edgekit.data.images.names import Facts, facts_of, read_facts
from edgekit.data.images.records import Box, Dataset, no_such
from edgekit.data.images.yolo import read_yolo
from edgekit.errors import DataError, UsageError, guard

__all__ = ["Box", "Dataset", "check_readable", "match_categories", "read_dataset"]


def read_dataset(path: str | Path) -> Dataset:
    """A folder of images, or the file of annotations that is meant where a folder has several.

    Raises DataError when there are no images, or annotations do not fit them; UsageError where there is no such
    folder, or it may be read in two ways. Names lead into the folder only; links to files are followed, since people keep
    their images elsewhere.
    """
    with guard(DataError, f"{path} cannot be read", "mend it, or pass another folder"):
        return _read(Path(path))


def _read(path: Path) -> Dataset:
    if path.is_file() and path.suffix.lower() == ".json":
        data = read_annotations(path)
        if data is None:
            raise DataError(
                f"{path} has no boxes",
                "it is no file of annotations in COCO's format",
                "see https://cocodataset.org/#format-data",
            )
        above = path.parent.parent if path.parent.name == "annotations" else path.parent
        return read_coco(above, path, data)
    if path.is_file() and path.suffix.lower() in (".yaml", ".yml"):
        inside, which = images_of(path)
        note = f"of the images that {path.name} names, those of {which} are read"
        return _folder(inside, read_facts(path), (note,))
    if path.is_file():
        raise UsageError(f"{path} is a file", "images come as a folder", "pass the folder it lies in")
    if not path.is_dir():
        raise no_such(path)
    annotations = annotations_in(path)
    if annotations is not None:
        return read_coco(path, *annotations)
    split = split_of(path)
    return _read(split) if split else _folder(path)


def _folder(path: Path, facts: Facts | None = None, left_out: tuple[str, ...] = ()) -> Dataset:
    layout = layout_of(path)
    inside = layout.images if layout else path / "images" if (path / "images").is_dir() else path
    images, more = images_in(inside)
    if layout is None:
        return Dataset(path, images, [[] for _ in images], {}, left_out + more)
    return read_yolo(path, layout, facts or facts_of(layout.places), images, left_out + more)
