"""Why a job failed, as AI Hub types it. Standard library only."""

from __future__ import annotations


class JobError(Exception):
    """`kind`: the name of a JobFailureType of `qai_hub`."""

    def __init__(self, reason: str, kind: str = "UNSUPPORTED", details: str = "") -> None:
        super().__init__(reason)
        self.reason, self.kind, self.details = reason, kind, details
