"""Models of the Hugging Face hub, only when the user says so: config, tokenizer and safetensors, no code."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.errors import MissingError, RemoteError, UsageError
from edgekit.system.distribution import install

_FILES = ("*.json", "*.safetensors", "tokenizer.model", "*.txt", "*.jinja", "README.md", "LICENSE*")


def is_hub_id(source: str) -> bool:
    """Whether a source that is no file could be a model's name there: OWNER/NAME."""
    return not Path(source).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None


def fetch(source: str) -> str:
    """The folder of a model, downloaded to the library's own cache; what is there is not downloaded
    again. Raises RemoteError when the hub refuses or cannot be reached."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingError("Downloading needs huggingface_hub", str(error), install("llm")) from error
    try:
        return str(snapshot_download(source, allow_patterns=list(_FILES)))
    except Exception as error:  # the library's errors share no base class with those of HTTP
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RemoteError(
            f"{source} cannot be downloaded",
            reason[:300],
            "check the name and the network; for a gated model set HF_TOKEN",
        ) from error


def cited(source: Path) -> list[str]:
    """What to give `edgekit convert` for a source: its name without folders, or the hub's name of a folder that
    `fetch` downloaded (`models--OWNER--NAME/snapshots/REVISION`)."""
    match = re.fullmatch(r"models--([\w.-]+?)--([\w.-]+)", source.parent.parent.name)
    if match and source.parent.name == "snapshots":
        return [f"{match[1]}/{match[2]}", "--download"]
    return [source.name]


def refuse(source: str) -> UsageError:
    """Raises the error for a folder that does not exist: nothing is downloaded unless the user says so."""
    return UsageError(
        f"There is no file or folder {source}",
        "edgekit downloads nothing unless it is told to",
        "check the path; if it is a model of the Hugging Face hub, add --download",
    )
