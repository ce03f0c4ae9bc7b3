"""Faults on demand: what a network, a service or a job may do wrong, when and how many times.

    KIND[=VALUE][:WHEN[+SKIP]][:TIMES]        fail-job=out of memory:compile    503:job-get+2:always

WHEN is a pattern of OPERATIONS, or of JOBS for faults of jobs; SKIP lets so many pass first. TIMES is
1 unless said. Standard library only.
"""

from __future__ import annotations

import fnmatch
import re
import threading
from dataclasses import dataclass
from typing import Any

ALWAYS = 0
OPERATIONS = (  # what requests ask for; `api.py` and `storage.py` answer them
    "user",
    "devices",
    "frameworks",
    "model-create",
    "model-list",
    "model-get",
    "model-upload-url",
    "model-complete",
    "model-download-url",
    "dataset-create",
    "dataset-list",
    "dataset-get",
    "dataset-upload-url",
    "dataset-complete",
    "dataset-download-url",
    "job-create",
    "job-list",
    "job-get",
    "job-update",
    "job-result",
    "job-artifacts",
    "storage-put",
    "storage-post",
    "storage-get",
)
JOBS = ("compile", "quantize", "link", "inference")
STATUSES = ("429", "500", "502", "503", "504")
KINDS = {  # and what they meet when nothing is said
    **dict.fromkeys(STATUSES, "*"),  # 429=SECONDS and 503=SECONDS send Retry-After
    "expired-token": "[!s]*",  # storage is signed, not authorised
    "drop-connection": "*",  # the work is done; =before: it is not; =within: half of the answer arrives
    "slow-response": "*",  # =SECONDS
    "truncated-upload": "storage-p*",  # half of it is lost, and nobody says so
    "incomplete-upload": "storage-p*",  # S3 says so
    "truncated-download": "storage-get",
    "corrupt-download": "storage-get",
    "fail-job": "*",  # =REASON
    "slow-job": "*",  # =SECONDS
}
OF_JOBS = ("fail-job", "slow-job")
UPLOAD = ("truncated-upload", "incomplete-upload")
DOWNLOAD = ("truncated-download", "corrupt-download")
ANSWER = (*STATUSES, "expired-token", "drop-connection", "slow-response")
_SHAPE = re.compile(r"([\w-]+)(?:=(.*?))?(?::(?!always$)([a-z*?\[\]!-]+)(?:\+(\d+))?)?(?::(\d+|always))?")


@dataclass
class Fault:
    kind: str
    value: str = ""
    when: str = ""
    skip: int = 0
    times: int = 1  # ALWAYS: for ever
    fired: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault {self.kind}; there are: {', '.join(KINDS)}")
        self.when = self.when or KINDS[self.kind]
        known = fnmatch.filter(JOBS if self.kind in OF_JOBS else OPERATIONS, KINDS[self.kind])
        if not fnmatch.filter(known, self.when):  # it would never strike
            raise ValueError(f"{self.kind} meets {', '.join(known)}; none of them is {self.when}")
        if self.kind.startswith("slow-") and not re.fullmatch(r"\d+(\.\d+)?", self.value):
            raise ValueError(f"{self.kind} takes seconds: {self.kind}=2.5")
        if self.kind == "drop-connection" and self.value not in ("", "before", "within"):
            raise ValueError("drop-connection takes before or within")

    @property
    def seconds(self) -> float:
        return float(self.value)


def parse(text: str) -> Fault:
    """Raises ValueError."""
    match = _SHAPE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not KIND[=VALUE][:WHEN[+SKIP]][:TIMES]")
    kind, value, when, skip, times = match.groups()
    count = ALWAYS if times == "always" else int(times or 1)
    return Fault(kind, value or "", when or "", int(skip or 0), count)


class Faults:
    """The faults that are still to come. Safe to use from several threads."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [vars(f).copy() for f in self._faults]

    def take(self, kinds: tuple[str, ...], where: str) -> Fault | None:
        """The first of these kinds that is due at `where`; it counts as fired."""
        with self._lock:
            for fault in self._faults:
                spent = fault.times != ALWAYS and fault.fired >= fault.times
                if fault.kind not in kinds or spent or not fnmatch.fnmatchcase(where, fault.when):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.fired += 1
                return fault
        return None
