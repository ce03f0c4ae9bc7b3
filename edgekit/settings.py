"""Settings: options beat `EDGEKIT_*` variables, which beat `edgekit.toml`. Standard library only.

The file in the current folder may be anybody's: it says nothing about what is executed and where results
go. That is for the user's own file, the environment or an option. On a device that file does not count at
all: a program that loads a package runs in whatever folder its own user has chosen.
"""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.system.documents import read_utf8

KNOWN = {
    "store": "the database of measurements",
    "cache": "intermediate results of conversions",
    "threads": "threads the runtime uses (default: the big cores that the process may use)",
    "aihub_python": "the interpreter that has qai_hub",
    "aihub_patience": "seconds to wait for an AI Hub that does not answer (default: 300)",
}


ANYWHERE = ("threads", "aihub_patience")  # what the current folder's file may set

MOST_THREADS = 1024  # of an engine
_LARGEST = 2**20  # bytes


@dataclass(frozen=True)
class Setting:
    name: str
    value: str
    origin: str


def config_folder() -> Path:
    return _home("EDGEKIT_CONFIG_HOME", "XDG_CONFIG_HOME", ".config", "APPDATA")


def cache_folder() -> Path:
    own = get("cache").value
    return Path(own) if own else _home("", "XDG_CACHE_HOME", ".cache", "LOCALAPPDATA")


def data_folder() -> Path:
    return _home("", "XDG_DATA_HOME", ".local/share", "LOCALAPPDATA")


def _home(own: str, xdg: str, below: str, windows: str) -> Path:
    if own and os.environ.get(own):
        return Path(os.environ[own])
    if os.name == "nt":
        return Path(os.environ.get(windows, Path.home())) / "edgekit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "edgekit"
    return Path(os.environ.get(xdg) or Path.home() / below) / "edgekit"


def get(name: str, folder: bool = True) -> Setting:
    """A setting's value and where it came from; "" when nothing sets it.

    `folder`: whether the file in the current folder counts. Raises UsageError for a file that cannot be read.
    """
    variable = f"EDGEKIT_{name.upper()}"
    if os.environ.get(variable):
        return Setting(name, os.environ[variable], variable)
    own = (config_folder() / "edgekit.toml", tuple(KNOWN))
    for path, allowed in ((Path("edgekit.toml"), ANYWHERE), own) if folder else (own,):
        value = _file(path, allowed).get(name)
        if value is not None:
            return Setting(name, str(value), str(path))
    return Setting(name, "", "default")


def threads(folder: bool = True) -> int | None:
    """The setting `threads`, as `get`; None when nothing sets it. Raises UsageError for what is no number of threads."""
    value = get("threads", folder).value
    if not value:
        return None
    if not (value.isdecimal() and value.isascii() and len(value) < 6 and 0 < int(value) <= MOST_THREADS):
        raise UsageError(
            f"The setting threads is {value:.40}", "", f"set EDGEKIT_THREADS to a number from 1 to {MOST_THREADS}"
        )
    return int(value)


def _file(path: Path, allowed: tuple[str, ...]) -> dict[str, Any]:
    try:
        data = tomllib.loads(read_utf8(path, _LARGEST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read", str(error), "mend or remove it") from error
    unknown = sorted(data.keys() - KNOWN.keys())
    if unknown:
        known = f"settings: {', '.join(KNOWN)}"
        raise UsageError(f"{path} sets {unknown[0]}, which edgekit does not know", "", known)
    refused = sorted(data.keys() - set(allowed))
    if refused:
        raise UsageError(
            f"{path} in this folder sets {refused[0]}",
            "what is executed and where results go is not for a file that happens to lie here",
            f"set EDGEKIT_{refused[0].upper()}, or write it into {config_folder() / 'edgekit.toml'}",
        )
    wrong = sorted(n for n, v in data.items() if not isinstance(v, (str, int, float)) or isinstance(v, bool))
    if wrong:
        raise UsageError(f"{path} sets {wrong[0]} to what is no text and no number", "", "mend it")
    return data
