"""Settings: options beat `EDGEKIT_*` variables, which beat `edgekit.toml`. Standard library only."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError

KNOWN = {
    "store": "the database of measurements",
    "cache": "intermediate results of conversions",
    "threads": "threads the runtime uses (default: the free big cores)",
    "aihub_python": "the interpreter that has qai_hub",
    "aihub_patience": "seconds to wait for an AI Hub that does not answer (default: 300)",
}


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


def get(name: str) -> Setting:
    """A setting's value and where it came from; "" when nothing sets it."""
    variable = f"EDGEKIT_{name.upper()}"
    if os.environ.get(variable):
        return Setting(name, os.environ[variable], variable)
    for path in (Path("edgekit.toml"), config_folder() / "edgekit.toml"):
        value = _file(path).get(name)
        if value is not None:
            return Setting(name, str(value), str(path))
    return Setting(name, "", "default")


def _file(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read", str(error), "mend or remove it") from error
    unknown = sorted(data.keys() - KNOWN.keys())
    if unknown:
        known = f"settings: {', '.join(KNOWN)}"
        raise UsageError(f"{path} sets {unknown[0]}, which edgekit does not know", "", known)
    return data
