"""Whether the installed library is new enough for a package. Older ones open some files and compute something
else: LiteRT 1.2 and 1.3 find nothing with float16 weights, and 1.2 reads small integers in blocks wrong."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from edgekit.errors import MissingError


def check_version(distribution: str, versions: str, install: str) -> None:
    """Raises MissingError where the distribution is absent, or older than `>=X.Y,…` asks for."""
    first = re.match(r">=([\d.]+)", versions)
    try:
        found = version(distribution)
    except PackageNotFoundError:
        found = ""
    if first and _numbers(found) < _numbers(first[1]):
        raise MissingError(
            f"This package needs {distribution} {first[1]} or later",
            f"{distribution} {found} is installed" if found else f"{distribution} is not installed", install,
        )  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])
