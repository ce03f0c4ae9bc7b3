"""The store of files, which at AI Hub is S3: signed addresses, no token, errors in XML."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import secrets
from pathlib import Path

from edgekit_hub_emulator.faults import DOWNLOAD, UPLOAD, Faults
from edgekit_hub_emulator.jobs import LOG
from edgekit_hub_emulator.store import DatasetRecord, JobRecord, ModelRecord, Store
from edgekit_hub_emulator.wire import Answer, Request, Routes

ROUTES = Routes()
_DENIED = Answer.storage_error(403, "AccessDenied", "Request has expired")


class Storage:
    def __init__(self, store: Store, faults: Faults) -> None:
        self.store, self.faults = store, faults

    @ROUTES.add("PUT", "models/{id}/{part}", "storage-put")
    def put(self, request: Request, id: str, part: str) -> Answer:
        model = self.store.find(ModelRecord, id)
        number = re.fullmatch("[0-9]{1,4}", part)
        if not model or not number or not signed(request.parameter("signature"), model.secret):
            return _DENIED
        if model.uploaded:
            return Answer.storage_error(404, "NoSuchUpload", "The specified upload does not exist.")
        return self._keep(request.body, self.store.part(model, int(part)), "storage-put")

    @ROUTES.add("POST", "datasets/{id}", "storage-post")
    def post(self, request: Request, id: str) -> Answer:
        data = self.store.find(DatasetRecord, id)
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"')
        fields = form(request.body, boundary.encode()) if boundary else {}
        signature = fields.get("signature", b"").decode(errors="replace")
        if not data or "file" not in fields or not signed(signature, data.secret):
            return _DENIED
        request.body.write_bytes(fields["file"])
        return self._keep(request.body, self.store.blob(data), "storage-post")

    @ROUTES.add("GET", "models/{id}", "storage-get")
    def get_model(self, request: Request, id: str) -> Answer:
        model = self.store.find(ModelRecord, id)
        good = model and signed(request.parameter("signature"), model.secret)
        return self._give(self.store.blob(model)) if good and model else _DENIED

    @ROUTES.add("GET", "datasets/{id}", "storage-get")
    def get_dataset(self, request: Request, id: str) -> Answer:
        data = self.store.find(DatasetRecord, id)
        good = data and signed(request.parameter("signature"), data.secret)
        return self._give(self.store.blob(data)) if good and data else _DENIED

    @ROUTES.add("GET", "jobs/{id}", "storage-get")
    def get_log(self, request: Request, id: str) -> Answer:
        job = self.store.find(JobRecord, id)
        model = self.store.find(ModelRecord, job.models[0]) if job else None
        good = job and model and signed(request.parameter("signature"), model.secret)
        return self._give(self.store.attempt(job) / LOG) if good and job else _DENIED

    def _keep(self, body: Path, place: Path, operation: str) -> Answer:
        """The ETag is the hash of what was kept, as with S3; the client does not compare it."""
        fault = self.faults.take(UPLOAD, operation)
        if fault and fault.kind == "incomplete-upload":
            why = "You did not provide the number of bytes specified by the Content-Length HTTP header"
            return Answer.storage_error(400, "IncompleteBody", why, fault)
        if fault:
            os.truncate(body, body.stat().st_size // 2)
        with body.open("rb") as file:
            etag = hashlib.file_digest(file, "md5").hexdigest()
        os.replace(body, place)
        status = 204 if operation == "storage-post" else 200
        return Answer(status, kind="", headers={"ETag": f'"{etag}"'}, fault=fault)

    def _give(self, path: Path) -> Answer:
        if not path.exists():
            return Answer.storage_error(404, "NoSuchKey", "The specified key does not exist.")
        fault = self.faults.take(DOWNLOAD, "storage-get")
        return Answer(kind="application/octet-stream", file=path, fault=fault)


def signed(signature: str, secret: str) -> bool:
    return secrets.compare_digest(signature.encode(), secret.encode())


def form(path: Path, boundary: bytes) -> dict[str, bytes]:
    """The fields of a multipart/form-data body."""
    fields: dict[str, bytes] = {}
    if not path.stat().st_size:
        return fields
    line = b"--" + boundary
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        start = body.find(line)
        while start >= 0:
            end = body.find(b"\r\n" + line, start)
            head = body.find(b"\r\n\r\n", start)
            if end < 0 or head < 0:
                break
            names = body[start:head].partition(b' name="')[2]
            fields[names.partition(b'"')[0].decode(errors="replace")] = body[head + 4 : end]
            start = end + 2
    return fields
