"""Engine: Qualcomm's NPU through ONNX Runtime's QNN execution provider; its simulator elsewhere.

Placement is strict: what does not run on the NPU does not run. On x86 the same library simulates
the Hexagon Tensor Processor: outputs are worth comparing, its time means nothing.
"""

from __future__ import annotations

import functools
import importlib
import platform
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import DeviceError, IntegrityError, MissingError
from edgekit.package.folder import Package
from edgekit.runtime.engine import EngineOptions, graph_spec
from edgekit.runtime.engines.libraries import onnxruntime
from edgekit.runtime.engines.library_version import check_libraries
from edgekit.runtime.engines.onnxruntime import OnnxRuntimeSession, Sizes, sizes
from edgekit.runtime.native import output_to
from edgekit.runtime.soc import find_soc
from edgekit.system.distribution import install

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, OrtEpDevice, SessionOptions


EXTRA = install("qnn")
UPGRADE = install("qnn", upgrade=True)


class QnnSession(OnnxRuntimeSession):
    def __init__(self, soc: str, model: bytes, inputs: Sizes, outputs: Sizes, options: EngineOptions) -> None:
        """`soc`: the chip the context was compiled for."""
        self._soc = soc
        if simulated():
            self.simulator = f"HTP simulator, {compiler()}"
        super().__init__(model, inputs, outputs, options)

    def _create(self, ort: ModuleType, model: bytes, settings: SessionOptions) -> InferenceSession:
        return open_context(ort, model, settings, self._soc)


class QnnEngine:
    libraries, companions, extra = ("onnxruntime-qnn",), ("onnxruntime",), "qnn"

    def open(self, package: Package, options: EngineOptions) -> QnnSession:
        soc = choose(package, options)
        check_libraries(libraries_of(package), UPGRADE)
        graph, context = graph_spec(package), package.read(package.manifest.engine.chips[soc])
        return QnnSession(soc, context, sizes(graph.inputs), sizes(graph.outputs), options)


def libraries_of(package: Package) -> dict[str, str]:
    """What the package needs, each with its versions. Packages of before name the provider's alone."""
    engine = package.manifest.engine
    return {"onnxruntime-qnn": engine.versions, **engine.libraries}


def choose(package: Package, options: EngineOptions) -> str:
    """Which of the package's chips to open it for: the one asked for, or this machine's."""
    have, name = package.manifest.engine.chips, package.path.name
    if not have:
        raise IntegrityError(f"{name} does not say which chip it is for", "", "convert again")
    if simulated() and not options.simulate:
        raise DeviceError(
            f"{name} runs on the NPU of {', '.join(have)}, which this machine lacks",
            f"it is {platform.machine()}, where Qualcomm's library only simulates an NPU",
            "copy it to the device, or ask for the simulator (-d sim:htp, load(..., simulate=True)): "
            "right in numbers, seconds an image",
        )
    soc = options.chip or ("" if simulated() else find_soc())
    if soc in have:
        return soc
    if soc:
        raise DeviceError(
            f"{name} was not compiled for {soc}",
            f"it holds contexts for {', '.join(have)}",
            "convert it for this chip as well",
        )
    return next(iter(have))  # the system does not say: the context itself tells whether it fits


def open_context(ort: ModuleType, model: bytes, settings: SessionOptions, soc: str) -> InferenceSession:
    """ONNX Runtime's session on a context that was compiled for `soc`. Raises DeviceError."""
    device = provider()
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    performance = {} if simulated() else {"htp_performance_mode": "burst"}
    settings.add_provider_for_devices([device], {"backend_type": "htp", **performance})
    try:
        with output_to():  # the simulator greets on stdout
            return ort.InferenceSession(model, settings)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise DeviceError(
            f"The NPU does not open this package, which was compiled for {soc}",
            str(error).splitlines()[0][-300:],
            "edgekit doctor --package PACKAGE says what is wrong",
        ) from error


def simulated() -> bool:
    """Whether Qualcomm's library only simulates an NPU on this machine."""
    return platform.machine().lower() in ("x86_64", "amd64") and platform.system() == "Linux"


@functools.cache
def provider() -> OrtEpDevice:
    """ONNX Runtime's device for the QNN execution provider. Raises MissingError, DeviceError."""
    ort = onnxruntime()
    try:
        qnn = importlib.import_module("onnxruntime_qnn")
    except ImportError as error:
        raise MissingError(
            "This package runs on a Snapdragon NPU, and onnxruntime-qnn is not installed", str(error), EXTRA
        ) from error
    name = qnn.get_ep_name()
    try:
        if all(d.ep_name != name for d in ort.get_ep_devices()):  # the program may have done it already
            ort.register_execution_provider_library(name, qnn.get_library_path())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise MissingError(
            f"onnxruntime-qnn does not fit onnxruntime {ort.__version__}",
            str(error).splitlines()[0][-300:],
            f"{EXTRA} brings two that do",
        ) from error
    devices = [d for d in ort.get_ep_devices() if d.ep_name == name]
    if not devices:
        raise DeviceError("onnxruntime-qnn finds no processor on this machine", "", "edgekit doctor")
    npu = [d for d in devices if d.device.type == ort.OrtHardwareDeviceType.NPU]
    return (npu or devices)[0]


def compiler() -> str:
    """The Qualcomm toolchain inside onnxruntime-qnn, as `QAIRT 2.51.0`; "" when it does not say."""
    try:
        info = importlib.import_module("onnxruntime_qnn.build_and_package_info")
    except ImportError:
        return ""
    version = vars(info).get("qnn_version")
    return f"QAIRT {version}" if version else ""


engine = QnnEngine()
