"""convert(): one source into one package for each target and precision, each with its receipt.

source → model → compile (in a worker) → judge with the artefact itself → tripwires → package.
Every finished step is kept by content, so the same command continues where it was stopped. What depends on what the
model does is asked of its task (edgekit/tasks/base.py).
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import progress
from edgekit.backends.base import Artifact, CompileOptions
from edgekit.conversion.command import convert_command
from edgekit.conversion.compiling import compiled, described, repeats
from edgekit.conversion.keeping import WouldLoseError, put_package
from edgekit.conversion.options import Job, fitting
from edgekit.conversion.outcome import Outcome
from edgekit.conversion.reading import read_model, source_for
from edgekit.conversion.request import complete, planned_jobs, reasons
from edgekit.devices.address import timed_device
from edgekit.errors import UsageError
from edgekit.model import AnyModel
from edgekit.options import OptionValue
from edgekit.package import Content, Package, title_of, write_package
from edgekit.package.atomic import check_replaceable, check_writable
from edgekit.package.receipt import Reason, Receipt
from edgekit.package.search import Attempt
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.system.environment import prepare_conversion
from edgekit.target import Target
from edgekit.tasks.base import Data, Judge, Request, Task, find_task
from edgekit.tasks.order import float_first

_ATTEMPTS = 3


def convert(
    source: str | Path,
    targets: str | Sequence[str] = ("cpu",),
    *,
    precisions: str | Sequence[str] = (),
    out: str | Path = "dist",
    calibration: str | Path | None = None,
    eval: str | Path | None = None,
    name: str = "",
    task: str = "",
    options: SourceOptions | None = None,
    allow: Sequence[str] = (),
    launches: int = 5,
    device: str = "",
    merge: bool = False,
    via: str = "",
    force: bool = False,
    text: Mapping[str, OptionValue] | None = None,
    extra: Mapping[str, OptionValue] | None = None,
    **own: OptionValue | Path | None,
) -> list[Outcome]:
    """Convert `source` for each target and precision into `out/NAME-TARGET-PRECISION`.

    calibration, eval: data to quantise with and to measure accuracy on: folders of images (docs/detectors.md says which
    layouts; `eval` needs boxes) for detectors, text files for language models.
    task: what the model does, where its source may be read for several; its own by default.
    precisions: by default the one that the source is quantised to, where the target has it, else the target's first.
    options: how the source is read, where it does not say so: image size, labels, decoder, image preparation, context.
    allow: reasons ("accuracy", "slower", "misread") that do not refuse a package but stay in its verdict.
    launches: rounds of the latency tripwire; 0 leaves it out, and the receipt says so.
    device: where they run, as "ssh:pi@192.168.1.7" or a name of devices.toml; by default this machine, for targets that it
    can time. Its kind is one that a target's file names.
    merge: one package for the chips of all targets, which are Snapdragons then.
    via: "aihub" compiles Snapdragon targets at Qualcomm AI Hub, to which the model is sent then; with `dry_run=True`
    nothing is sent, and each outcome's receipt lists in `search` what would be.
    force: replace a package of which more is known, as its receipt says; without, that is an error.
    own: options of the task and of the service by name, as `float_layers=2`, `eval_windows=4` or `runtime="qnn_dlc"`:
    `edgekit convert --help` explains them. `text` and `extra` take the same as mappings.

    Returns an Outcome for each package, refused ones included. Raises EdgekitError otherwise.
    """
    prepare_conversion()
    reader = source_for(str(source))
    kind: Task = find_task(task or reader.task)
    if kind.form != reader.form:
        raise UsageError(
            f"{Path(source).name} cannot be {kind.words.article}", f"it is read as a {reader.form}", "leave --task out"
        )
    request = Request(
        source=str(source),
        out=Path(out),
        target_names=(targets,) if isinstance(targets, str) else tuple(targets),
        reading=options or SourceOptions(),
        precisions=(precisions,) if isinstance(precisions, str) else tuple(precisions),
        calibration=Path(calibration) if calibration else None,
        evaluation=Path(eval) if eval else None,
        name=name,
        task=task,
        allowed=reasons(allow),
        launches=launches,
        device=device,
        merge=merge,
        via=via,
        force=force,
    )
    request = complete(request, kind, {**(text or {}), **(extra or {}), **own})
    if not (request.service and request.service.dry_run):
        check_writable(request.out)  # before the minutes that a conversion takes
    data = kind.data(request)
    model = read_model(request.source, request.reading, kind.name)
    kind.check(model, data, request)
    natural = {t.name: kind.natural(model, t) for t in request.targets}
    jobs = planned_jobs(request, kind, natural)
    return _Conversion(request, kind, data, model).run(jobs)


@dataclass(frozen=True)
class _Candidate:
    """A package in the staging folder and what was found out about it."""

    staged: Package
    files: Mapping[str, Content]
    receipt: Receipt
    artifact: Artifact

    @property
    def tripped(self) -> bool:
        return any(t.reason is Reason.ACCURACY for t in self.receipt.trips)


@dataclass(frozen=True)
class _Conversion:
    """One model, for all targets and precisions that were asked for."""

    request: Request
    task: Task
    data: Data
    model: AnyModel

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        for target, precisions in jobs:
            for precision in precisions:
                check_replaceable(self.request.out / self._title(target, precision))
        outcomes: list[Outcome] = []
        lost: list[WouldLoseError] = []
        command = convert_command(self.request, self.task)
        judge = self.task.judge(self.model, self.data, self.request, command, self._read)
        try:
            if not self._dry:
                judge.check_original()
            with tempfile.TemporaryDirectory(prefix="edgekit-") as staging:
                for target, precisions in jobs:
                    outcomes += self._packages(target, precisions, Path(staging), judge, lost)
        finally:
            judge.close()
        if lost:  # the others are written all the same
            raise lost[0]
        return outcomes

    def _packages(
        self, target: Target, precisions: Sequence[Precision], staging: Path, judge: Judge, lost: list[WouldLoseError]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        parent: Package | None = None
        timed = bool(self.request.launches and timed_device(target.devices, self.request.device)) and not self._dry
        order = self.task.order(self.model, target, precisions) if timed else float_first(precisions)
        for precision in order:
            step = _Step(self, target, precision, staging / self._title(target, precision), judge, parent)
            start = time.monotonic()
            if self._dry:
                receipt = Receipt((), search=step.compiled(step.options)[0].search)
                outcomes.append(Outcome(step.title, target.name, precision, None, receipt))
                continue
            if precision not in precisions:  # compiled only to time its siblings against
                parent = step.staged(step.options).staged
                continue
            candidate = step.best()
            if precision.is_float and parent is None:
                parent = candidate.staged
            refused = any(t.reason not in self.request.allowed for t in candidate.receipt.trips)
            path, receipt = None if refused else self.request.out / step.title, candidate.receipt
            if path is not None:
                try:
                    receipt = put_package(path, candidate.staged.manifest, candidate.files, receipt, self.request.force)
                except WouldLoseError as error:
                    lost.append(error)
                    continue
            seconds = round(time.monotonic() - start, 1)
            progress.note(f"{step.title}: {'refused' if refused else 'made'} in {seconds:.0f} s")
            outcomes.append(Outcome(step.title, target.name, precision, path, receipt, seconds, self.task.name))
        return outcomes

    @property
    def _dry(self) -> bool:
        return self.request.service is not None and self.request.service.dry_run

    def _title(self, target: Target, precision: Precision) -> str:
        name = self.request.name or title_of(self.model.name)
        suffix = self.task.suffix(fitting(self.request.values, self.task, target, precision))
        return f"{name}-{target.name}-{precision}{suffix}"

    def _read(self, source: str, options: SourceOptions) -> AnyModel:
        return read_model(source, options, self.task.name)


@dataclass(frozen=True)
class _Step:
    """One target and precision: compile, stage, judge; again with other options where the task knows better ones."""

    conversion: _Conversion
    target: Target
    precision: Precision
    stage: Path
    judge: Judge
    parent: Package | None

    @property
    def title(self) -> str:
        return self.stage.name

    @property
    def options(self) -> CompileOptions:
        request, data = self.conversion.request, self.conversion.data
        values = fitting(request.values, self.conversion.task, self.target, self.precision)
        if self.precision.is_float or request.calibration is None:
            return CompileOptions(values=values, service=request.service)
        where, count = str(request.calibration.resolve()), data.calibration_count
        return CompileOptions(where, count, data.calibration_sha256, values, request.service)

    def best(self) -> _Candidate:
        """The first candidate that is accurate enough, else the one nearest to float."""
        first = options = self.options
        task, rows = self.conversion.task, []
        candidate = best = self.judged(options)
        for _ in range(_ATTEMPTS - 1):
            retry = task.retry(candidate.artifact, candidate.receipt, first)
            if retry is None:
                return candidate
            rows.append(retry.row)
            progress.note(f"  {retry.why}")
            candidate = self.judged(retry.options, rows)
            best = min(best, candidate, key=lambda c: (c.tripped, task.remoteness(c.receipt)))
        return best

    def compiled(self, options: CompileOptions) -> tuple[Artifact, Path]:
        progress.note(f"{self.title}: compiling")
        return compiled(self.conversion.model, self.target, self.precision, options)

    def staged(self, options: CompileOptions) -> _Candidate:
        """The package as it would be written, without a receipt."""
        artifact, folder = self.compiled(options)
        model, root = self.conversion.model, Path(artifact.root)
        files: dict[str, Content] = {Path(n).relative_to(root).as_posix(): folder / n for n in artifact.files}
        files |= self.conversion.task.files(model)
        manifest = described(self.title, model, self.target, self.precision, artifact)
        staged = write_package(self.stage, manifest, files, {})
        steps = (convert_command(self.conversion.request, self.conversion.task), repeats(folder))
        return _Candidate(staged, files, Receipt((), steps=steps), artifact)

    def judged(self, options: CompileOptions, rows: Sequence[Attempt] = ()) -> _Candidate:
        """`rows`: of the attempts before."""
        candidate = self.staged(options)
        receipt = self.judge.check(candidate.staged, candidate.artifact, self.target, self.parent)
        receipt = dataclasses.replace(receipt, steps=candidate.receipt.steps, search=(*rows, *receipt.search))
        return dataclasses.replace(candidate, receipt=receipt)
