"""What the emulator knows, in files: it may be killed at any moment and started again.

    STATE/models/mabcdefgh/record.json   and the file itself
    STATE/datasets/dabcdefgh/…           STATE/jobs/jabcdefgh/…

A record appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import string
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

_ID = re.compile(r"[mdj][a-z0-9]{8}")
_LETTERS = string.ascii_lowercase + string.digits
_MONTH = 30 * 24 * 3600

R = TypeVar("R", bound="Record")


@dataclass
class Record:
    folder: ClassVar[str] = ""
    letter: ClassVar[str] = ""
    name: str = ""
    id: str = ""
    created: float = field(default_factory=time.time)


@dataclass
class ModelRecord(Record):
    folder: ClassVar[str] = "models"
    letter: ClassVar[str] = "m"
    type: str = ""  # as qai_hub names it: ONNX, QNN_DLC
    directory: bool = False
    uploaded: bool = False
    producer: str = ""  # the job that makes it
    secret: str = field(default_factory=lambda: secrets.token_hex(16))  # signs its addresses
    metadata: dict[str, str] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class DatasetRecord(Record):
    folder: ClassVar[str] = "datasets"
    letter: ClassVar[str] = "d"
    permanent: bool = False
    uploaded: bool = False
    secret: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def expires(self) -> float:
        return self.created + _MONTH


@dataclass
class JobRecord(Record):
    folder: ClassVar[str] = "jobs"
    letter: ClassVar[str] = "j"
    kind: str = ""  # compile, quantize, link, inference
    state: str = "CREATED"
    options: str = ""
    models: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)  # the first one runs it
    dataset: str = ""
    target: str = ""  # the model it makes
    output: str = ""  # the dataset it makes
    specs: list[dict[str, Any]] = field(default_factory=list)  # of inputs, as asked for
    found_specs: list[dict[str, Any]] = field(default_factory=list)  # and as they came out
    weights: str = ""
    activations: str = ""
    profile: bool = False
    attempt: int = 0
    started: float = 0.0
    completed: float = 0.0
    reason: str = ""
    details: str = ""
    failure: str = ""  # as qai_hub types it: MODEL_CORRUPT
    detail: dict[str, Any] = field(default_factory=dict)  # the profile, the versions of tools

    @property
    def finished(self) -> bool:
        return self.state in ("DONE", "FAILED")


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.incoming = root / "incoming"
        for name in ("models", "datasets", "jobs", "incoming"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for left in self.incoming.iterdir():  # what a killed server was receiving
            left.unlink()

    def create(self, record: R) -> R:
        record.id = record.letter + "".join(secrets.choice(_LETTERS) for _ in range(8))
        self.place(record).mkdir()
        self.save(record)
        return record

    def save(self, record: Record) -> None:
        write_json(self.place(record) / "record.json", asdict(record))

    def find(self, kind: type[R], id: str) -> R | None:
        if not _ID.fullmatch(id):
            return None
        try:
            data = json.loads((self.root / kind.folder / id / "record.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        known = {f.name for f in fields(kind)}
        return kind(**{k: v for k, v in data.items() if k in known})

    def every(self, kind: type[R]) -> list[R]:
        """All records, newest first, as AI Hub lists them."""
        ids = [p.name for p in (self.root / kind.folder).iterdir()]
        records = [r for r in (self.find(kind, i) for i in ids) if r]
        return sorted(records, key=lambda r: r.created, reverse=True)

    def place(self, record: Record) -> Path:
        return self.root / record.folder / record.id

    def blob(self, record: ModelRecord | DatasetRecord) -> Path:
        return self.place(record) / "blob"

    def attempt(self, job: JobRecord) -> Path:
        """The folder a job runs in; another one for each time it is started."""
        return self.place(job) / f"attempt-{job.attempt}"

    def part(self, model: ModelRecord, number: int) -> Path:
        return self.place(model) / f"part-{number}"

    def join(self, model: ModelRecord, parts: int) -> None:
        """The parts of an upload become the model's file."""
        with tempfile.NamedTemporaryFile(dir=self.incoming, delete=False) as whole:
            for number in range(parts):
                with self.part(model, number).open("rb") as part:
                    shutil.copyfileobj(part, whole)
        os.replace(whole.name, self.blob(model))
        for path in self.place(model).glob("part-*"):
            path.unlink()


def write_json(path: Path, data: Any) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump(data, file, indent=1)
    os.replace(file.name, path)
