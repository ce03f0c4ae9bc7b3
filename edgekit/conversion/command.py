"""The command that a receipt cites for its numbers, from what was asked.

Names without folders: those of this machine say nothing elsewhere, and may say too much.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.sources.base import SourceOptions
from edgekit.sources.hub import cited

_FLAGS = {"options": "hub-options", "qairt": "qairt-version"}  # where `convert` has another name


def convert_command(
    source: str | Path, targets: Sequence[str], precisions: Sequence[str], options: SourceOptions, **given: Any
) -> str:
    """`given`: other options of `edgekit convert` by their long names; those that are unset (None,
    "" or empty) are left out."""
    words = ["edgekit", "convert", *cited(Path(source))]
    words += [w for t in targets for w in ("-t", Path(t).name if t.endswith(".toml") else t)]
    words += [w for p in precisions for w in ("-p", p)]
    for name, value in (*given.items(), *_of_source(options).items()):
        if value is None or value is False or value == "" or value == ():
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
            continue
        for each in value if isinstance(value, (list, tuple)) else (value,):
            words += [flag, each.name if isinstance(each, Path) else str(each)]
    return shlex.join(words)


def of_service(extra: Mapping[str, str]) -> dict[str, Any]:
    """What a service is asked, by the long names of `edgekit convert`."""
    named = {_FLAGS.get(k, k): v for k, v in extra.items() if k != "service"}
    return {k: v == "yes" or v for k, v in named.items()}


def _of_source(options: SourceOptions) -> dict[str, Any]:
    size = options.image_size
    image = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in options.image.items()}
    return {
        "labels": "LABELS" if options.labels else "",  # the manifest holds them
        "image_size": f"{size[0]}x{size[1]}" if size else "",
        "decoder": options.decoder,
        "context": options.context,
        **image,
    }
