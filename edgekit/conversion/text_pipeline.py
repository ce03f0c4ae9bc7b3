"""convert() for language models: one package for each target and precision, each with its receipt."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import progress
from edgekit.backends.base import CompileOptions
from edgekit.conversion import request as asked
from edgekit.conversion.command import convert_command, of_service
from edgekit.conversion.compiling import compiled, described, repeats
from edgekit.conversion.keeping import WouldLoseError, put_package
from edgekit.conversion.outcome import Outcome
from edgekit.conversion.reading import read_text_model
from edgekit.data.texts import fingerprint, read_texts
from edgekit.errors import UsageError
from edgekit.model import TextModel
from edgekit.package import Content, Package, title_of, write_package
from edgekit.package.atomic import check_replaceable
from edgekit.package.receipt import Reason, Receipt
from edgekit.quantize.kv_cache import in_int8
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision, to_json
from edgekit.target import Target
from edgekit.tasks.text.judge import TextVerifier
from edgekit.tasks.text.options import check_used, check_values, fitting

_LARGE_PARENT = 500_000_000  # parameters from which on no float package is made to compare speed with


def convert_text(
    source: str,
    targets: Sequence[str],
    precisions: Sequence[str],
    out: Path,
    calibration: Path | None,
    evaluation: Path | None,
    name: str,
    options: SourceOptions,
    allowed: Collection[Reason],
    windows: int,
    calibration_windows: int,
    launches: int,
    extra: Mapping[str, str],
    merge: bool = False,
    via: str = "",
    hub: Mapping[str, str] | None = None,
    force: bool = False,
) -> list[Outcome]:
    """See `pipeline.convert`; `windows`: of the evaluation text, at most."""
    extra = {k: v for k, v in extra.items() if (k, v) != ("kv_cache", "fp32")}  # what it is anyway
    _check(options)
    check_values(extra)
    sent = asked.targets(targets, merge, via)
    found, service = [t.for_text() for t in sent], asked.service(sent, hub or {})
    texts = read_texts(evaluation) if evaluation else []
    if calibration:
        read_texts(calibration)  # says now what would fail after minutes
    if precisions:
        asked.jobs(found, precisions, calibration)
    model = read_text_model(source, options)
    wanted = [job for t in found for job in asked.jobs([t], precisions or _natural(model, t), calibration)]
    check_used(extra, wanted)
    title = name or title_of(model.name)
    for target, asked_for in wanted:
        for precision in asked_for:
            check_replaceable(out / _full(title, target, precision, fitting(extra, target, precision)))
    command = convert_command(
        source,
        targets,
        precisions,
        options,
        calibration=calibration,
        calibration_images=calibration_windows if calibration else None,
        eval=evaluation,
        eval_windows=windows if evaluation else None,
        name=name or None,
        launches=launches,
        allow=tuple(sorted(allowed)),
        merge=merge,
        via=via or None,
        **extra,
        **of_service(service),
    )
    left: list[WouldLoseError] = []
    verifier = TextVerifier(model, texts, evaluation.name if evaluation else "", windows, launches, command, allowed)
    kept = in_int8(model.spec) if extra.get("kv_cache") else model.spec
    progress.note(
        f"{title}: {kept.context_length} tokens of context, for which the KV cache takes "
        f"{kept.kv_cache_bytes / 1e6:.0f} MB"
    )
    text = str(calibration.resolve()) if calibration else ""
    outcomes = []
    try:
        if not service.get("dry_run"):
            verifier.check_original()
        with tempfile.TemporaryDirectory(prefix="edgekit-") as staging:
            for target, asked_for in wanted:
                parent: Package | None = None
                for precision in _order(model, target, asked_for, bool(launches)):
                    start, mine = time.monotonic(), fitting(extra, target, precision)
                    full = _full(title, target, precision, mine)
                    progress.note(f"{full}: compiling")
                    compiling = CompileOptions(text, calibration_windows, None, {**mine, **service})
                    content = _content(model, precision, compiling)
                    artifact, folder = compiled(model, target, precision, compiling, **content)
                    if service.get("dry_run"):
                        listed = Receipt((), search=artifact.search)
                        outcomes.append(Outcome(full, target.name, precision, None, listed))
                        continue
                    manifest = described(full, model, target, precision, artifact)
                    # the engine's own layout at the top, so that its other languages open it too
                    files: dict[str, Content] = {n.partition("/")[2]: folder / n for n in artifact.files}
                    staged = write_package(Path(staging) / full, manifest, files, {})
                    if precision.is_float and parent is None:
                        parent = staged
                    if precision not in asked_for:  # compiled only to time its siblings against
                        continue
                    receipt = verifier.check(staged, artifact, target, None if precision.is_float else parent)
                    receipt = dataclasses.replace(receipt, steps=(command, repeats(folder)))
                    refused = any(t.reason not in allowed for t in receipt.trips)
                    path = None if refused else out / full
                    if path is not None:
                        try:
                            receipt = put_package(path, staged.manifest, files, receipt, force)
                        except WouldLoseError as error:  # the others are written all the same
                            left.append(error)
                            continue
                    seconds = round(time.monotonic() - start, 1)
                    progress.note(f"{full}: {'refused' if refused else 'made'} in {seconds:.0f} s")
                    outcomes.append(Outcome(full, target.name, precision, path, receipt, seconds))
    finally:
        verifier.close()
    if left:
        raise left[0]
    return outcomes


def _check(options: SourceOptions) -> None:
    """Raises UsageError for what only detectors are asked."""
    if options.labels or options.decoder or options.image or options.image_size:
        raise UsageError(
            "Labels, image sizes and decoders are for detectors", "this source is a language model", "leave them out"
        )


def _natural(model: TextModel, target: Target) -> list[str]:
    """What the source is quantised to, where the target has it; else the target's own choice."""
    return [model.native.value] if model.native in target.precisions else []


def _full(title: str, target: Target, precision: Precision, extra: Mapping[str, str]) -> str:
    fast = "-fast" if extra.get("mode") == "fast" else ""
    small = "-kv8" if extra.get("kv_cache") == "int8" else ""
    return f"{title}-{target.name}-{precision}{fast}{small}"


def _order(model: TextModel, target: Target, wanted: Sequence[Precision], timed: bool) -> list[Precision]:
    """Float first; a large model's float package is made only when it is asked for."""
    if not timed or (model.source.parameters or 0) > _LARGE_PARENT:
        return sorted(dict.fromkeys(wanted), key=lambda p: not p.is_float)
    return asked.with_parent(target, wanted)


def _content(model: TextModel, precision: Precision, options: CompileOptions) -> dict[str, Any]:
    """What an artefact is made of: text to decide on and options, where they have a part in it."""
    calibration = "" if precision.is_float else options.calibration
    return {
        "source": to_json(model.source),
        "text": fingerprint(read_texts(Path(calibration))) if calibration else "",
        "windows": options.calibration_images if calibration else 0,
        "extra": options.extra,
    }
