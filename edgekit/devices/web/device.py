"""Device `web`: a browser that opens one page of this machine. Each launch is a page load."""

from __future__ import annotations

import atexit
import ipaddress
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit import progress
from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.record import Launch, launch_from_json
from edgekit.devices.web import browser, setup
from edgekit.errors import DeviceError, MissingError, UsageError, guard

if TYPE_CHECKING:
    from edgekit.devices.web.exchange import Exchange, Job
    from edgekit.devices.web.server import PageServer
    from edgekit.runtime.engine import Array

PROVIDERS = ("wasm", "webgpu", "webnn")
OPEN_S = 600.0  # for somebody to open the page
_MOST_SAMPLES = 100_000


class WebDevice:
    name = "web"
    options: ClassVar[frozenset[str]] = frozenset({"host", "port", "provider", "tls"})
    timed = False  # somebody has to open the page
    simulates = False
    plans: ClassVar[frozenset[str]] = frozenset()
    elsewhere = True

    def __init__(
        self, address: str = "", host: str = "127.0.0.1", port: str = "0", provider: str = "wasm", tls: str = ""
    ) -> None:
        """`address`: whatever name its owner gives the phone. `tls`: "yes", "no", or "" for where it is needed."""
        if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536):
            raise UsageError(
                f"The port of a page cannot be {port:.40}", "", "take one from 1024 to 65535, or 0 for any"
            )
        if provider not in PROVIDERS:
            raise UsageError(f"There is no provider {provider:.40}", "", f"take {', '.join(PROVIDERS)}")
        if tls not in ("", "yes", "no"):
            raise UsageError(f"tls cannot be {tls:.40}", "", 'write "yes" or "no"')
        self._host, self._port, self._provider = host, int(port), provider
        self._tls = tls == "yes" or (not tls and not _loopback(host))
        self._exchange: Exchange | None = None
        self._server: PageServer | None = None

    def info(self) -> DeviceInfo:
        """Waits until the page is open, for at most ten minutes."""
        exchange, url = self._opened()
        return browser.describe(exchange.wait_open(OPEN_S, url), self._provider)

    def listing(self) -> list[DeviceInfo]:
        return self.nearby()

    def nearby(self) -> list[DeviceInfo]:
        try:
            setup.files()
        except MissingError as error:
            raise MissingError(error.what, "", error.next) from error
        return [DeviceInfo("web", f"any browser, onnxruntime-web {setup.VERSION}", "set up", 0, 0)]

    def set_up(self) -> str:
        return f"onnxruntime-web {setup.VERSION}: {setup.set_up()}"

    def check(self, package: Path) -> None:
        """Raises UsageError for what no browser runs, before anybody opens a page."""
        self._job(package, "launch", {}, [])

    def run(self, package: Path, plan: Plan) -> Launch:
        words = {"warmup": plan.warmup, "iterations": plan.iterations, "seconds": plan.seconds}
        job = self._job(package, "launch", {**words, "threads": plan.threads or 0}, [])
        answer = self._ask(job)
        what = "A launch in the browser gave what cannot be read"
        with guard(DeviceError, what, "reload the page, and run it again"):
            launch = launch_from_json({**answer, "peak_memory_bytes": 0, "engine": f"onnxruntime-web {setup.VERSION}"})
            _check(launch)
            return launch

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        import numpy as np

        job = self._job(package, "outputs", {}, inputs)
        self._ask(job)
        if len(job.outputs) != len(job.inputs) * len(job.wanted):
            raise DeviceError("The browser did not send all outputs", "", "run it again")
        return [
            {
                t.name: np.frombuffer(job.outputs[row, index], t.dtype).reshape(t.shape)
                for index, t in enumerate(job.wanted)
            }
            for row in range(len(job.inputs))
        ]

    def finished(self) -> None:
        """Tells the page, and stops serving it."""
        if self._server is None or self._exchange is None:
            return
        self._exchange.end()
        until = time.monotonic() + 3
        while not self._exchange.told and time.monotonic() < until:
            time.sleep(0.05)
        self._close()

    def _close(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = self._exchange = None

    def _opened(self) -> tuple[Exchange, str]:
        """The page, served from now on; its address is told once."""
        if self._server is not None and self._exchange is not None:
            return self._exchange, self._server.url
        engine = setup.files()
        try:
            import segno

            from edgekit.devices.web.exchange import Exchange
            from edgekit.devices.web.server import PageServer
        except ImportError as error:
            raise _missing(error) from error
        self._exchange = Exchange()
        self._server = PageServer(self._exchange, engine, self._host, self._port, self._tls)
        self._server.start()
        atexit.register(self._close)
        progress.note(f"Open this address on the device to measure, and keep it open:\n\n  {self._server.url}\n")
        if self._server.fingerprint:
            progress.note(
                "The browser will warn of a certificate that it does not know. Go on if its SHA-256 is\n"
                f"  {self._server.fingerprint}"
            )
        if sys.stderr.isatty():
            segno.make(self._server.url).terminal(out=sys.stderr, compact=True)
        return self._exchange, self._server.url

    def _ask(self, job: Job) -> dict[str, Any]:
        exchange, url = self._opened()
        exchange.wait_open(OPEN_S, url)
        return exchange.ask(job)

    def _job(self, package: Path, kind: str, words: dict[str, Any], inputs: Sequence[Mapping[str, Array]]) -> Job:
        """Raises UsageError for what a browser does not run."""
        from edgekit.devices.web.exchange import Job
        from edgekit.package.folder import Package
        from edgekit.runtime.measuring import noise
        from edgekit.runtime.opening import engine_named
        from edgekit.spec import graph_of

        opened = Package(package)
        manifest = opened.manifest
        graph = graph_of(manifest.model)
        if graph is None or not getattr(engine_named(manifest.engine.name), "in_browsers", False):
            runs = "it is a language model" if graph is None else f"it is for the engine {manifest.engine.name}"
            raise UsageError(
                f"{manifest.name} does not run in a browser",
                f"{runs}, and onnxruntime-web runs graphs of tensors for onnxruntime",
                "take a package of a detector for onnxruntime, or another device: edgekit devices",
            )
        artifact = manifest.engine.artifact
        rows = list(inputs) or [{t.name: noise(t) for t in graph.inputs}]
        told = {
            **words,
            "name": manifest.name,
            "provider": self._provider,
            "artifact": artifact,
            "data": sorted(n for n in manifest.files if n.endswith(".data")),
            "inputs": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in graph.inputs],
            "outputs": [t.name for t in graph.outputs],
            "rows": len(rows),
        }
        return Job(kind, told, package, frozenset(manifest.files), rows, tuple(graph.outputs))


def _check(launch: Launch) -> None:
    """Raises ValueError for what no browser can have seen."""
    samples = launch.samples_s.get("run", [])
    times = [launch.cold_load_s, launch.warm_load_s, launch.first_run_s, *samples]
    if set(launch.samples_s) != {"run"} or not 0 < len(samples) <= _MOST_SAMPLES:
        raise ValueError("it has no samples of runs")
    if not all(0 <= t < 86400 for t in times):
        raise ValueError("its times are none")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _missing(error: ImportError) -> MissingError:
    from edgekit.system.distribution import install

    return MissingError("The device web needs libraries that are not here", str(error), install("web"))
