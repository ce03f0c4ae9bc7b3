"""Images with boxes from disk: COCO style, YOLO style, or bare images for calibration.

COCO style: one annotations `.json` beside `images/`, or that file itself. YOLO style: `images/` and
`labels/`, names in an optional `data.yaml`.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.dataset.coco import annotations_in, read_annotations, read_coco
from edgekit.dataset.folder import check_readable, images_in
from edgekit.dataset.matching import match_categories
from edgekit.dataset.records import Box, Dataset, no_such
from edgekit.dataset.yolo import read_yolo
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
                f"{path} has no boxes", "it is no file of annotations in COCO's format",
                "see https://cocodataset.org/#format-data",
            )  # fmt: skip
        above = path.parent.parent if path.parent.name == "annotations" else path.parent
        return read_coco(above, path, data)
    if path.is_file():
        raise UsageError(f"{path} is a file", "images come as a folder", "pass the folder it lies in")
    if not path.is_dir():
        raise no_such(path)
    annotations = annotations_in(path)
    inside = path / "images" if (path / "images").is_dir() else path
    if annotations is not None:
        return read_coco(path, *annotations)
    images, left_out = images_in(inside)
    if (path / "labels").is_dir():
        return read_yolo(path, inside, images, left_out)
    return Dataset(path, images, [[] for _ in images], {}, left_out)
