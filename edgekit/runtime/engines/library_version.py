"""Whether the installed libraries are those that a package needs. Others open some files and compute something
else: LiteRT 1.2 and 1.3 find nothing with float16 weights, and 1.2 reads small integers in blocks wrong; Qualcomm's
provider opens no context of a later compiler, and says only that an argument is invalid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from edgekit.errors import MissingError
from edgekit.runtime.ranges import numbers, within


def check_version(distribution: str, versions: str) -> None:
    """Raises MissingError where the distribution is absent, or older than `>=X.Y,…` asks for. The command names the
    library: an extra that also allows an older one would leave that in place."""
    first, have = re.match(r">=([\d.]+)", versions), _installed(distribution)
    if first and numbers(have) < numbers(first[1]):
        raise MissingError(
            f"This package needs {distribution} {first[1]} or later",
            f"{distribution} {have} is installed" if have else f"{distribution} is not installed",
            f"pip install '{distribution}{versions}'",
        )


def check_libraries(needed: Mapping[str, str], install: str) -> None:
    """Raises one MissingError for every distribution that is absent, or outside of its range."""
    wrong = {name: have for name, allowed in needed.items() if (have := _unfit(name, allowed)) is not None}
    if wrong:
        raise MissingError(
            f"This package needs {' and '.join(f'{name} {needed[name]}'.strip() for name in wrong)}",
            ", ".join(
                f"{name} {have} is installed" if have else f"{name} is not installed" for name, have in wrong.items()
            ),
            install,
        )


def _unfit(distribution: str, allowed: str) -> str | None:
    """The version that does not fit, "" for none at all; None where nothing speaks against it."""
    have = _installed(distribution)
    if have:
        return have if within(have, allowed) is False else None
    # Builds for other processors bring the same module under another name, with versions of their own.
    return None if find_spec(distribution.replace("-", "_")) else ""


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
