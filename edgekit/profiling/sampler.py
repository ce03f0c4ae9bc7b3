"""Profile packages: interleaved launches on one device, stored raw, summed up in receipts."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import progress
from edgekit.devices.address import open_device
from edgekit.devices.base import Device, Plan
from edgekit.devices.care import Choosy
from edgekit.devices.record import Launch
from edgekit.errors import GateError, UsageError
from edgekit.package import Package
from edgekit.package.receipt import read_receipt
from edgekit.profiling.agreement import agreement
from edgekit.profiling.figures import measurements
from edgekit.profiling.result import Result, summed_up
from edgekit.profiling.statistics import Ratio, ratio
from edgekit.spec import graph_of
from edgekit.store.database import Store


def profile(
    packages: Sequence[str | Path | Package] | str | Path | Package,
    device: str | Device = "local",
    *,
    launches: int = 5,
    plan: Plan | None = None,
    store: Store | None = None,
    record: bool = True,
    strict: bool = False,
) -> list[Result]:
    """Measure packages on a device: `launches` rounds, each package once a round, in an order
    that alternates, so that a slow drift of the machine falls on all of them alike.

    `record`: write the figures into each package's receipt. `strict`: not those of noisy or throttled launches, or of a
    device that gives other outputs, which raise GateError; the raw samples are kept. Raises DeviceError, IntegrityError,
    and UsageError for what the plan asks of a device that cannot do it.
    """
    if launches < 1:
        raise UsageError(f"{launches} launches measure nothing", "", "use 2 or more")
    given = [packages] if isinstance(packages, (str, Path, Package)) else packages
    opened = [p if isinstance(p, Package) else Package(p) for p in given]
    for package in opened:
        package.verify()
    where = open_device(device) if isinstance(device, str) else device
    plan, own_store = plan or Plan(), store is None
    _check_plan(plan, where, opened)
    if isinstance(where, Choosy):
        for package in opened:
            where.check(package.folder)
    store = store or Store()
    try:
        info, session = where.info(), uuid.uuid4().hex
        command = _command(opened, info.name, launches, plan)
        ids = [store.begin(session, p.manifest.name, p.manifest_sha256, info, plan, command) for p in opened]
        sessions: list[list[Launch]] = [[] for _ in opened]
        same = [agreement(p, where) if getattr(where, "elsewhere", False) else () for p in opened]
        order = [(n, i) for n in range(launches) for i in _alternating(len(opened), n)]
        what = f"profiling on {info.name}"
        for position, (_, index) in enumerate(progress.track(order, what, len(order))):
            launch = where.run(opened[index].folder, plan)
            store.add_launch(ids[index], position, launch)
            sessions[index].append(launch)
        where.finished()
        results = [replace(summed_up(p, i, info, s), agreement=a) for p, i, s, a in zip(opened, ids, sessions, same)]
    finally:
        if own_store:
            store.close()
    if strict:
        _check_quiet(results)
    if record:
        for package, result in zip(opened, results):
            if package.path.is_dir():  # an .edgepkg file stays as it was packed
                _record(package, result, command)
    return results


def _command(packages: Sequence[Package], device: str, launches: int, plan: Plan) -> str:
    """Packages by name: the folders of this machine say nothing elsewhere."""
    names = shlex.join(p.path.name for p in packages)
    more = f" --threads {plan.threads}" if plan.threads else ""
    more += f" --sustained {plan.sustained_s:g}s" if plan.sustained_s else ""
    more += f" --streams {plan.streams}" if plan.streams > 1 else ""
    more += " --images DATA" if plan.images else ""
    return (
        f"edgekit profile {names} -d {shlex.quote(device)} --launches {launches} --iterations {plan.iterations}"
        f" --warmup {plan.warmup} --seconds {plan.seconds:g}{more}"
    )


def _check_plan(plan: Plan, device: Device, packages: Sequence[Package]) -> None:
    can: frozenset[str] = getattr(device, "plans", frozenset())  # kinds made before there were any have none
    words = {"sustained_s": "sustained launches", "streams": "several streams", "images": "images of one's own"}
    for name, what in words.items():
        if getattr(plan, name) != getattr(Plan(), name) and name not in can:
            raise UsageError(
                f"The device {device.name} does not measure {what}", "", "leave it out, or take another device"
            )

    text = [p.manifest.name for p in packages if graph_of(p.manifest.model) is None]
    if plan.images and text:
        raise UsageError(f"{text[0]} reads no images", "it is no graph of tensors", "leave --images out")


def _check_quiet(results: Sequence[Result]) -> None:
    """Raises GateError naming what was not as it should be."""
    wrong = [f"{r.package}: {w}" for r in results for w in r.warnings]
    wrong += [
        f"{r.package}: {a.output} differs from here, {a.snr_db:.0f} dB"
        for r in results
        for a in r.agreement
        if not a.good
    ]
    if wrong:
        raise GateError(
            "The measurement is not clean, and nothing was recorded", "; ".join(wrong), "try again when it is quiet"
        )


def compare(a: Result, b: Result) -> dict[str, Ratio]:
    """Ratios a/b of two results measured in one interleaved session."""
    return {
        "run": ratio([x.samples_s["run"] for x in a.launches], [x.samples_s["run"] for x in b.launches], True),
        "total": ratio([x.totals() for x in a.launches], [x.totals() for x in b.launches], True),
    }


def _alternating(count: int, turn: int) -> list[int]:
    order = list(range(count))
    return order if turn % 2 == 0 else order[::-1]


def _record(package: Package, result: Result, command: str) -> None:
    receipt = read_receipt(package.receipt())
    package.replace_receipt(receipt.with_measurements(measurements(result, command)).to_dict())
