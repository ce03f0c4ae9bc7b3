"""What the device asks of the page, and what the page answers: one job at a time, between two threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgekit.errors import DeviceError
from edgekit.runtime.engine import Array
from edgekit.spec.values import TensorSpec
from edgekit.system.documents import JsonObject

GONE_S = 30.0  # without a sign of the page, until it counts as closed
HIDDEN_S = 300.0  # the same while its screen is off: systems stop such pages
_STEP = 0.25  # seconds between two looks


@dataclass
class Job:
    """One launch, or one row of inputs after the other. `words` is what the page is told."""

    kind: str
    words: JsonObject
    folder: Path
    files: frozenset[str]
    inputs: Sequence[Mapping[str, Array]]
    wanted: tuple[TensorSpec, ...] = ()
    outputs: dict[tuple[int, int], bytes] = field(default_factory=dict)
    number: int = 0

    def input_bytes(self, row: int, name: str) -> bytes | None:
        if not 0 <= row < len(self.inputs) or name not in self.inputs[row]:
            return None
        return np.ascontiguousarray(self.inputs[row][name]).tobytes()

    def output_size(self, index: int) -> int:
        """Bytes of an output, by the manifest; -1 for one that there is not."""
        if not 0 <= index < len(self.wanted):
            return -1
        tensor = self.wanted[index]
        return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize


class Exchange:
    """Each method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._browser = ""
        self.facts: JsonObject = {}
        self._job: Job | None = None
        self._answer: JsonObject | None = None
        self._seen, self._hidden, self._count = 0.0, False, 0
        self.ended = self.told = False

    def claim(self, browser: str, facts: JsonObject | None = None) -> bool:
        """Whether this browser is the one that is measured: the first that says who it is."""
        with self._lock:
            if not self._browser and facts is not None:
                self._browser = browser
            if browser != self._browser or not browser:
                return False
            if facts is not None:
                self.facts = facts
            self._seen = time.monotonic()
            self._lock.notify_all()
            return True

    def beat(self, hidden: bool) -> bool:
        """Notes a sign of life; whether the page has just been hidden."""
        with self._lock:
            new = hidden and not self._hidden
            self._hidden = hidden
            return new

    def job(self) -> Job | None:
        with self._lock:
            return self._job

    def answer(self, number: int, answer: JsonObject) -> bool:
        with self._lock:
            if self._job is None or self._job.number != number:
                return False
            self._answer, self._job = answer, None
            self._lock.notify_all()
            return True

    def wait_open(self, seconds: float, address: str) -> JsonObject:
        """What the page says of its browser. Raises DeviceError when nobody opens it."""
        with self._lock:
            if not self._lock.wait_for(lambda: bool(self._browser), seconds):
                raise DeviceError(
                    f"Nobody opened the page within {seconds / 60:g} minutes",
                    f"it was at {address}",
                    "run it again, and open the new address; with --host the phone has to be in the same network",
                )
            return self.facts

    def ask(self, job: Job) -> JsonObject:
        """The page's answer. Raises DeviceError when the page goes, and what it says of its own failure."""
        with self._lock:
            self._count += 1
            job.number, self._answer, self._job = self._count, None, job
            self._seen = time.monotonic()
            while self._answer is None:
                self._lock.wait(_STEP)
                quiet = time.monotonic() - self._seen
                if self._answer is None and quiet > (HIDDEN_S if self._hidden else GONE_S):
                    self._job = None
                    raise DeviceError(
                        "The page was closed, or its phone went to sleep",
                        f"nothing was heard of it for {quiet:.0f} seconds",
                        "run it again, and keep the page open with the screen on",
                    )
            answer, self._answer = self._answer, None
        if "failed" in answer:
            raise DeviceError("The browser could not run the package", str(answer["failed"])[:300], "try -d local")
        return answer

    def end(self) -> None:
        with self._lock:
            self.ended = True
