"""Options and verbs as other tools of the field name them, and what they are called here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click

_VERBS = {
    "convert": ("export", "quantize", "quantise", "compile", "build", "optimize"),
    "detect": ("predict", "infer", "inference", "run", "track"),
    "profile": ("benchmark", "bench", "perf", "time"),
    "generate": ("complete", "completion"),
    "inspect": ("info", "show", "cat", "describe"),
    "targets": ("platforms", "formats"),
    "doctor": ("env", "checks", "check"),
}
_OPTIONS = {
    "--image-size": ("imgsz", "img-size", "img", "imgs", "input-size", "input-shape", "size", "resolution"),
    "--calibration": ("data", "calib", "calib-data", "calibration-data", "dataset", "representative-dataset"),
    "--eval": ("val", "data", "valid", "eval-data"),
    "--target": ("format", "to", "platform", "export", "device", "include"),
    "--precision": (
        "int8",
        "half",
        "fp16",
        "float16",
        "quant",
        "quantize",
        "qtype",
        "outtype",
        "dtype",
        "weight-format",
    ),
    "--out": ("output", "output-dir", "outfile", "output-path", "project", "save-dir", "dir"),
    "--labels": ("names", "classes", "class-names"),
    "--context": ("ctx", "ctx-size", "n-ctx", "max-seq-len", "max-length", "max-model-len"),
    "--score": ("conf", "conf-thres", "confidence", "threshold", "score-threshold"),
    "--iou": ("iou-thres", "nms", "iou-threshold"),
    "--max-tokens": ("n-predict", "max-new-tokens", "num-predict", "tokens"),
    "--temperature": ("temp",),
    "--overflow": ("context-shift",),
    "--launches": ("runs", "num-runs", "repetitions", "repeat"),
    "--iterations": ("iters", "loops", "num-iterations"),
    "--save": ("output", "out", "save-dir"),
}


def named_elsewhere(error: click.NoSuchOption, context: click.Context) -> click.UsageError:
    """The same error, with the command's options that do what the one given does elsewhere."""
    own = {o for p in context.command.params for o in p.opts}
    option = error.option_name.lstrip("-").replace("_", "-").lower()
    near = [o for o, names in _OPTIONS.items() if option in names and o in own]
    if not near:
        return error
    return click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", context)


def nearest_verb(name: str, verbs: Sequence[str]) -> str:
    """What does the same here, or is spelt alike; "" for none."""
    same = [verb for verb, names in _VERBS.items() if name.lower() in names]
    return next(iter(same or difflib.get_close_matches(name.lower(), verbs, 1)), "")
