"""Where `qai_hub` is: it and onnx rarely agree on a protobuf, so it has an environment of its own."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from edgekit import settings
from edgekit.errors import MissingError
from edgekit.system.documents import DocumentError, read_utf8
from edgekit.system.redaction import redact, remember

SETTING = "aihub_python"
REQUIREMENT = "qai-hub>=0.56,<0.57"  # what the emulator and the client side are written against


def own_folder() -> Path:
    """The environment that edgekit tells people to make."""
    return settings.data_folder() / "aihub"


def client_python() -> Path:
    """The interpreter that has `qai_hub`: the setting, this one, or the one made for it.

    Raises MissingError with the commands that make one.
    """
    setting = settings.get(SETTING)
    if setting.value:
        path = Path(setting.value).expanduser()
        if not _has_client(path):
            raise MissingError(
                f"{path} has no qai_hub", f"{setting.origin} names it", f"{path} -m pip install '{REQUIREMENT}'"
            )
        return path
    if find_spec("qai_hub"):
        return Path(sys.executable)
    path = _python(own_folder())
    if not _has_client(path):
        raise MissingError(
            "Qualcomm AI Hub's client, qai-hub, is not installed",
            "it needs an environment of its own: it and onnx do not agree on a protobuf",
            f"{sys.executable} -m venv {own_folder()} && {path} -m pip install '{REQUIREMENT}'",
        )
    return path


def how_to_configure() -> str:
    """The command that configures the client, with its full path: its environment is not on PATH."""
    try:
        tool = str(client_python().with_name("qai-hub"))
    except MissingError:
        tool = "qai-hub"
    return f"{tool} configure --api_token TOKEN, with the token of your account page at AI Hub"


def service_url() -> str:
    """The address of the AI Hub that the client is configured for, to be shown, read from the client's own
    file. The token in it is known to `redact` afterwards.

    Raises MissingError when there is no token.
    """
    path = Path(os.environ.get("QAIHUB_CLIENT_INI") or "~/.qai_hub/client.ini").expanduser()
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read_string(read_utf8(path, 2**20))
        api = config["api"]
        if api.get("api_token"):
            remember(api["api_token"])
            return redact(api["api_url"])
        why = f"{path} has no api_token"
    except FileNotFoundError:
        why = f"{path} is not there"
    except KeyError as error:
        why = f"{path} has no {error}"
    except configparser.Error as error:  # its text quotes the line, which may be the token's
        line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", ())), [None])[0]
        why = f"{path} is no configuration file: {type(error).__name__}" + (f" in line {line}" if line else "")
    except (OSError, DocumentError) as error:
        why = f"{path} cannot be read: {error}"
    raise MissingError("No AI Hub token is configured", why, how_to_configure())


def client_version(python: Path) -> str:
    code = "from importlib.metadata import version; print(version('qai_hub'))"
    ran = subprocess.run(
        [python, "-I", "-c", code], check=False, capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    return ran.stdout.strip()


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _has_client(python: Path) -> bool:
    """Whether the interpreter has `qai_hub`. Looks only for its place: importing it takes a second."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('qai_hub') is None)"
    try:
        return subprocess.run([python, "-I", "-c", code], check=False, capture_output=True).returncode == 0
    except OSError:
        return False
