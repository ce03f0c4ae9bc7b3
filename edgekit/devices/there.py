"""What is asked of a device by a machine that reaches it: one process a question, JSON as the answer.

    python -P -m edgekit.devices.there info
    python -P -m edgekit.devices.there readings
    python -P -m edgekit.devices.there launch PACKAGE PLAN
    python -P -m edgekit.devices.there operators PACKAGE PLAN

The device measures itself as `-d local` does there, in fresh processes and with its own sensors. PLAN is JSON. Nobody
else of edgekit measures there meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit.devices.base import Plan
from edgekit.devices.local import LocalDevice
from edgekit.devices.record import launch_to_json
from edgekit.devices.sensors import readings
from edgekit.errors import DeviceError, EdgekitError, UsageError
from edgekit.spec import from_json, to_json
from edgekit.system.documents import JsonObject


def main(verb: str, package: str = "", plan: str = "{}") -> JsonObject:
    if verb == "info":
        info: JsonObject = to_json(LocalDevice().info())
        return info
    if verb == "readings":
        return dict(readings())
    measure = from_json(Plan, json.loads(plan))
    with _alone(Path(package).parent):
        if verb == "launch":
            return launch_to_json(LocalDevice().run(Path(package), measure))
        if verb == "operators":
            return LocalDevice().operators(Path(package), measure)
    raise UsageError(f"A device is not asked to {verb}", "", "use the same edgekit on both sides")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two launches at once would measure each other."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / "measuring.lock").open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DeviceError(
                "Somebody else measures on this device", "two at once would slow each other", "wait until they are done"
            ) from error
        yield


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except EdgekitError as error:
        print(json.dumps(error.to_dict()))
        sys.exit(error.exit_code)
