"""AI Hub's interface, as the client of version 0.56 calls it: /api/v1/…"""

from __future__ import annotations

from typing import Any, TypeVar

from edgekit_hub_emulator import messages
from edgekit_hub_emulator.devices import EmulatedDevice, devices, select
from edgekit_hub_emulator.jobs import Runner
from edgekit_hub_emulator.messages import pb
from edgekit_hub_emulator.options import RUNTIMES, OptionError, target_runtime
from edgekit_hub_emulator.store import DatasetRecord, JobRecord, ModelRecord, Record, Store
from edgekit_hub_emulator.wire import Answer, RefusalError, Request, Routes

ROUTES = Routes()
_PAGE = 50
_PARTS = 10_000  # as many as S3 takes
_FILES = {  # what a download is called
    "TFLITE": "tflite",
    "QNN_DLC": "dlc",
    "QNN_CONTEXT_BINARY": "bin",
    "ONNX": "onnx",
    "TORCH_EXPORTED_PROGRAM": "pt2",
    "TORCHSCRIPT": "pt",
}

R = TypeVar("R", bound=Record)


class Api:
    def __init__(self, store: Store, runner: Runner, storage: str, part_size: int) -> None:
        """`storage`: the address of the store of files, of another host than the interface."""
        self.store, self.runner, self.storage, self.part_size = store, runner, storage, part_size

    @ROUTES.add("GET", "users/auth/user", "user")
    def user(self, request: Request) -> Answer:
        return Answer.message(messages.user())

    @ROUTES.add("GET", "devices", "devices")
    def devices(self, request: Request) -> Answer:
        selection = select(
            request.parameter("name"),
            request.parameter("os"),
            request.parameters("attributes"),
            request.parameter("select").lower() == "true",
        )
        return Answer.message(messages.devices(selection))

    @ROUTES.add("GET", "frameworks", "frameworks")
    def frameworks(self, request: Request) -> Answer:
        version = self.runner.toolchain().get("QAIRT", "")
        if not version:
            return Answer.message(pb.FrameworkList())
        short = ".".join(version.split(".")[:2])
        listed = [pb.Framework(name="QAIRT", api_version=short, full_version=version, api_tags=["default", "latest"])]
        return Answer.message(pb.FrameworkList(frameworks=listed, total_query_count=1))

    # models

    @ROUTES.add("POST", "models", "model-create")
    def create_model(self, request: Request) -> Answer:
        message = self._read(pb.Model, request)
        kind = messages.model_type_name(message.model_type)
        record = ModelRecord(message.name, type=kind, directory=message.is_directory)
        return Answer.message(messages.created(self.store.create(record)), 201)

    @ROUTES.add("GET", "models", "model-list")
    def list_models(self, request: Request) -> Answer:
        models = self.store.every(ModelRecord)
        page = [messages.model(m) for m in self._page(models, request)]
        return Answer.message(pb.ModelList(models=page, total_query_count=len(models)))

    @ROUTES.add("GET", "models/{id}", "model-get")
    def get_model(self, request: Request, id: str) -> Answer:
        return Answer.message(messages.model(self._find(ModelRecord, id)))

    @ROUTES.add("GET", "models/{id}/multipart_upload", "model-upload-url")
    def model_upload(self, request: Request, id: str) -> Answer:
        """Starts an upload; called again, it starts anew."""
        model = self._find(ModelRecord, id)
        if model.uploaded or model.producer:
            raise RefusalError(400, f"Model {id} has its file already, or a job makes it.")
        parts = max(1, -(-request.number("file_size", 0) // self.part_size))
        if parts > _PARTS:
            raise RefusalError(400, "This file is too large.")
        urls = [f"{self.storage}/models/{id}/{n}?signature={model.secret}" for n in range(parts)]
        upload = pb.FileMultipartUploadURL(urls=urls, upload_id=model.secret, max_part_size=self.part_size)
        return self._transfer(request, pb.FileUploadResponse, multipart_url=upload)

    @ROUTES.add("POST", "models/{id}/multipart_upload", "model-complete")
    def complete_model(self, request: Request, id: str) -> Answer:
        """Completes an upload. May be called twice: the client repeats it when the first answer is lost."""
        model, completion = self._find(ModelRecord, id), self._read(pb.FileMultipartUploadComplete, request)
        with self.store.lock:
            if not model.uploaded:
                parts = [self.store.part(model, n) for n in range(len(completion.etags))]
                if completion.upload_id != model.secret or not parts or not all(p.exists() for p in parts):
                    raise RefusalError(400, f"The upload of model {id} is not complete.")
                self.store.join(model, len(parts))
                model.uploaded = True
                self.store.save(model)
        return Answer.message(messages.created(model))

    @ROUTES.add("GET", "models/{id}/download", "model-download-url")
    def model_download(self, request: Request, id: str) -> Answer:
        model = self._find(ModelRecord, id)
        if not model.uploaded:
            raise RefusalError(404, f"The file of model {id} is not available.")
        ending = _FILES.get(model.type, "bin")
        name = model.name.replace("/", "_")  # the client takes it for the name of a file
        name = name if name.endswith(f".{ending}") else f"{name}.{ending}"
        name = f"{name.removesuffix('.zip')}.zip" if model.directory else name
        url = f"{self.storage}/models/{id}?signature={model.secret}"
        return self._transfer(request, pb.FileDownloadResponse, url=pb.FileDownloadURL(url=url, filename=name))

    # datasets

    @ROUTES.add("POST", "datasets", "dataset-create")
    def create_dataset(self, request: Request) -> Answer:
        message = self._read(pb.Dataset, request)
        record = DatasetRecord(message.name, permanent=message.permanent)
        return Answer.message(messages.created(self.store.create(record)), 201)

    @ROUTES.add("GET", "datasets", "dataset-list")
    def list_datasets(self, request: Request) -> Answer:
        datasets = self.store.every(DatasetRecord)
        page = [messages.dataset(d) for d in self._page(datasets, request)]
        return Answer.message(pb.DatasetList(datasets=page, total_query_count=len(datasets)))

    @ROUTES.add("GET", "datasets/{id}", "dataset-get")
    def get_dataset(self, request: Request, id: str) -> Answer:
        return Answer.message(messages.dataset(self._find(DatasetRecord, id)))

    @ROUTES.add("GET", "datasets/{id}/upload_url", "dataset-upload-url")
    def dataset_upload(self, request: Request, id: str) -> Answer:
        data = self._find(DatasetRecord, id)
        fields = {"key": f"datasets/{id}.h5", "signature": data.secret}
        upload = pb.FileUploadURL(url=f"{self.storage}/datasets/{id}", file_field_name="file", fields=fields)
        return self._transfer(request, pb.FileUploadResponse, url=upload)

    @ROUTES.add("PATCH", "datasets/{id}", "dataset-complete")
    def complete_dataset(self, request: Request, id: str) -> Answer:
        data = self._find(DatasetRecord, id)
        if not self.store.blob(data).exists():
            raise RefusalError(400, f"The file of dataset {id} has not been uploaded.")
        data.uploaded = True
        self.store.save(data)
        return Answer.message(messages.created(data))

    @ROUTES.add("GET", "datasets/{id}/download_data", "dataset-download-url")
    def dataset_download(self, request: Request, id: str) -> Answer:
        data = self._find(DatasetRecord, id)
        url = f"{self.storage}/datasets/{id}?signature={data.secret}"
        download = pb.FileDownloadURL(url=url, filename=f"dataset-{id}.h5")
        return self._transfer(request, pb.FileDownloadResponse, url=download)

    # jobs

    @ROUTES.add("POST", "jobs", "job-create")
    def create_job(self, request: Request) -> Answer:
        whole = self._read(pb.Job, request)
        kind = (whole.WhichOneof("job") or "").removesuffix("_job")
        if kind not in ("compile", "quantize", "link", "inference"):
            raise RefusalError(400, f"The emulator does not run {kind or 'such'} jobs.")
        message = getattr(whole, f"{kind}_job")
        models = [m.model_id for m in (message.models.models if kind == "link" else [message.model])]
        record = JobRecord(message.name, kind=kind, options=message.options, models=models)
        sources = [self._reference(ModelRecord, i) for i in models]
        if not sources:
            raise RefusalError(400, "A link job takes at least one model.")
        if kind == "inference":
            record.profile = message.is_profiling_on
        try:
            if kind == "compile":
                record.specs = messages.read_specs(message.tensor_type_list)
            if kind == "quantize":
                record.weights = messages.quantize_type_name(message.weights_dtype)
                record.activations = messages.quantize_type_name(message.activations_dtype)
        except ValueError as error:  # a number that stands for no type
            raise RefusalError(400, str(error)) from error
        if kind != "quantize":
            listed = message.devices.devices if kind == "compile" else [message.device]
            record.devices = [self._device(d).name for d in listed]
            if not listed:
                raise RefusalError(400, "A compile job takes at least one device.")
        if kind != "link":
            data = message.dataset if kind == "inference" else message.calibration_dataset
            if data.dataset_id:
                record.dataset = self._reference(DatasetRecord, data.dataset_id).id
        with self.store.lock:
            self.store.create(record)
            if kind != "inference":
                record.target = self._target(record, sources).id
                self.store.save(record)
        self.runner.wake()
        return Answer.message(messages.created(record), 201)

    def _target(self, job: JobRecord, sources: list[ModelRecord]) -> ModelRecord:
        """Creates the record of the model that a job will make: it has an id as soon as the job has."""
        runtime = {"quantize": "onnx", "link": "qnn_context_binary"}.get(job.kind)
        if not runtime:
            system = self._device(pb.Device(name=job.devices[0])).system
            try:
                runtime = target_runtime(job.options, system, sources[0].type)
            except OptionError:
                runtime = ""  # the job itself will say so
        kind = RUNTIMES.get(runtime, "UNSPECIFIED")
        name = f"job_{job.id}_{'quantized' if job.kind == 'quantize' else 'optimized'}_{_FILES.get(kind, 'model')}"
        return self.store.create(ModelRecord(name, type=kind, directory=kind == "ONNX", producer=job.id))

    @ROUTES.add("GET", "job_summaries", "job-list")
    def list_summaries(self, request: Request) -> Answer:
        jobs = self._jobs(request)
        page = [messages.summary(j, self.store) for j in self._page(jobs, request)]
        return Answer.message(pb.JobSummaryList(job_summaries=page, total_query_count=len(jobs)))

    def _jobs(self, request: Request) -> list[JobRecord]:
        kind = request.parameter("type")
        states = [s for s in request.parameter("state").split(",") if s]
        return [
            j
            for j in self.store.every(JobRecord)
            if kind in ("", j.kind) and (not states or str(pb.JobState.Value(f"JOB_STATE_{j.state}")) in states)
        ]

    @ROUTES.add("GET", "jobs/{id}", "job-get")
    def get_job(self, request: Request, id: str) -> Answer:
        return Answer.message(messages.job(self._find(JobRecord, id), self.store))

    @ROUTES.add("PATCH", "jobs/{id}", "job-update")
    def update_job(self, request: Request, id: str) -> Answer:
        update = self._read(pb.JobPublicUpdate, request)
        with self.store.lock:
            job = self._find(JobRecord, id)
            job.name = update.name or job.name
            self.store.save(job)
        return Answer.message(messages.created(job))

    @ROUTES.add("GET", "jobs/{id}/result", "job-result")
    def job_result(self, request: Request, id: str) -> Answer:
        return Answer.message(messages.result(self._find(JobRecord, id)))

    @ROUTES.add("GET", "jobs/{id}/device_runs/{run}/artifact_list/{kind}", "job-artifacts")
    def artifacts(self, request: Request, id: str, run: str, kind: str) -> Answer:
        job, message = self._find(JobRecord, id), pb.NamedArtifactDownloadURLList()
        if job.finished and kind == str(pb.JOB_ARTIFACT_TYPE_HUB_LOG):
            target = self.store.find(ModelRecord, job.models[0])
            url = f"{self.storage}/jobs/{id}?signature={target.secret if target else ''}"
            message.artifacts.add(url=url, filename=f"{id}.log", name="log")
        return Answer.message(message)

    # what they share

    def _read(self, kind: Any, request: Request) -> Any:
        message = kind()
        try:
            message.ParseFromString(request.body.read_bytes())
        except Exception as error:  # protobuf's DecodeError lies in a private place
            raise RefusalError(400, f"This is not a {kind.DESCRIPTOR.name}: {error}") from error
        return message

    def _find(self, kind: type[R], id: str) -> R:
        record = self.store.find(kind, id)
        if record is None:
            raise RefusalError(404, "Not found.")
        return record

    def _reference(self, kind: type[R], id: str) -> R:
        """The record that the body of a request names."""
        record = self.store.find(kind, id)
        if record is None:
            raise RefusalError(400, f"{kind.folder.removesuffix('s').capitalize()} {id!r} does not exist.")
        return record

    def _device(self, pattern: Any) -> EmulatedDevice:
        matches = select(pattern.name, pattern.os, pattern.attributes, one=True)
        if not matches:
            known = ", ".join(d.model for d in devices())
            raise RefusalError(400, f"There is no device {pattern.name!r}. The emulator has: {known}.")
        return matches[0]

    def _page(self, records: list[R], request: Request) -> list[R]:
        start = request.number("offset", 0)
        return records[start : start + request.number("limit", _PAGE)]

    def _transfer(self, request: Request, whole: Any, **part: Any) -> Answer:
        """Clients that know of credentials for S3 get the choice wrapped; we never choose those."""
        wrapped = request.parameter("supports_s3_credentials") == "true"
        return Answer.message(whole(**part) if wrapped else next(iter(part.values())))
