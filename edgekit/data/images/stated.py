"""What a file in COCO's format states, compared with itself and with its images. Each raises DataError."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from edgekit.data.images.drawn import Drawn, corner_and_size
from edgekit.data.images.records import Box, listed
from edgekit.errors import DataError
from edgekit.runtime.image import image_size

_FEW = 3  # boxes, of which anything may be true by chance


def check_once(file: Path, what: str, values: Iterable[Hashable]) -> None:
    """Of two entries with one name, the first would lose its boxes."""
    twice = [v for v, count in Counter(values).items() if count > 1]
    if twice:
        raise DataError(
            f"{file.name} lists the same {what} twice: {', '.join(ascii(v)[:60] for v in twice[:3])}",
            "which of the entries is meant is not to be told",
            "remove or renumber those that are not meant",
        )


def check_categories(file: Path, categories: dict[int, str], boxes: list[list[Box]]) -> dict[int, str]:
    """The categories, each of its own name: some tools write a group of the same name beside one."""
    used = Counter(b.category for image in boxes for b in image)
    missing = sorted(used.keys() - categories.keys())
    if missing:
        raise DataError(
            f"{file.name} has boxes of categories that it does not list: {', '.join(map(str, missing[:6]))}",
            f"{sum(used[c] for c in missing)} of {used.total()} boxes; it lists {len(categories)} categories",
            "add them to its categories, with their names",
        )
    return named_once(file.name, categories, used)


def named_once(file: str, categories: dict[int, str], used: Counter[int]) -> dict[int, str]:
    """The categories; of several with one name that which has the boxes. `used`: how many each has."""
    named: dict[str, list[int]] = {}
    for number, name in categories.items():
        named.setdefault(name.strip().lower(), []).append(number)
    unique = dict(categories)
    for name, numbers in named.items():
        if not name or len(numbers) < 2:
            continue
        having = [n for n in numbers if used[n]]
        if len(having) > 1:
            raise DataError(
                f"{file} has several categories that are called {ascii(categories[having[0]])[:60]}",
                f"{', '.join(map(str, having[:6]))} have boxes each",
                "give each a name of its own, or its boxes one category",
            )
        for number in numbers:
            if number != (having or numbers)[0]:
                del unique[number]
    return unique


def check_fit(
    file: Path, folder: Path, paths: list[Path], stated: list[tuple[object, object]], boxes: list[list[Box]]
) -> None:
    """Boxes drawn on differently turned or scaled pixels, or of other numbers, give a metric of nothing."""
    other: list[Path] = []
    outside: list[Path] = []
    drawn: list[Drawn] = []
    contradiction = ""
    for path, size, its in zip(paths, stated, boxes):
        w, h = image_size(path)
        drawn += [Drawn(b.x / w, b.y / h, b.width / w, b.height / h, b.area / (w * h)) for b in its]
        width, height = (_number(v) for v in size)
        if width and height and (width, height) != (w, h):
            other.append(path)
            turned = ", turned" if (height, width) == (w, h) else ""
            contradiction = contradiction or f"{path.name} is {w} x {h} as shown, and {width} x {height} there{turned}"
        elif any(not (0 <= b.x + b.width / 2 <= w and 0 <= b.y + b.height / 2 <= h) for b in its):
            outside.append(path)
            contradiction = contradiction or f"a box of {path.name}, {w} x {h} as shown, has its centre outside"
    _check_drawn(file, drawn, [b for image in boxes for b in image])
    if other or outside:
        names = listed(other or outside, folder)
        raise DataError(
            f"{file.name} and its images do not fit: {names}",
            contradiction,
            "the boxes were drawn on other pixels: save the images upright (without an EXIF orientation) and "
            "annotate those, or correct width and height",
        )


def _check_drawn(file: Path, drawn: list[Drawn], boxes: list[Box]) -> None:
    likely = corner_and_size(drawn)
    if len(boxes) >= _FEW and all(max(b.x, b.y, b.width, b.height) < 1.5 for b in boxes):
        likely = "parts of the image's width and height"
    if likely:
        raise DataError(
            f"The boxes of {file.name} are no x, y, width and height in pixels",
            f"they look like {likely}",
            "write each bbox as [x, y, width, height] in pixels, x and y of the upper left corner",
        )


def _number(value: Any) -> Any:
    """A size that may be stated as text; 0 or less means that none is stated."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return max(int(number) if number.is_integer() else number, 0)
