"""What a YOLO-style data set states of itself: the classes' names, and what its lines hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.data.images.coco import whole
from edgekit.errors import DataError, UsageError, guard
from edgekit.system.documents import JsonObject, read_utf8

_LARGEST, _CLASSES = 2**20, 100_000
NAMES = ("classes.txt", "obj.names")  # a name a line: Label Studio and labelImg, Darknet


@dataclass(frozen=True)
class Facts:
    """Names, the file that has them, and whether lines hold keypoints or outlines, where that is said."""

    names: dict[int, str]
    file: str = ""
    keypoints: bool | None = None

    def check(self, used: dict[int, str]) -> None:
        """`used`: classes of the labels, and a file that has each. Raises DataError for one without a name."""
        missing = [f"class {c} ({used[c]})" for c in sorted(used) if c not in self.names]
        if self.names and missing:
            raise DataError(
                f"The labels have classes without a name: {', '.join(missing[:3])}",
                f"{self.file} names {len(self.names)} classes, {min(self.names)} to {max(self.names)}; the first is 0",
                "mend the labels or the names",
            )


def facts_of(places: tuple[Path, ...]) -> Facts:
    """Of the nearest folder that states any: its `data.yaml`, or the one file of that ending that has names; else a
    list of names. Raises DataError for a file that states nothing usable, UsageError where two may be meant."""
    for folder in places:
        facts = _of_yaml(folder) or _of_list(folder)
        if facts is not None:
            return facts
    return Facts({})


def read_facts(file: Path) -> Facts:
    """Of a data.yaml. Raises DataError."""
    with guard(DataError, f"{file} cannot be read", "mend it"):
        data = read_yaml(file)
        names = data.get("names") or {}
        names = dict(enumerate(names)) if isinstance(names, list) else names
        shape, task = data.get("kpt_shape"), data.get("task")
        keypoints = True if shape is not None or task == "pose" else False if task in ("segment", "obb") else None
        named = {whole(k, _CLASSES): str(v) for k, v in names.items() if v is not None}
    count = data.get("nc")
    if type(count) is int and named and count != len(named):
        raise DataError(
            f"{file.name} says that there are {count} classes, and names {len(named)}", "", "mend its nc or its names"
        )
    return Facts(named, file.name, keypoints)


def read_yaml(file: Path) -> JsonObject:
    """YAML without anchors: a few lines of those unfold to more than memory holds. Raises ValueError and its own
    errors."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: object, index: object) -> object:
            if self.check_event(yaml.events.AliasEvent):
                raise ValueError("it refers to an anchor: write out what it stands for")
            return super().compose_node(parent, index)

    data = yaml.load(read_utf8(file, _LARGEST), Loader) or {}
    if not isinstance(data, dict):
        raise ValueError("it holds no settings")
    return data


def _of_yaml(folder: Path) -> Facts | None:
    if (folder / "data.yaml").is_file():
        return read_facts(folder / "data.yaml")
    files = [p for p in sorted(folder.glob("*.y*ml")) if not p.name.startswith(".")]
    if len(files) == 1:
        return read_facts(files[0])
    stating = []
    for file in files[:16]:  # settings of other tools may lie there
        with guard(DataError, f"{file} cannot be read", "mend it, or move it elsewhere"):
            if read_yaml(file).get("names"):
                stating.append(file)
    if len(stating) > 1:
        raise UsageError(
            f"{folder} has {len(stating)} files of names: {', '.join(p.name for p in stating[:6])}",
            "each may be meant",
            "call the one that is meant data.yaml",
        )
    return read_facts(stating[0]) if stating else None


def _of_list(folder: Path) -> Facts | None:
    for name in NAMES:
        file = folder / name
        if file.is_file():
            with guard(DataError, f"{file} cannot be read", "mend it"):
                lines = read_utf8(file, _LARGEST).rstrip().splitlines()
            if lines:
                return Facts({i: line.strip() for i, line in enumerate(lines[:_CLASSES])}, name)
    return None
