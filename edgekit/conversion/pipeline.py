"""convert(): one source into one package for each target and precision, each with its receipt.

source → model → compile (in a worker) → verify with the artefact itself → tripwires → package.
Every finished step is kept by content, so the same command continues where it was stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import progress
from edgekit.backends.base import Artifact, CompileOptions
from edgekit.conversion import request as asked
from edgekit.conversion.command import convert_command, of_service
from edgekit.conversion.compiling import compiled, described, repeats
from edgekit.conversion.keeping import WouldLoseError, put_package
from edgekit.conversion.outcome import Outcome
from edgekit.conversion.reading import read_model, source_for
from edgekit.data.images import Dataset, check_readable, match_categories, read_dataset
from edgekit.errors import DataError, UsageError
from edgekit.model import Model
from edgekit.package import Package, title_of, write_package
from edgekit.package.atomic import check_replaceable
from edgekit.package.receipt import Reason, Receipt, Trip
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.target import Target
from edgekit.tasks.detection.judge import Verifier
from edgekit.tasks.detection.plausible import check_plausible

_ATTEMPTS = 3  # with so many times as many layers spared each time, where they are
_MORE = {"in float": 2, "on 16 bits": 4}


def convert(
    source: str | Path,
    targets: Sequence[str] = ("cpu",),
    precisions: Sequence[str] = (),
    out: str | Path = "dist",
    calibration: str | Path | None = None,
    eval: str | Path | None = None,
    name: str = "",
    options: SourceOptions | None = None,
    allow: Sequence[str] = (),
    reference: str | Path | None = None,
    calibration_images: int = 64,
    eval_images: int | None = None,
    float_layers: int | None = None,
    launches: int = 5,
    merge: bool = False,
    simulated_images: int = 8,
    via: str = "",
    extra: Mapping[str, str] | None = None,
    text: Mapping[str, str] | None = None,
    eval_windows: int = 16,
    force: bool = False,
) -> list[Outcome]:
    """Convert `source` for each target and precision into `out/NAME-TARGET-PRECISION`.

    calibration, eval: folders of images (docs/format.md says which layouts); `eval` needs boxes.
    allow: reasons ("accuracy", "slower", "misread") that do not refuse a package but stay in its verdict.
    reference: another form of the same model (an ONNX file, say) to state the difference from.
    launches: rounds of the latency tripwire; 0 leaves it out, and the receipt says so.
    merge: one package for the chips of all targets, which are Snapdragons then.
    simulated_images: how many images a simulator, or a device of AI Hub, runs.
    via: "aihub" compiles Snapdragon targets at Qualcomm AI Hub, to which the model is sent then.
    extra: what AI Hub is asked (backends.aihub.Wanted); with "dry_run" nothing is sent, and each
    outcome's receipt lists in `search` what would be.

    force: replace a package of which more is known, as its receipt says; without, that is an error.

    Language models: calibration and eval are text files, of which 32 and `eval_windows` windows are
    used; `text`: `bits` (a weight, the size budget of w4), `block_size`, `mode`, `head`, `embedding`,
    `kv_cache`, `prompt_step`, `part_bytes`, as `edgekit convert --help` explains them.

    Returns an Outcome for each package, refused ones included. Raises EdgekitError otherwise.
    """
    allowed = {asked.reason(a) for a in allow}
    if launches == 1:
        raise UsageError("One launch is not a measurement", "", "use --launches 2 or more, or 0 for none")
    if name and name != title_of(name):
        raise UsageError(f"--name {name} is no file name", "packages are folders in --out", f"use {title_of(name)}")
    options = options or SourceOptions()
    targets = [targets] if isinstance(targets, str) else list(dict.fromkeys(targets))
    precisions = [precisions] if isinstance(precisions, str) else list(precisions)
    if getattr(source_for(str(source)), "text", False):
        from edgekit.conversion.text_pipeline import convert_text

        return convert_text(
            str(source),
            targets,
            precisions,
            Path(out),
            _named(calibration),
            _named(eval),
            name,
            options,
            allowed,
            eval_windows,
            32,
            launches,
            text or {},
            merge,
            via,
            extra or {},
            force,
        )
    if text:
        raise UsageError(f"--{next(iter(text)).replace('_', '-')} is for language models", "", "leave it out")
    found = asked.targets(targets, merge, via)
    jobs = asked.jobs(found, precisions, calibration)
    extra = asked.service(found, extra or {})
    calibrating = read_dataset(calibration).first(calibration_images) if calibration else None
    evaluating = read_dataset(eval).first(eval_images) if eval else None
    if evaluating is not None and not evaluating.annotated:
        raise DataError(
            f"{eval} has images but no boxes",
            "accuracy needs annotations",
            "add an annotations .json (COCO) or labels/ (YOLO), or pass it as --calibration only",
        )
    for dataset in (calibrating, evaluating):
        if dataset is not None:
            check_readable(dataset.images, dataset.folder)
    model = read_model(str(source), options)
    assert model.spec is not None
    name = name or title_of(model.name)
    if evaluating is not None:
        match_categories(evaluating, model.spec.labels)  # says now what would fail after minutes
    misread = check_plausible(model, evaluating or (calibrating.without_boxes() if calibrating else None), allowed)
    for target, wanted in jobs:
        for precision in wanted:
            check_replaceable(Path(out) / f"{name}-{target.name}-{precision}")
    likewise = SourceOptions((model.spec.image.height, model.spec.image.width), model.spec.labels)
    external = read_model(str(reference), likewise) if reference else None
    command = convert_command(
        source,
        targets,
        precisions,
        options,
        calibration=_named(calibration),
        calibration_images=calibration_images if calibration else None,
        eval=_named(eval),
        eval_images=eval_images,
        reference=_named(reference),
        float_layers=float_layers,
        launches=launches,
        allow=tuple(allow),
        merge=merge,
        simulated_images=simulated_images if any(t.simulator for t in found) else None,
        via=via or None,
        **of_service(extra),
    )
    compared_on = evaluating or (calibrating.without_boxes() if calibrating else None)
    verifier = Verifier(model, compared_on, external, launches, command, allowed, simulated_images)
    quantising = CompileOptions(
        str(Path(calibration).resolve()) if calibration else "", calibration_images, float_layers, extra
    )
    outcomes: list[Outcome] = []
    left: list[WouldLoseError] = []
    with tempfile.TemporaryDirectory(prefix="edgekit-") as staging:
        for target, wanted in jobs:
            parent: Package | None = None
            for precision in asked.with_parent(target, wanted):
                title, start = f"{name}-{target.name}-{precision}", time.monotonic()
                step = _Step(model, target, precision, Path(staging) / title, calibrating, verifier, parent, misread)
                options_ = CompileOptions(extra=extra) if precision.is_float else quantising
                if extra.get("dry_run"):
                    receipt = Receipt((), search=step.compiled(options_)[0].search)
                    outcomes.append(Outcome(title, target.name, precision, None, receipt))
                    continue
                candidate = step.best(options_)
                if precision.is_float and parent is None:
                    parent = candidate.staged
                if precision not in wanted:  # compiled only to compare its quantised siblings with
                    continue
                refused = any(t.reason not in allowed for t in candidate.receipt.trips)
                path = None if refused else Path(out) / title
                receipt = candidate.receipt
                if path is not None:
                    try:
                        receipt = candidate.put(path, force)
                    except WouldLoseError as error:  # the others are written all the same
                        left.append(error)
                        continue
                seconds = round(time.monotonic() - start, 1)
                progress.note(f"{title}: {'refused' if refused else 'made'} in {seconds:.0f} s")
                outcomes.append(Outcome(title, target.name, precision, path, receipt, seconds))
    if left:
        raise left[0]
    return outcomes


@dataclass(frozen=True)
class _Candidate:
    """A package in the staging folder and what was found out about it."""

    staged: Package
    files: dict[str, bytes]
    receipt: Receipt
    artifact: Artifact

    def badness(self) -> tuple[bool, float]:
        """Whether it is too far from float, and how far at most."""
        rows = [m.value for m in self.receipt.measurements if m.name == "detection error"]
        tripped = any(t.reason is Reason.ACCURACY for t in self.receipt.trips)
        return tripped, max(rows, default=math.inf)

    def put(self, path: Path, force: bool) -> Receipt:
        return put_package(path, self.staged.manifest, self.files, self.receipt, force)


@dataclass(frozen=True)
class _Step:
    """One target and precision: compile, stage, verify; again with more in float when it trips."""

    model: Model
    target: Target
    precision: Precision
    stage: Path
    calibrating: Dataset | None
    verifier: Verifier
    parent: Package | None
    misread: tuple[Trip, ...] = ()  # what the user allowed of that

    def best(self, options: CompileOptions) -> _Candidate:
        """The first candidate that is accurate enough, else the one nearest to float."""
        candidate = best = self.attempt(options)
        tried: list[dict[str, Any]] = []
        for _ in range(_ATTEMPTS - 1):
            inaccurate = [t for t in candidate.receipt.trips if t.reason is Reason.ACCURACY]
            settings = candidate.artifact.settings
            chosen, kept = settings.get("float_layers"), settings.get("kept", "in float")
            if not inaccurate or options.float_layers is not None or chosen is None:
                return candidate
            tried.append({"kind": "attempt", "float_layers": chosen, "result": inaccurate[0].message})
            progress.note(f"  {inaccurate[0].message}; trying again with more layers {kept}")
            candidate = self.attempt(dataclasses.replace(options, float_layers=_MORE[kept] * chosen or 4), tried)
            best = min(best, candidate, key=_Candidate.badness)
        return best

    def compiled(self, options: CompileOptions) -> tuple[Artifact, Path]:
        progress.note(f"{self.stage.name}: compiling")
        quantised = self.calibrating is not None and not self.precision.is_float
        graph = self.model.graph.SerializeToString(deterministic=True)
        return compiled(
            self.model,
            self.target,
            self.precision,
            options,
            graph=hashlib.sha256(graph).hexdigest(),
            images=self.calibrating.fingerprint() if quantised and self.calibrating else "",
            float_layers=options.float_layers,
            extra=options.extra,
        )

    def attempt(self, options: CompileOptions, tried: Sequence[dict[str, Any]] = ()) -> _Candidate:
        artifact, folder = self.compiled(options)
        files = {name: (folder / name).read_bytes() for name in artifact.files}
        assert self.model.spec is not None
        files["labels.txt"] = ("\n".join(self.model.spec.labels) + "\n").encode()
        manifest = described(self.stage.name, self.model, self.target, self.precision, artifact)
        staged = write_package(self.stage, manifest, files, {})
        receipt = self.verifier.check(staged, artifact, self.target, self.parent)
        receipt = dataclasses.replace(
            receipt, steps=(repeats(folder),), search=(*tried, *receipt.search), trips=(*self.misread, *receipt.trips)
        )
        return _Candidate(staged, files, receipt, artifact)


def _named(path: str | Path | None) -> Path | None:
    return Path(path) if path else None
