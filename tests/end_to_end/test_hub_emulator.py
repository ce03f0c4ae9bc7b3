"""The emulator of AI Hub, asked by Qualcomm's own client: what jobs make, find and say."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.target import targets
from edgekit_hub_emulator import MARK, SUFFIX
from tests.emulator import Emulator, small_network

DEVICE = "Samsung Galaxy S24"
RUNTIMES = {
    "tflite": ".tflite",
    "onnx": ".onnx.zip",
    "precompiled_qnn_onnx": ".onnx.zip",
    "qnn_context_binary": ".bin",
    "qnn_dlc": ".dlc",
}
SAMPLES = [np.random.default_rng(i).random((1, 3, 32, 32), dtype=np.float32) for i in range(3)]

CODE = """
folder, runtimes = arguments[0], arguments[1:]
samples = list(np.load(folder + "/samples.npz")["image"])
device, other = hub.Device("Samsung Galaxy S24"), hub.Device("Samsung Galaxy S23 (emulated)")
found = {"devices": [vars(d) for d in hub.get_devices()], "frameworks": [vars(f) for f in hub.get_frameworks()]}
found["newest"] = [d.name for d in hub.get_devices(os="[15,)", attributes="hexagon:v79")]

def spec(io): return {str(g): [[t.name, t.dtype, list(t.shape), t.scale] for t in ts] for g, ts in io.items()}

def ended(name, job):
    status = job.wait()
    again = hub.get_job(job.job_id)  # as an inference job does not know its server's version at first
    device = getattr(again, "device", None)
    found[name] = {
        "id": job.job_id, "code": status.code, "why": status.message, "hub_version": again.hub_version,
        "device": device and device.name,
        "log": [open(p).read() for p in job.download_job_logs(folder + "/logs")],
    }
    made = job.get_target_model() if hasattr(job, "get_target_model") else None
    if made is not None and status.success:
        found[name] |= {
            "model": made.name, "type": made.model_type.name, "file": made.download(folder + "/" + name),
            "metadata": {k.name: v for k, v in made.metadata.items()},
            "in": spec(made.input_spec), "out": spec(made.output_spec),
        }
    if hasattr(job, "download_profile") and status.success:
        outputs = job.download_output_data()
        if outputs:
            np.savez(f"{folder}/{name}.npz", **{n: np.stack(v) for n, v in outputs.items()})
        found[name] |= {"profile": job.download_profile(), "shapes": job.shapes}

float_model = hub.upload_model(folder + "/net.onnx")
data = hub.upload_dataset({"image": samples}, name="three samples")
def compiled(options, model=float_model, device=device, **more):
    return hub.submit_compile_job(model, device, options=options, **more)

compiles = {r: compiled("--target_runtime " + r, name="compile " + r) for r in runtimes}
models = {r: j.get_target_model() for r, j in compiles.items()}  # known before they exist
runs = {r: hub.submit_inference_job(m, device, inputs=data, profile=True, name="run " + r) for r, m in models.items()}
noise = hub.submit_inference_job(models["tflite"], device, profile=True)
plain = hub.submit_inference_job(models["onnx"], device, inputs=data, profile=False)
quantised = hub.submit_quantize_job(
    float_model, data, weights_dtype=hub.QuantizeDtype.INT8, activations_dtype=hub.QuantizeDtype.INT8)
last = "--force_channel_last_input image --force_channel_last_output scores"
integers = compiled(f"--target_runtime qnn_context_binary --quantize_io {last}", quantised.get_target_model())
q_data = hub.upload_dataset({"image": [np.ascontiguousarray(np.moveaxis(s, 1, 3)) for s in samples]})
q_run = hub.submit_inference_job(integers.get_target_model(), device, inputs=q_data, profile=False)
full = compiled(
    f"--target_runtime qnn_dlc --quantize_full_type w8a16 --quantize_io {last}",
    calibration_data=data)
both = compiled(
    "--target_runtime qnn_dlc --output_names answer --force_channel_last_input image "
    "--force_channel_last_output answer --qnn_options context_enable_graphs=second",
    folder + "/other.onnx", [device, other])
first = compiled("--target_runtime qnn_dlc --qnn_options context_enable_graphs=first")
linked = hub.submit_link_job([first.get_target_model(), both.get_target_model()], device)
l_run = hub.submit_inference_job(
    linked.get_target_model(), device, inputs=data, profile=False,
    options="--qnn_options context_enable_graphs=first")
failing = {
    "garbage": compiled("--target_runtime tflite", folder + "/garbage.onnx"),
    "unknown option": compiled("--target_runtime tflite --frobnicate 3"),
    "unknown runtime": compiled("--target_runtime coreml"),
    "no float here": compiled("--target_runtime qnn_dlc", device=hub.Device("Dragonwing RB3 Gen 2 Vision Kit")),
    "wrong input": hub.submit_inference_job(models["tflite"], device, inputs={"img": samples}),
}
failing["after a failure"] = hub.submit_inference_job(
    failing["garbage"].get_target_model(), device, inputs=data)
for r in runtimes: ended(r, compiles[r]); ended("run " + r, runs[r])
for name, job in {"noise": noise, "plain": plain, "quantised": quantised, "integers": integers, "q_run": q_run, "full": full,
                  "both": both, "linked": linked, "l_run": l_run, **failing}.items():
    ended(name, job)
noise.set_name("another name")
found["summaries"] = [[type(s).__name__, s.name, s.status.code, getattr(s, "device_name", None)]
                      for s in hub.get_job_summaries(limit=100)]
found["failed"] = len(hub.get_job_summaries(state=hub.JobStatus.State.FAILED))
found["links"] = [s.job_id for s in hub.get_job_summaries(type=hub.JobType.LINK)]
found["models"] = [m.name for m in hub.get_models(limit=100)]
found["datasets"] = [d.name for d in hub.get_datasets()]
found["page"] = [m.name for m in hub.get_models(offset=1, limit=2)]
found["same data"] = all((a == b).all() for a, b in zip(samples, hub.get_dataset(data.dataset_id).download()["image"]))
found["no device"] = caught(lambda: compiled("", device=hub.Device("Nokia 3310")))
found["no job"] = caught(lambda: hub.get_job("jabcdefgh"))
result(found)
"""


@dataclass(frozen=True)
class Session:
    """What one session of the client found, and what it saved."""

    folder: Path
    found: dict[str, Any]

    def outputs(self, job: str) -> Any:
        return np.load(self.folder / f"{job}.npz")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    for needed in ("onnxruntime_qnn", "ai_edge_litert"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("session")
    small_network(folder / "net.onnx")
    small_network(folder / "other.onnx", 1)
    (folder / "garbage.onnx").write_bytes(b"garbage")
    np.savez(folder / "samples.npz", image=np.stack(SAMPLES))
    with Emulator(folder / "hub") as hub:
        yield Session(folder, hub.client(CODE, folder, *RUNTIMES, seconds=300))


@pytest.fixture(scope="module")
def expected(session: Session) -> Any:
    """ONNX Runtime's own outputs of the float network."""
    import onnxruntime as ort

    model = ort.InferenceSession(session.folder / "net.onnx", providers=["CPUExecutionProvider"])
    return np.stack([model.run(None, {"image": s})[0] for s in SAMPLES])


def test_devices_have_what_ai_hubs_have_and_say_that_they_are_emulated(session: Session) -> None:
    devices = session.found["devices"]
    assert {DEVICE + SUFFIX, "Snapdragon X Elite CRD" + SUFFIX} <= {d["name"] for d in devices}
    assert all(d["name"].endswith(SUFFIX) and MARK in d["attributes"] for d in devices)
    s24 = next(d for d in devices if d["name"] == DEVICE + SUFFIX)
    assert s24["os"] == "14"
    assert {"chipset:qualcomm-snapdragon-8gen3", "os:android", "vendor:samsung"} <= set(s24["attributes"])
    by_name = {d["name"]: set(d["attributes"]) for d in devices}
    for target in targets().values():
        for chip in target.chips:
            for name in chip.aihub:
                assert {f"hexagon:v{chip.htp}", f"soc-model:{chip.soc_id}"} <= by_name[name + SUFFIX]
    assert "Samsung Galaxy S25" + SUFFIX in session.found["newest"]
    assert DEVICE + SUFFIX not in session.found["newest"]
    (qairt,) = session.found["frameworks"]
    assert qairt["name"] == "QAIRT" and qairt["full_version"].startswith(qairt["api_version"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_compiles(session: Session, runtime: str) -> None:
    job = session.found[runtime]
    assert job["code"] == "SUCCESS", job
    assert job["file"].endswith(runtime + RUNTIMES[runtime])
    assert job["model"].startswith(f"job_{job['id']}_optimized_")
    assert job["in"] == {"None": [["image", "float32", [1, 3, 32, 32], None]]}
    assert job["out"] == {"None": [["scores", "float32", [1, 4, 16, 16], None]]}
    assert f"compiling for {runtime}" in job["log"][0]


def test_files_are_what_ai_hub_gives(session: Session, expected: Any) -> None:
    import onnx
    import onnxruntime as ort

    def unpacked(runtime: str) -> tuple[Path, dict[str, Any]]:
        with zipfile.ZipFile(session.found[runtime]["file"]) as archive:
            archive.extractall(session.folder / f"{runtime}-unpacked")
            names = [Path(n) for n in archive.namelist()]
        assert {n.parent.name for n in names} == {session.found[runtime]["model"] + ".onnx"}
        return session.folder / f"{runtime}-unpacked" / names[0].parent, {n.name: n for n in names}

    place, names = unpacked("onnx")
    assert set(names) == {"model.onnx", "model.data"}
    model = ort.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(model.run(None, {"image": SAMPLES[0]})[0], expected[0], atol=1e-5)
    place, names = unpacked("precompiled_qnn_onnx")
    assert set(names) == {"model.onnx", "model.bin"}
    (node,) = onnx.load(place / "model.onnx").graph.node
    assert node.op_type == "EPContext"
    assert Path(session.found["tflite"]["file"]).read_bytes()[4:8] == b"TFL3"
    binary = Path(session.found["qnn_context_binary"]["file"]).stat().st_size
    assert binary == (place / "model.bin").stat().st_size
    assert zipfile.is_zipfile(session.found["qnn_dlc"]["file"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runs_and_profiles(session: Session, expected: Any, runtime: str) -> None:
    job, on_npu = session.found[f"run {runtime}"], "qnn" in runtime
    assert job["code"] == "SUCCESS", job
    # the NPU computes float in 16 bits
    np.testing.assert_allclose(session.outputs(f"run {runtime}")["scores"], expected, atol=4e-3 if on_npu else 1e-5)
    summary, layers = job["profile"]["execution_summary"], job["profile"]["execution_detail"]
    assert summary["estimated_inference_time"] > 0 and summary["first_load_time"] > 0
    assert len(summary["all_inference_times"]) >= 3
    low, high = summary["inference_memory_peak_range"]
    assert 0 < low <= high == summary["estimated_inference_peak_memory"]
    assert {layer["compute_unit"] for layer in layers} == {"NPU" if on_npu else "CPU"}
    assert len(layers) >= 3
    assert job["shapes"] == {"image": [[1, 3, 32, 32], "float32"]}


def test_a_profile_without_data_and_data_without_a_profile(session: Session) -> None:
    assert session.found["noise"]["code"] == session.found["plain"]["code"] == "SUCCESS"
    assert session.found["noise"]["profile"] and not (session.folder / "noise.npz").exists()
    assert not session.found["plain"]["profile"] and (session.folder / "plain.npz").exists()


def test_quantises_and_takes_integers(session: Session, expected: Any) -> None:
    assert session.found["quantised"]["code"] == "SUCCESS", session.found["quantised"]
    (image,) = session.found["integers"]["in"]["None"]
    (scores,) = session.found["integers"]["out"]["None"]
    assert image[1:3] == ["uint8", [1, 32, 32, 3]] and scores[1:3] == ["uint8", [1, 16, 16, 4]]
    assert image[3] > 0 and scores[3] > 0
    found = session.outputs("q_run")["scores"]  # floats in, floats out, as the model's scales say
    assert found.dtype == np.float32
    assert 0 < np.abs(np.moveaxis(found, 4, 2) - expected).max() < 0.03
    assert session.found["full"]["in"]["None"][0][1:3] == ["uint16", [1, 32, 32, 3]]


def test_links_graphs_into_one_binary(session: Session, expected: Any) -> None:
    second = session.found["both"]
    assert second["in"]["None"][0][:3] == ["image", "float32", [1, 32, 32, 3]]
    assert second["out"]["None"][0][:3] == ["answer", "float32", [1, 16, 16, 4]]
    linked = session.found["linked"]
    assert linked["code"] == "SUCCESS", linked
    assert set(linked["in"]) == {"first", "second"}
    assert linked["metadata"]["QNN_MODEL_GRAPH_NAMES"] == "first,second"
    np.testing.assert_allclose(session.outputs("l_run")["scores"], expected, atol=4e-3)


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ("garbage", "The ONNX model cannot be read"),
        ("unknown option", "cannot honour --frobnicate"),
        ("unknown runtime", "--target_runtime coreml is not one of tflite"),
        ("no float here", "6 nodes do not fit on the NPU of QCS6490"),
        ("wrong input", "The dataset has img; the model takes image."),
        ("after a failure", "the job that makes it, "),
    ],
)
def test_failures_say_why(session: Session, job: str, why: str) -> None:
    assert session.found[job]["code"] == "FAILED"
    assert why in session.found[job]["why"]
    assert session.found[job]["why"].endswith(f"[{MARK}]")


def test_refusals_say_why(session: Session) -> None:
    assert "Nokia 3310" in session.found["no device"]["text"]
    assert session.found["no job"]["class"] == "qai_hub.client.UserError"
    assert "could not be found" in session.found["no job"]["text"]


def test_jobs_models_and_datasets_are_listed_by_name(session: Session) -> None:
    found = session.found
    assert ["InferenceJobSummary", "another name", "SUCCESS", DEVICE + SUFFIX] in found["summaries"]
    assert found["failed"] == 6 and found["links"] == [found["linked"]["id"]]
    assert {"net.onnx", found["tflite"]["model"]} <= set(found["models"])
    assert "three samples" in found["datasets"] and found["same data"]
    assert found["page"] == found["models"][1:3]


def test_no_result_can_pass_for_a_phones(session: Session) -> None:
    jobs = {n: j for n, j in session.found.items() if isinstance(j, dict) and "hub_version" in j}
    assert len(jobs) == 2 * len(RUNTIMES) + 15
    for name, job in jobs.items():
        assert job["hub_version"] == MARK, name
        assert name == "quantised" or job["device"].endswith(SUFFIX), name
        assert job["code"] == "SUCCESS" or MARK in job["why"], name
        if "model" in job:
            assert job["metadata"]["QNN_SDK_VARIANT"] == MARK, name
        for layer in (job.get("profile") or {}).get("execution_detail", ()):
            assert MARK in layer["type"], (name, layer)
    assert json.dumps(session.found).count(MARK) > 100
