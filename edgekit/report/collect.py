"""What is known of each package: its manifest, its receipt, and the raw launches in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgekit.errors import MissingError, UsageError, guard
from edgekit.package import Manifest, Package
from edgekit.package.receipt import Receipt, read_receipt
from edgekit.profiling.figures import label, measurements
from edgekit.profiling.result import Result, summed_up
from edgekit.spec import to_json
from edgekit.store.database import Profile, Store, default_path


@dataclass(frozen=True)
class Measured:
    """The newest profile of a package on one device. `label` names device, chip and threads,
    in the words that receipts use."""

    label: str
    profile: Profile
    result: Result


@dataclass(frozen=True)
class Evidence:
    """One package. `receipt` has the figures of `measured` merged in."""

    path: Path
    manifest: Manifest
    manifest_sha256: str
    receipt: Receipt
    measured: tuple[Measured, ...]
    sustained: tuple[Measured, ...] = ()  # launches of minutes, apart: the newest on each device

    @property
    def labels(self) -> list[str]:
        """The devices that any figure of this package was measured on."""
        devices = [m.device for m in self.receipt.measurements if m.name in ("run median", "total median")]
        return sorted(set(devices))


def collect(paths: Sequence[str | Path], store: Path | None = None) -> list[Evidence]:
    """Read packages, each once, every byte checked. Raises IntegrityError, and UsageError when
    `store` is named but not there."""
    where = store or default_path()
    if store is not None and not store.exists():
        raise UsageError(f"There is no results database at {store}", "", "check --store, or leave it out")
    unique = {Path(p).resolve(): p for p in paths}.values()
    results = Store(where) if where.exists() else None  # a report must not create a database
    try:
        return [_evidence(path, results) for path in unique]
    finally:
        if results is not None:
            results.close()


def _evidence(given: str | Path, store: Store | None) -> Evidence:
    package = Package(given)
    path = Path(given).resolve()
    package.verify()
    receipt = read_receipt(package.receipt())
    found = _measured(package, store) if store else ()
    measured, sustained = (tuple(m for m in found if bool(m.result.sustained) is kind) for kind in (False, True))
    for one in found:
        receipt = receipt.with_measurements(measurements(one.result, one.profile.command))
    return Evidence(path, package.manifest, package.manifest_sha256, receipt, measured, sustained)


def _measured(package: Package, store: Store) -> tuple[Measured, ...]:
    newest: dict[tuple[str, bool], Measured] = {}
    what = f"The results database {store.path} cannot be read"
    with guard(MissingError, what, "choose another with --store FILE, or move it away"):
        for profile in store.for_package(package.manifest_sha256):
            _check(profile)
            launches = [x for x in profile.launches if x.samples_s.get("run")]
            if not launches:
                continue
            result = summed_up(package, profile.id, profile.device, launches)
            place = label(result)
            newest.setdefault((place, bool(result.sustained)), Measured(place, profile, result))
    return tuple(newest.values())


def _check(profile: Profile) -> None:
    """SQLite puts any kind of value into a column of text, and JSON can spell what is no character."""
    if not all(isinstance(t, str) for t in (profile.created, profile.session, profile.command)):
        raise ValueError(f"profile {profile.id} holds something else than text")
    datetime.fromisoformat(profile.created)
    json.dumps(to_json(profile), ensure_ascii=False).encode("utf-8")
