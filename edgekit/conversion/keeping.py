"""A package put where one lies already: evidence about the same artefact is kept, and none is lost unasked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.errors import EdgekitError, UsageError
from edgekit.package import Content, Package, write_package
from edgekit.package.manifest import Manifest
from edgekit.package.receipt import Measurement, Reason, Receipt, Trip, read_receipt
from edgekit.tasks.base import Task, find_task

_SPEED = ("latency", "memory")
_FACTS = ("source", "size", "graph")  # counted, not taken on data


class WouldLoseError(UsageError):
    """A better known package lies where another is to be written."""


def put_package(path: Path, manifest: Manifest, files: Mapping[str, Content], receipt: Receipt, force: bool) -> Receipt:
    """Write the package and return its receipt. `manifest` lists the files' hashes.

    Where the same artefact lies there, what this run did not measure stays as it was. Raises WouldLoseError when
    another artefact lies there about which more is known, or the same, on more data; unless `force`.
    """
    there, task = _package_at(path), find_task(manifest.task)
    if there is not None:
        before, old = there
        same = (before.files, before.model, before.engine) == (manifest.files, manifest.model, manifest.engine)
        if same:
            if not force:
                _ask(path.name, old, receipt, task)
            receipt = merged(old, receipt, task.judged)
        elif not force and (lost := _lost(old, receipt, task)):
            raise WouldLoseError(
                f"{path.name} lies there already, and more is known about it: {', '.join(lost)}",
                "what would be written is another artefact, without that evidence",
                "give the same --eval; or --force to replace it, --out or --name to write beside it: what was "
                "compiled is kept for that",
            )
    write_package(path, manifest, files, receipt.to_dict())
    return receipt


def merged(old: Receipt, new: Receipt, judged: Collection[str]) -> Receipt:
    """What is known of one artefact from two receipts. `judged`: measurements that a verdict of accuracy goes by."""
    measurements: list[Measurement] = [m for m in new.measurements if m.group in _FACTS]
    trips: list[Trip] = []
    cannot_tell: list[Trip] = []
    not_checked: list[str] = []
    for topic in (Reason.ACCURACY, Reason.SLOWER):
        measured_now = topic is Reason.ACCURACY and _judged(new, judged) is not None
        keep = not measured_now and _samples(old, topic, judged) > _samples(new, topic, judged)
        better, other = (old, new) if keep else (new, old)
        rows = [m for m in better.measurements if _topic(m) is topic]
        known = {(m.group, m.name, m.device) for m in rows}
        measurements += rows
        measurements += [
            m for m in other.measurements if _topic(m) is topic and (m.group, m.name, m.device) not in known
        ]
        trips += [t for t in better.trips if _reason(t) is topic]
        cannot_tell += [t for t in better.cannot_tell if _reason(t) is topic]
        not_checked += [n for n in better.not_checked if _about_speed(n) == (topic is Reason.SLOWER)]
    return replace(
        new,
        measurements=tuple(measurements),
        trips=tuple(trips),
        cannot_tell=tuple(cannot_tell),
        not_checked=tuple(not_checked),
    )


def _ask(name: str, old: Receipt, new: Receipt, task: Task) -> None:
    """Raises WouldLoseError for accuracy on less data than before: what was asked for is not told apart from a
    slip, and an old figure must not be shown for a new one."""
    before, now = (_judged(r, task.judged) for r in (old, new))
    if before and now and before.samples > now.samples:
        raise WouldLoseError(
            f"{name} lies there already, and more is known about it: {before.name} on {before.samples}",
            f"this run measured it on {now.samples} ({now.note})",
            "evaluate on as much; or --force to keep what this run measured, --out or --name to write beside it: what "
            "was compiled is kept for that",
        )


def _judged(receipt: Receipt, judged: Collection[str]) -> Measurement | None:
    """The measurement that decided the verdict on accuracy, where there was data for it."""
    return next((m for m in receipt.measurements if m.name in judged), None)


def _package_at(path: Path) -> tuple[Manifest, Receipt] | None:
    """None for nothing, and for what is damaged: there is no evidence to lose."""
    try:
        package = Package(path)
        return package.manifest, read_receipt(package.receipt())
    except (EdgekitError, OSError, ValueError):
        return None


def _lost(old: Receipt, new: Receipt, task: Task) -> list[str]:
    """The measurements on data that only the old receipt has, each with its number of samples."""
    known = {m.name for m in new.measurements}
    return [f"{m.name} on {m.samples}" for m in old.measurements if m.name in {*task.evidence, "run"} - known]


def _topic(m: Measurement) -> Reason | None:
    if m.group in _FACTS:
        return None
    return Reason.SLOWER if m.group in _SPEED else Reason.ACCURACY


def _reason(trip: Trip) -> Reason:
    return Reason.SLOWER if trip.reason is Reason.SLOWER else Reason.ACCURACY


def _about_speed(text: str) -> bool:
    return text.startswith("speed")


def _samples(receipt: Receipt, topic: Reason, judged: Collection[str]) -> int:
    """Of the verdict's own measure where there is one: parity on noise is no accuracy on photographs."""
    deciding = {*judged, "ratio to float"}
    rows = [m for m in receipt.measurements if _topic(m) is topic]
    return max((m.samples + 10**9 * (m.name in deciding) for m in rows), default=0)
