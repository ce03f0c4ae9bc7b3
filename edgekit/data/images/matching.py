"""Which of a detector's classes is which of a data set's categories."""

from __future__ import annotations

from edgekit.data.images.records import Dataset
from edgekit.errors import DataError


def match_categories(dataset: Dataset, labels: tuple[str, ...]) -> dict[int, int]:
    """From the detector's class index to the dataset's category id: by name, else by position.

    Raises DataError when neither can be.
    """
    by_name = {name.strip().lower(): i for i, name in dataset.categories.items() if name}
    matched = {i: by_name[n.strip().lower()] for i, n in enumerate(labels) if n.strip().lower() in by_name}
    if matched:
        return matched
    ids = sorted(dataset.categories)
    anonymous = not by_name or all(n.startswith("class_") for n in labels)
    if anonymous and len(ids) == len(labels):
        return dict(enumerate(ids))
    if not by_name and ids and max(ids) < len(labels):  # YOLO style without names: class numbers
        return {i: i for i in ids}
    raise DataError(
        "The detector's classes and those of the annotations do not match",
        f"{len(labels)} labels ({', '.join(labels[:3])}, …), {len(ids)} categories "
        f"({', '.join(list(dataset.categories.values())[:3])}, …)",
        "pass the detector's class names with --labels",
    )
