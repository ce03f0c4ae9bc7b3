"""AI Hub by content: what was sent or asked for once is found again, never sent or asked twice.

The ledger remembers ids. Where it knows only that something was begun, names tell whether it
arrived: they hold the hash of what they name.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from edgekit import progress
from edgekit.aihub.connection import Connection, GoneError, PassingError
from edgekit.aihub.ledger import Ledger, key
from edgekit.errors import RemoteError, UsageError
from edgekit.package.search import Job
from edgekit.progress import Progress
from edgekit.runtime.engine import Array
from edgekit.sources.files import sha256
from edgekit.system.documents import JsonObject

EMULATED = "emulated"  # in what an emulator says of itself; a real AI Hub never does
_POLL = (1.0, 10.0)  # seconds between questions: at first, at last
_DAMAGED = re.compile(r"corrupt|truncat|cannot be read|never uploaded|not a valid", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A job to run. `number` tells apart those that are alike: the launches of a profile."""

    kind: str  # compile, quantize, link, inference
    title: str
    models: tuple[str, ...]
    device: str = ""
    options: str = ""
    dataset: str = ""
    profile: bool = False
    weights: str = ""
    activations: str = ""
    number: int = 0


@dataclass(frozen=True)
class Done:
    """A job that ended well. `model`: the id of what it made."""

    id: str
    kind: str
    url: str
    hub: str  # what runs the service
    model: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        return EMULATED in self.hub

    def row(self, device: str) -> Job:
        """The job as a row of the receipt."""
        return Job(self.kind, self.id, self.url, device, self.emulated)


class Hub:
    def __init__(
        self, report: Progress = progress.report, connection: Connection | None = None, ledger: Ledger | None = None
    ) -> None:
        """Raises MissingError when the client, its token or a place for the ledger is not there."""
        self._report, self._ledger = report, ledger or Ledger()
        self.connection = connection or Connection()
        self.url = self.connection.url
        self._sent: set[str] = set()  # keys of uploads that a job may find damaged

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()

    def device(self, name: str) -> JsonObject:
        """What the service says of a device. Raises UsageError naming those that are like it."""
        devices = self.connection.call("devices")
        for device in devices:
            if name in (device["name"], device["name"].partition(f" ({EMULATED}")[0]):
                return dict(device)
        import difflib

        names = sorted({d["name"] for d in devices})
        close = difflib.get_close_matches(name, names, 5, 0.5) or names[:5]
        raise UsageError(f"AI Hub has no device {name}", "", f"it has {', '.join(close)} … ({len(names)} in all)")

    def toolchain(self, version: str, local: str) -> str:
        """The QAIRT version to ask for: `version`, else the one that is also here, else the service's
        default. Pinned, so that a resumed run and its parts all use one."""
        offered = self.connection.call("toolchains")
        versions = [t["version"] for t in offered]
        if version:
            if version not in versions:
                raise UsageError(f"AI Hub has no QAIRT {version}", "", f"it has {', '.join(versions)}")
            return version
        here = ".".join(local.split(".")[:2])
        default = next((t["version"] for t in offered if "default" in t["tags"]), "")
        return here if here in versions else default

    # what is sent

    def model(self, sha: str, name: str, make: Callable[[Path], Path]) -> str:
        """The id of a model whose content is `sha`; `make(folder)` writes what to upload, if it must."""
        title = f"edgekit-{sha[:24]}-{name}"
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            return self._uploaded(
                "model",
                sha,
                title,
                lambda: self.connection.once("upload_model", path=str(make(Path(folder))), name=title),
            )

    def model_is(self, sha: str, id: str) -> None:
        """Records that the service has this model already, so that it is not uploaded again."""
        self._ledger.known(self._key("model", sha), "downloaded", id)

    def dataset(self, arrays: Mapping[str, Array], name: str) -> str:
        """The id of a dataset; samples lie along the first axis of each array."""
        sha = dataset_sha(arrays)
        title = f"edgekit-{sha[:24]}-{name}"
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            path = Path(folder) / "data.npz"
            np.savez(path, **arrays)  # type: ignore[arg-type]
            return self._uploaded(
                "dataset", sha, title, lambda: self.connection.once("upload_dataset", path=str(path), name=title)
            )

    def _uploaded(self, kind: str, sha: str, name: str, send: Callable[[], str]) -> str:
        entry_key = self._key(kind, sha)
        self._sent.add(entry_key)
        entry = self._ledger.find(entry_key)
        if entry and entry.id and self.connection.call(f"has_{kind}", id=entry.id):
            return entry.id

        def find() -> str:
            return str(self.connection.call(f"find_{kind}", name=name))

        id = find() if entry else ""
        if not id:
            self._ledger.begin(entry_key, name)
            self._report(f"sending {kind} to AI Hub", 0, 1)
            id = self._once(send, find)
            self._report(f"sending {kind} to AI Hub", 1, 1)
        self._ledger.known(entry_key, name, id)
        return id

    # jobs

    def job(self, request: Request) -> Done:
        """Runs it, or waits for the one that an earlier run asked for. Raises RemoteError with the
        service's reason when it fails."""
        entry_key = self._job_key(request)
        name = f"edgekit {request.title} {entry_key[:20]}"
        own = ("title", "number", "weights", "activations")
        arguments = {k: v for k, v in asdict(request).items() if k not in own}
        arguments["dtypes"] = [request.weights, request.activations]

        def find() -> str:
            return str(self.connection.call("find_job", name=name))

        entry = self._ledger.find(entry_key)
        id = (entry.id or find()) if entry else ""
        for _ in range(2):
            if not id:
                self._ledger.begin(entry_key, name)
                id = self._once(lambda: str(self.connection.once("submit", name=name, **arguments)), find)
            self._ledger.known(entry_key, name, id)
            with contextlib.suppress(GoneError):  # a job of long ago, or of another account
                return self._wait(request, entry_key, id)
            id = ""
        raise RemoteError(f"AI Hub lost the {request.kind} job {request.title}", "", "try again")

    def used(self, request: Request) -> None:
        """Records that the job's result is stored: the next equal request is a new measurement."""
        self._ledger.forget(self._job_key(request))

    def _wait(self, request: Request, entry_key: str, id: str) -> Done:
        pause = _POLL[0]
        label = f"AI Hub {request.kind} {id}"
        while True:
            state = self.connection.call("job", id=id)
            if state["finished"]:
                break
            self._report(label, 0, 1)
            time.sleep(pause)
            pause = min(pause * 1.3, _POLL[1])
        if not state["success"]:
            self._failed(request, entry_key, id, state)
        self._report(label, 1, 1)
        return Done(
            id,
            request.kind,
            state["url"],
            state["hub"],
            state.get("model", ""),
            state.get("versions", {}),
            state.get("metadata", {}),
        )

    def _failed(self, request: Request, entry_key: str, id: str, state: JsonObject) -> None:
        self._ledger.forget(entry_key)  # else the same command would find it again
        reason = " ".join(state["message"].split()) or "AI Hub gives no reason"
        advice = _advice(request, reason)
        if _DAMAGED.search(reason):
            for sent in self._sent:
                self._ledger.forget(sent)
            advice = "the same command sends the file anew"
        raise RemoteError(
            f"AI Hub's {request.kind} job {id} failed", reason[:700], f"{advice}; its log: {state['url']}"
        )

    def _once(self, act: Callable[[], str], find: Callable[[], str]) -> str:
        """Makes a call that must not be made twice: when an answer is lost, checks whether it took effect."""
        pause, end = 1.0, time.monotonic() + self.connection.patience
        while True:
            try:
                return act()
            except PassingError as error:
                if time.monotonic() + pause > end:
                    raise
                progress.note(f"  {error.what}; trying again in {pause:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, 60.0)
            done = find()
            if done:
                return done

    # what comes back

    def download(self, model: str, folder: Path) -> Path:
        """Downloads a model; twice where the file has no checksum, and both files must be equal."""
        first = self._fetch(model, folder / "1")
        if first.name.endswith(".zip"):
            return first
        if sha256(first) != sha256(self._fetch(model, folder / "2")):
            raise RemoteError(
                f"AI Hub gave two different files for model {model}",
                "a transfer was damaged",
                "run the same command again",
            )
        return first

    def _fetch(self, model: str, place: Path) -> Path:
        place.mkdir(parents=True)
        return Path(self.connection.call("download_model", id=model, folder=str(place)))

    def outputs(self, job: Done, folder: Path) -> dict[str, Array]:
        """What an inference job gave, samples along the first axis."""
        path = folder / "outputs.npz"
        names = self.connection.call("outputs", id=job.id, path=str(path))
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}

    def profile(self, job: Done) -> JsonObject:
        return dict(self.connection.call("profile", id=job.id))

    def _key(self, kind: str, sha: str) -> str:
        return key(url=self.url, kind=kind, sha256=sha)

    def _job_key(self, request: Request) -> str:
        return key(url=self.url, **{k: v for k, v in asdict(request).items() if k != "title"})


def dataset_sha(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def _advice(request: Request, reason: str) -> str:
    words = reason.lower()
    if "memory" in words:
        return "try a smaller --image-size, or another device"
    if "version" in words or "5000" in words:
        return "try another --qairt-version"
    if request.kind == "compile":
        return "without --via aihub, edgekit compiles it here and names the nodes that do not fit"
    return "the same command asks for it again"
