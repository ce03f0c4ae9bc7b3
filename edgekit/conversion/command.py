"""The command that a receipt cites for its numbers, from what was asked.

Names without folders: those of this machine say nothing elsewhere, and may say too much.
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from edgekit.aihub.service_options import ServiceOptions
from edgekit.options import Option, OptionValue
from edgekit.sources.base import SourceOptions
from edgekit.sources.hub import cited
from edgekit.tasks.base import Request, Task


def convert_command(request: Request, task: Task) -> str:
    """The command line of a request, with those of its options that say something else than their default."""
    words = ["edgekit", "convert", *cited(Path(request.source))]
    words += [w for t in request.target_names for w in ("-t", Path(t).name if t.endswith(".toml") else t)]
    words += [w for p in request.precisions for w in ("-p", p)]
    flags: dict[str, object] = {
        "calibration": request.calibration,
        "eval": request.evaluation,
        "name": request.name,
        "task": request.task,
        "launches": request.launches,
        "device": request.device,
        "allow": tuple(sorted(request.allowed)),
        "merge": request.merge,
        "via": request.via,
        **{o.name: _file_name(request.values[o.name], o) for o in task.options if o.name in request.values},
        **_of_service(request.service),
        **_of_source(request.reading),
    }
    for name, value in flags.items():
        if value is None or value is False or value in ("", ()):
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
            continue
        for each in value if isinstance(value, tuple) else (value,):
            words += [flag, each.name if isinstance(each, Path) else str(each)]
    return shlex.join(words)


def _file_name(value: OptionValue, option: Option) -> OptionValue:
    return Path(str(value)).name if option.file else value


def _of_service(service: ServiceOptions | None) -> dict[str, object]:
    """The service's options that differ from their defaults; its address means nothing on another machine."""
    if service is None:
        return {}
    plain = ServiceOptions()
    values = {f.name: getattr(service, f.name) for f in fields(service) if f.name != "url"}
    return {name: value for name, value in values.items() if value != getattr(plain, name)}


def _of_source(options: SourceOptions) -> dict[str, object]:
    size = options.image_size
    image = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in options.image.items()}
    return {
        "labels": "LABELS" if options.labels else "",  # the manifest holds them
        "image_size": f"{size[0]}x{size[1]}" if size else "",
        "decoder": options.decoder,
        "context": options.context,
        **image,
    }
