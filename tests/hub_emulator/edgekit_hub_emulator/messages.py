"""The emulator's records as the messages of AI Hub's protocol, and back."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from edgekit_hub_emulator import MARK
from edgekit_hub_emulator.devices import EmulatedDevice, select
from edgekit_hub_emulator.store import DatasetRecord, JobRecord, ModelRecord, Store

pb: Any = importlib.import_module("qai_hub.public_api_pb2")

_KINDS = {"compile": pb.CompileJob, "quantize": pb.QuantizeJob, "link": pb.LinkJob, "inference": pb.InferenceJob}
_METADATA = {
    "QNN_SDK_VARIANT": pb.MODEL_METADATA_KEY_QNN_SDK_VARIANT,
    "QAIRT_SDK_VERSION": pb.MODEL_METADATA_KEY_QAIRT_SDK_VERSION,
    "QNN_MODEL_GRAPH_NAMES": pb.MODEL_METADATA_KEY_QNN_MODEL_GRAPH_NAMES,
    "QNN_CONTEXT_BIN_HEXAGON_VERSION": pb.MODEL_METADATA_KEY_QNN_CONTEXT_BIN_HEXAGON_VERSION,
    "QNN_CONTEXT_BIN_SOC_MODEL": pb.MODEL_METADATA_KEY_QNN_CONTEXT_BIN_SOC_MODEL,
    "QNN_CONTEXT_BIN_BACKEND": pb.MODEL_METADATA_KEY_QNN_CONTEXT_BIN_BACKEND,
}
_NOTICE = "This job ran in edgekit's emulator of AI Hub. Its times are not a device's."
_HUB_LOG = pb.JOB_ARTIFACT_TYPE_HUB_LOG


def user() -> Any:
    return pb.User(id=1, first_name="Emulated", last_name="User", email="nobody@localhost", org_id=1)


def devices(selection: Iterable[EmulatedDevice]) -> Any:
    listed = [device(d) for d in selection]
    return pb.DeviceList(devices=listed, total_query_count=len(listed))


def device(emulated: EmulatedDevice) -> Any:
    return pb.Device(
        name=emulated.name,
        os=emulated.version,
        attributes=emulated.attributes,
        soc_description=f"{emulated.chip.soc}, emulated",
    )


def model(record: ModelRecord) -> Any:
    message = pb.Model(
        model_id=record.id,
        owner=user(),
        name=record.name,
        model_type=model_type(record.type),
        file_upload_complete=record.uploaded,
        is_directory=record.directory,
        input_spec=specs(record.inputs),
        output_spec=specs(record.outputs),
    )
    stamp(message.creation_time, record.created)
    if record.producer:
        message.producer_id = record.producer
        message.metadata.entries[_METADATA["QNN_SDK_VARIANT"]] = MARK  # the one key that takes any text
    message.metadata.entries.update({_METADATA[k]: v for k, v in record.metadata.items()})
    return message


def dataset(record: DatasetRecord) -> Any:
    message = pb.Dataset(
        dataset_id=record.id,
        owner=user(),
        name=record.name,
        file_upload_complete=record.uploaded,
        permanent=record.permanent,
    )
    stamp(message.creation_time, record.created)
    if not record.permanent:
        stamp(message.expiration_time, record.expires)
    return message


def created(record: ModelRecord | DatasetRecord | JobRecord) -> Any:
    """The answer to every POST that creates something."""
    message = pb.CreateUpdateResponse(id=record.id)
    stamp(message.creation_time, record.created)
    if isinstance(record, DatasetRecord) and not record.permanent:
        stamp(message.expiration_time, record.expires)
    return message


def job(record: JobRecord, store: Store) -> Any:
    """Raises KeyError when a model of it is gone."""
    message = _KINDS[record.kind](
        user=user(),
        user_id=1,
        name=record.name,
        options=record.options,
        job_state=pb.JobState.Value(f"JOB_STATE_{record.state}"),
    )
    setattr(message, f"{record.kind}_job_id", record.id)
    for name, moment in (
        ("creation_time", record.created),
        ("queued_time", record.created),
        ("start_time", record.started),
        ("completion_time", record.completed),
        ("last_updated_time", record.completed or record.started or record.created),
    ):
        if moment:
            stamp(getattr(message, name), moment)
    models = [model(m) for m in (store.find(ModelRecord, i) for i in record.models) if m]
    if record.kind == "link":
        message.models.models.extend(models)
    else:
        message.model.CopyFrom(models[0])
    targets = [d for n in record.devices for d in select(n)]
    if targets and record.kind != "quantize":
        message.device.CopyFrom(device(targets[0]))
    if record.kind == "compile":
        message.devices.CopyFrom(devices(targets))
        message.tensor_type_list.CopyFrom(specs(record.specs))
        message.target_tensor_type_list.CopyFrom(specs(record.found_specs))
    data = store.find(DatasetRecord, record.dataset)
    if data:
        (message.dataset if record.kind == "inference" else message.calibration_dataset).CopyFrom(dataset(data))
    target = store.find(ModelRecord, record.target)
    if target:
        message.target_model.CopyFrom(model(target))
    if record.kind == "quantize":
        message.weights_dtype = quantize_type(record.weights)
        message.activations_dtype = quantize_type(record.activations)
    if record.kind == "inference":
        message.is_profiling_on = record.profile
        if record.found_specs:
            message.tensor_type_list.CopyFrom(specs(record.found_specs))
        if "execution_time" in record.detail:
            message.execution_time = record.detail["execution_time"]
    if record.reason:
        message.failure_reason = f"{record.reason} [{MARK}]"
    if record.details and record.kind != "quantize":  # whose message has no place for it
        message.error_details = record.details
    failure = record.failure or ("SUCCESS" if record.state == "DONE" else "UNSPECIFIED")
    return pb.Job(
        **{f"{record.kind}_job": message},
        hub_version=MARK,
        notices=[pb.Notice(context=pb.Notice.DEVICE, severity=pb.Notice.INFO, message=f"{MARK}: {_NOTICE}")],
        failure_type=pb.JobFailureType.Value(f"JOB_FAILURE_TYPE_{failure}"),
        available_artifacts=[_HUB_LOG] if record.finished else [],
    )


def summary(record: JobRecord, store: Store) -> Any:
    whole = job(record, store)
    inner = getattr(whole, f"{record.kind}_job")
    name = f"{record.kind}_job_summary"
    result = pb.JobSummary()
    message = getattr(result, name)
    message.SetInParent()
    message.job_id, message.name, message.job_state = record.id, record.name, inner.job_state
    message.user.CopyFrom(user())
    if record.kind != "quantize":
        message.device_name, message.device_os_version = inner.device.name, inner.device.os
    for moment in ("creation_time", "start_time", "completion_time", "last_updated_time", "queued_time"):
        getattr(message, moment).CopyFrom(getattr(inner, moment))
    if record.kind == "inference":
        message.is_profiling_on = record.profile
        if inner.HasField("execution_time"):
            message.execution_time = inner.execution_time
    return result


def result(record: JobRecord) -> Any:
    """The result of a finished job."""
    inner: dict[str, Any] = {f"{record.kind}_job_id": record.id}
    tools = [pb.ToolVersion(name=k, version=v) for k, v in record.detail.get("versions", {}).items()]
    if record.kind == "inference":
        inner["output_dataset_id"] = record.output
        if record.profile:
            inner["detail"] = _profile(record.detail, tools)
    elif record.kind == "quantize":
        inner["quantize_detail"] = pb.QuantizeDetail(tool_versions=tools, psnr=record.detail.get("psnr", {}))
    else:
        detail = {"compile": pb.CompileDetail, "link": pb.LinkDetail}[record.kind]
        inner[f"{record.kind}_detail"] = detail(tool_versions=tools)
    message = getattr(pb, f"{record.kind.capitalize()}JobResult")(**inner)
    return pb.JobResult(**{f"{record.kind}_job_result": message})


def _profile(profile: dict[str, Any], tools: list[Any]) -> Any:
    """Every layer says in its type that it was emulated: `qai_hub` hands on little else as text."""
    detail = pb.ProfileDetail(
        major_version=1,
        minor_version=2,
        tool_versions=tools,
        runtime_config=[
            pb.RuntimeConfig(name=MARK, properties=[pb.RuntimeConfigProperty(key="emulated", value="true")])
        ],
        **{k: v for k, v in profile.items() if k in pb.ProfileDetail.DESCRIPTOR.fields_by_name},
    )
    for stage, (low, high) in profile.get("memory", {}).items():
        usage = getattr(detail, f"{stage}_memory")
        usage.peak.lower, usage.peak.upper = low, high
        usage.increase.lower, usage.increase.upper = 0, high - low
    for index, layer in enumerate(profile.get("layers", [])):
        kind = " ".join(w for w in (layer.get("type", ""), f"({MARK})") if w)
        detail.layer_details.add(
            name=layer["name"],
            id=str(index),
            layer_type_name=kind,
            compute_unit=pb.ComputeUnit.Value(f"COMPUTE_UNIT_{layer['unit']}"),
            **{k: v for k, v in layer.items() if k in ("execution_time", "execution_cycles")},
        )
    return detail


def specs(listed: list[dict[str, Any]]) -> Any:
    message = pb.NamedTensorTypeList()
    for spec in listed:
        added = message.types.add(name=spec["name"])
        added.tensor_type.shape.extend(spec["shape"])
        added.tensor_type.dtype = pb.TensorDtype.Value(f"TENSOR_DTYPE_{spec['dtype'].upper()}")
        if spec.get("scale") is not None:
            added.tensor_type.scale, added.tensor_type.zero_point = spec["scale"], spec["zero_point"]
        if spec.get("graph"):
            added.graph_name = spec["graph"]
    return message


def read_specs(message: Any) -> list[dict[str, Any]]:
    name = pb.TensorDtype.Name
    return [
        {
            "name": t.name,
            "shape": list(t.tensor_type.shape),
            "dtype": name(t.tensor_type.dtype).removeprefix("TENSOR_DTYPE_").lower(),
        }
        for t in message.types
    ]


def model_type(name: str) -> int:
    return int(pb.ModelType.Value(f"MODEL_TYPE_{name}"))


def model_type_name(number: int) -> str:
    known = number in pb.ModelType.values()
    return str(pb.ModelType.Name(number)).removeprefix("MODEL_TYPE_") if known else "UNSPECIFIED"


def quantize_type(name: str) -> int:
    return int(pb.QuantizeDtype.Value(f"QUANTIZE_DTYPE_{name.upper()}"))


def quantize_type_name(number: int) -> str:
    return str(pb.QuantizeDtype.Name(number)).removeprefix("QUANTIZE_DTYPE_").lower()


def stamp(message: Any, moment: float) -> None:
    message.seconds, message.nanos = int(moment), int(moment % 1 * 1e9)
