"""Qualcomm's own client behind a pipe: one JSON document a line in, one a line out.

    PYTHON -I edgekit/aihub/service.py

runs in the environment of `qai_hub` and imports nothing of edgekit. What the client prints goes to
stderr. It ends when its input does, however edgekit ends.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_PAGE, _PAGES = 100, 5  # how far back things are looked for by name
_UNCONFIGURED, _TOKEN, _GONE, _LIMITED, _NETWORK, _REFUSED, _BUG = (
    "unconfigured",
    "token",
    "gone",
    "limited",
    "network",
    "refused",
    "bug",
)


class Service:
    """Its methods are the calls; arguments and results are plain JSON, arrays lie in .npz files."""

    def __init__(self) -> None:
        self.hub = importlib.import_module("qai_hub")
        self.errors = importlib.import_module("qai_hub.client")  # not all are public elsewhere
        self.api = importlib.import_module("qai_hub.public_rest_api")
        self.utils = importlib.import_module("qai_hub.api_utils")

    @functools.cached_property
    def client(self) -> Any:
        return self.hub.Client(config=self.utils.load_default_api_config())

    def open(self) -> dict[str, str]:
        """Reads the configuration; asks nothing of the network."""
        config = self.client.config
        return {"url": config.api_url, "version": str(self.hub.__version__)}

    def devices(self) -> list[dict[str, object]]:
        return [{"name": d.name, "os": d.os, "attributes": list(d.attributes)} for d in self.client.get_devices()]

    def toolchains(self) -> list[dict[str, object]]:
        frameworks = [f for f in self.client.get_frameworks() if f.name == "QAIRT"]
        return [{"version": f.api_version, "full": f.full_version, "tags": list(f.api_tags)} for f in frameworks]

    # models and datasets

    def upload_model(self, path: str, name: str) -> str:
        return str(self.client.upload_model(path, name=name).model_id)

    def has_model(self, id: str) -> bool:
        return bool(self._exists(lambda: self.client.get_model(id)))

    def find_model(self, name: str) -> str:
        """The newest model of that name whose upload was finished; "" for none."""
        return next(
            (
                m.model_id
                for m in self._listed(self.api.get_model_list, "models")
                if m.name == name and m.file_upload_complete
            ),
            "",
        )

    def upload_dataset(self, path: str, name: str) -> str:
        return str(self.client.upload_dataset(_read(path), name=name).dataset_id)

    def has_dataset(self, id: str) -> bool:
        dataset = self._exists(lambda: self.client.get_dataset(id))
        return bool(dataset) and not dataset.is_expired()

    def find_dataset(self, name: str) -> str:
        datasets = (d for d in self._listed(self.api.get_dataset_list, "datasets") if d.name == name)
        return next((d.dataset_id for d in datasets if d.file_upload_complete and self.has_dataset(d.dataset_id)), "")

    def download_model(self, id: str, folder: str) -> str:
        """Into an empty folder; returns the file or folder that holds the model."""
        return str(self.client.get_model(id).download(str(Path(folder) / "model")))

    # jobs

    def submit(
        self,
        kind: str,
        name: str,
        models: list[str],
        device: str,
        options: str,
        dataset: str,
        profile: bool,
        dtypes: list[str],
    ) -> str:
        """`dtypes`: of weights and activations, for a job that quantises."""
        inputs = [self.client.get_model(m) for m in models]
        data = self.client.get_dataset(dataset) if dataset else None
        where = self.hub.Device(device)
        if kind == "compile":
            job = self.client.submit_compile_job(
                inputs[0], where, name, options=options, calibration_data=data, retry=False
            )
        elif kind == "quantize":
            types = (getattr(self.hub.QuantizeDtype, t.upper()) for t in dtypes)
            job = self.client.submit_quantize_job(inputs[0], data, *types, name=name, options=options)
        elif kind == "link":
            job = self.client.submit_link_job(inputs, where, name, options)
        else:
            job = self.client.submit_inference_job(inputs[0], where, data, name, options, retry=False, profile=profile)
        return str(job.job_id)

    def find_job(self, name: str) -> str:
        """The newest job of that name; "" for none."""
        jobs = (j for p in range(_PAGES) for j in self.client.get_job_summaries(p * _PAGE, _PAGE))
        return next((j.job_id for j in jobs if j.name == name), "")

    def job(self, id: str) -> dict[str, object]:
        """The state of a job. `model`: the result of a finished job; `versions`: those of the tools it used."""
        job = self.client.get_job(id)
        status = job.get_status()
        state: dict[str, object] = {
            "state": status.code,
            "message": status.message or "",
            "finished": status.finished,
            "success": status.success,
            "url": job.url,
            "hub": job.hub_version or "",
        }
        if status.success:
            result = self.api.get_job_results(self.client.config, id)
            inner = getattr(result, result.WhichOneof("result") or next(f.name for f, _ in result.ListFields()))
            for field, value in inner.ListFields():
                if field.name.endswith("detail"):
                    state["versions"] = {t.name: t.version for t in value.tool_versions}
            target = getattr(job, "get_target_model", None)  # of jobs that make one
            model = target() if target else None
            if model is not None:
                state["model"] = model.model_id
                state["metadata"] = {k.name: v for k, v in model.metadata.items()}
        return state

    def profile(self, id: str) -> dict[str, object]:
        return dict(self.client.get_job(id).download_profile())

    def outputs(self, id: str, path: str) -> list[str]:
        """Writes what an inference job gave to an .npz; returns the names in order."""
        outputs = self.client.get_job(id).download_output_data()
        _write(path, outputs)
        return list(outputs)

    def log(self, id: str, folder: str) -> str:
        """The end of what the job wrote, for people."""
        paths = self.client.get_job(id).download_job_logs(folder)
        return "\n".join(Path(p).read_text(errors="replace", encoding="utf-8")[-4000:] for p in paths)

    def _exists(self, ask: Callable[[], object]) -> Any:
        try:
            return ask()
        except self.errors.UserError as error:
            if _kind(error, self) != _GONE:
                raise
            return None

    def _listed(self, ask: Callable[..., object], field: str) -> Iterator[Any]:
        for page in range(_PAGES):
            entries = list(getattr(self.client._api_call(ask, offset=page * _PAGE, limit=_PAGE), field))
            yield from entries
            if len(entries) < _PAGE:
                return


def _read(path: str) -> dict[str, list[Array]]:
    """An .npz of one array an input, samples along the first axis."""
    with np.load(path, allow_pickle=False) as file:
        return {name: list(file[name]) for name in file.files}


def _write(path: str, entries: dict[str, list[Array]]) -> None:
    np.savez(path, **{n: np.stack(v) for n, v in entries.items()})  # type: ignore[arg-type]


def _kind(error: Exception, service: Service) -> str:
    """The kind of an error. The client's message is only words, but the error keeps its cause."""
    status = getattr(error, "status_code", None)  # logs come without the client's own exceptions
    status = status or getattr(error.__cause__ or error.__context__, "status_code", None)
    if isinstance(error, service.errors.RateLimitedError) or status == 429:
        return _LIMITED
    if isinstance(error, service.errors.InternalError) or (isinstance(status, int) and status >= 500):
        return _NETWORK
    if status == 401 or "Failed to authenticate" in str(error):
        return _TOKEN
    if "configuration" in str(error) or isinstance(error, FileNotFoundError):
        return _UNCONFIGURED
    if status == 404:
        return _GONE
    if isinstance(error, OSError):  # requests' exceptions are of that kind
        return _NETWORK
    return _REFUSED if isinstance(error, (service.errors.Error, ValueError)) else _BUG


def _answer(service: Service, line: str) -> dict[str, object]:
    request = json.loads(line)
    try:
        return {"result": getattr(service, request.pop("call"))(**request)}
    except Exception as error:  # whatever the client raises goes to edgekit, which explains it
        traceback.print_exc()
        return {"error": _kind(error, service), "text": _plain(str(error) or type(error).__name__)}


def _plain(text: str) -> str:
    """The client's message without the box that it draws around it."""
    lines = [line.strip("─│╭╮╰╯┌┐└┘|-+ ") for line in text.splitlines()]
    return " ".join(" ".join(line for line in lines if line).split())


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    waiting: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(line)
        os._exit(0)  # in the middle of an upload, too

    threading.Thread(target=read, daemon=True).start()
    service = Service()
    while True:
        print(json.dumps(_answer(service, waiting.get())), file=out, flush=True)


if __name__ == "__main__":
    main()
