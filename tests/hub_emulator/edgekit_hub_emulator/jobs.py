"""Runs jobs one after another, each in a process of edgekit's own environment (`work.py`).

A job that a killed emulator left behind is started again from its beginning.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from edgekit_hub_emulator import MARK, SUFFIX, datasets
from edgekit_hub_emulator.devices import select
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.faults import Fault, Faults
from edgekit_hub_emulator.store import DatasetRecord, JobRecord, ModelRecord, Store, write_json

_RUNNING = {"compile": "OPTIMIZING_MODEL", "quantize": "QUANTIZING_MODEL", "link": "LINKING_MODELS"}
LOG = "log.txt"  # in the folder of an attempt
_MODULE = "edgekit_hub_emulator.work"


class Runner:
    def __init__(self, store: Store, faults: Faults, python: str, path: str = "") -> None:
        """`python`: edgekit's interpreter; `path`: the folder it finds edgekit in. It finds this package in the
        package's own folder."""
        self.store, self.faults, self.python = store, faults, python
        own, inherited = str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in (path, own, inherited) if p),
            "ORT_DISABLE_TELEMETRY": "1",
            "EDGEKIT_QUIET": "1",
        }
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        for job in self.store.every(JobRecord):
            if not job.finished:
                job.state = "CREATED"
                self.store.save(job)
        self._thread.start()
        self.wake()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        process = self._process
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        self._thread.join(10)

    @functools.cache  # noqa: B019  (one runner a process)
    def toolchain(self) -> dict[str, str]:
        """Versions of what compiles and runs models; empty when edgekit's environment is broken."""
        ran = subprocess.run(
            [self.python, "-P", "-m", _MODULE, "--versions"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
        return dict(json.loads(ran.stdout)) if ran.returncode == 0 else {}

    def _loop(self) -> None:
        while not self._stopped.is_set():
            waiting = [j for j in self.store.every(JobRecord) if not j.finished]
            if not waiting:
                self._wake.wait()
                self._wake.clear()
                continue
            self._run(waiting[-1])  # the oldest: what it needs was asked for before it

    def _run(self, job: JobRecord) -> None:
        job = self._update(job, attempt=job.attempt + 1, started=time.time())
        folder = self.store.attempt(job)
        try:
            folder.mkdir()
            (folder / LOG).write_text(f"{MARK}: a job of edgekit's emulator of AI Hub\n", encoding="utf-8")
            self._update(job, state=_RUNNING.get(job.kind, "PROVISIONING_DEVICE"))
            self._strike(job)
            self._prepare(job, folder)
            if job.kind == "inference":
                self._update(job, state="MEASURING_PERFORMANCE" if job.profile else "RUNNING_INFERENCE")
            result = self._work(folder)
            if not self._stopped.is_set():
                self._finish(job, folder, result)
        except JobError as error:
            self._fail(job, error)
        except Exception as error:  # the jobs after it must not wait for ever
            traceback.print_exc()
            why = f"The emulator has a defect: {type(error).__name__}: {error}"
            self._fail(job, JobError(why, "INTERNAL_LOGIC", traceback.format_exc()))

    def _fail(self, job: JobRecord, error: JobError) -> None:
        if not self._stopped.is_set():  # else it is started again by the next emulator
            self._update(
                job,
                state="FAILED",
                reason=error.reason,
                failure=error.kind,
                details=error.details,
                completed=time.time(),
            )

    def _strike(self, job: JobRecord) -> None:
        slow = self.faults.take(("slow-job",), job.kind)
        if slow:
            self._stopped.wait(slow.seconds)
        fault: Fault | None = self.faults.take(("fail-job",), job.kind)
        if fault:
            raise JobError(fault.value or "This job was made to fail.", "UNKNOWN")

    def _prepare(self, job: JobRecord, folder: Path) -> None:
        """Everything the worker needs, in `job.json`."""
        task: dict[str, Any] = {
            "kind": job.kind,
            "options": job.options,
            "specs": job.specs,
            "profile": job.profile,
            "weights": job.weights,
            "activations": job.activations,
            "target": "",
            "models": [self._model(i) for i in job.models],
            "dataset": "",
            "devices": [self._device(n) for n in job.devices],
        }
        target = self.store.find(ModelRecord, job.target)
        if target:
            task["target"] = target.name
        data = self.store.find(DatasetRecord, job.dataset)
        if job.dataset:
            if not data or not data.uploaded:
                raise JobError(f"Dataset {job.dataset} was never uploaded.", "INVALID_INPUTS")
            try:
                datasets.to_npz(self.store.blob(data), folder / "dataset.npz")
            except ValueError as error:
                raise JobError(f"Dataset {data.id} cannot be read: {error}", "INVALID_INPUTS") from error
            task["dataset"] = "dataset.npz"
        write_json(folder / "job.json", task)

    def _model(self, id: str) -> dict[str, Any]:
        model = self.store.find(ModelRecord, id)
        if not model:
            raise JobError(f"Model {id} is gone.", "CLOUD_RESOURCE_MISSING")
        producer = self.store.find(JobRecord, model.producer)
        if producer and producer.state == "FAILED":
            why = f"Model {id} does not exist: the job that makes it, {producer.id}, failed."
            raise JobError(why, "RUNTIME_FAILED_DEPENDENCY")
        if not model.uploaded:
            raise JobError(f"Model {id} was never uploaded.", "CLOUD_RESOURCE_MISSING")
        made_in = str(self.store.attempt(producer)) if producer else ""
        return {
            "id": model.id,
            "name": model.name,
            "type": model.type,
            "directory": model.directory,
            "path": str(self.store.blob(model)),
            "producer": made_in,
        }

    def _device(self, name: str) -> dict[str, Any]:
        matches = select(name)
        if not matches:
            raise JobError(f"Device {name} is gone.", "CLOUD_RESOURCE_MISSING")
        chip = matches[0].chip
        return {
            "name": name,
            "soc": chip.soc,
            "soc_id": chip.soc_id,
            "htp": chip.htp,
            "fp16": chip.fp16,
            "system": matches[0].system,
        }

    def _work(self, folder: Path) -> dict[str, Any]:
        """Raises JobError with what the worker said, or with how it died."""
        command = [self.python, "-P", "-m", _MODULE, str(folder), "--watched"]
        with (folder / LOG).open("ab") as log:
            # Its stdin is how it sees that this process is gone.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=self._environment
            )
            self._process.wait()
        code = self._process.returncode
        if self._process.stdin:
            self._process.stdin.close()
        try:
            result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            tail = (folder / LOG).read_text(errors="replace", encoding="utf-8")[-2000:]
            raise JobError(f"The worker died: {how}.", "RUNTIME_CRASH", tail) from None
        if "reason" in result:
            raise JobError(result["reason"], result["failure"], result.get("details", ""))
        return result

    def _finish(self, job: JobRecord, folder: Path, result: dict[str, Any]) -> None:
        model = self.store.find(ModelRecord, job.target)
        if model:
            shutil.copyfile(folder / result["file"], self.store.place(model) / "blob.new")
            os.replace(self.store.place(model) / "blob.new", self.store.blob(model))
            model.uploaded = True
            model.metadata = result.get("metadata", {})
            model.inputs, model.outputs = result["inputs"], result["outputs"]
            self.store.save(model)
        output = ""
        if result.get("dataset"):
            data = self.store.create(DatasetRecord(f"job_{job.id}_outputs{SUFFIX}"))
            datasets.to_h5(folder / result["dataset"], self.store.blob(data))
            data.uploaded = True
            self.store.save(data)
            output = data.id
        self._update(
            job,
            state="DONE",
            completed=time.time(),
            output=output,
            found_specs=result.get("inputs", []),
            detail=result.get("detail", {}),
        )

    def _update(self, job: JobRecord, **values: Any) -> JobRecord:
        with self.store.lock:
            current = self.store.find(JobRecord, job.id) or job  # its name may have been changed
            for target in (current, job):
                for name, value in values.items():
                    setattr(target, name, value)
            self.store.save(current)
        return current
