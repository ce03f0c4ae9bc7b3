"""A running `edgekit hub-emulator` for tests, and Qualcomm's own client pointed at it.

with Emulator(tmp_path / "hub") as hub:      # skips the test where qai_hub is not installed
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(hub.ini))
    hub.fault("503:job-get:2")               # tests/hub_emulator/edgekit_hub_emulator/faults.py says what there is
    found = hub.client("result(len(hub.get_devices()))")
    assert hub.seen("devices")[0]["status"] == 200
    hub.kill()                               # kill -9; its state stays
    hub.start()                              # the same address and token; its jobs go on
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import edgekit
from edgekit.aihub.environment import client_python
from edgekit.errors import MissingError

PACKAGE = Path(__file__).parent / "hub_emulator" / "edgekit_hub_emulator"
PRELUDE = Path(__file__).with_name("hub_client.py")


def client_or_skip() -> Path:
    """The interpreter that has `qai_hub`; skips the test where there is none."""
    try:
        return client_python()
    except MissingError as error:
        pytest.skip(str(error))


def small_network(path: Path, seed: int = 0) -> Path:
    """Writes an .onnx of three convolutions: image, float32 [1, 3, 32, 32], to scores [1, 4, 16, 16]."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (4, 8, 1, 1)}
    weights = [numpy_helper.from_array(random.normal(0, 0.2, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], "c1", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"], "r1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "c2", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"], "r2"),
        helper.make_node("Conv", ["d", "w3"], ["e"], "c3"),
        helper.make_node("Sigmoid", ["e"], ["scores"], "s"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4, 16, 16])
    graph = helper.make_graph(nodes, "small", [image], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


class Emulator:
    """One emulator and its state, which outlives it. A context manager; also `start` and `stop`."""

    def __init__(self, state: Path, *arguments: str) -> None:
        """`state`: a folder that need not exist. `arguments`: more of the server's: --part-size 1024."""
        self.python = client_or_skip()
        self.state, self._arguments = state, arguments
        self.ini = state / "client.ini"
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Emulator:
        """Returns when it answers."""
        command = [
            self.python,
            "-I",
            PACKAGE,
            "--state",
            self.state,
            "--edgekit-python",
            sys.executable,
            "--edgekit-path",
            Path(edgekit.__file__).parents[1],
            *self._arguments,
        ]
        self._process = subprocess.Popen(
            [str(c) for c in command], stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the emulator ended with exit code {self._process.wait()}"
        self.url = json.loads(line)["url"]
        return self

    def stop(self) -> None:
        """As Ctrl-C stops it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, as a machine that loses its power."""
        self._end(signal.SIGKILL)

    def restart(self) -> Emulator:
        self.stop()
        return self.start()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def token(self) -> str:
        line = next(t for t in self.ini.read_text(encoding="utf-8").splitlines() if t.startswith("api_token"))
        return line.partition("=")[2].strip()

    def fault(self, *faults: str) -> None:
        """Adds faults, written as for `edgekit hub-emulator --fault`."""
        for fault in faults:
            self._control("POST", "faults", fault)

    def clear(self) -> None:
        """Forgets all faults."""
        self._control("DELETE", "faults")

    def faults(self) -> list[dict[str, Any]]:
        """Those it has; `fired` says how many times each."""
        found: list[dict[str, Any]] = self._control("GET", "faults")
        return found

    def log(self) -> list[dict[str, Any]]:
        """Requests so far, oldest first: method, path, operation, bytes, status, fault."""
        found: list[dict[str, Any]] = self._control("GET", "log")
        return found

    def seen(self, operation: str) -> list[dict[str, Any]]:
        """Requests of one operation: job-create, storage-put (tests/hub_emulator/edgekit_hub_emulator/api.py names them)."""
        return [row for row in self.log() if row["operation"] == operation]

    def client(self, code: str, *arguments: object, ini: Path | None = None, seconds: float = 120) -> Any:
        """What `code` gives to `result(…)`, run with `qai_hub` in its own interpreter.

        tests/hub_client.py says what the code finds there. What it raises fails the test.
        """
        ran = self.run_client(code, *arguments, ini=ini, seconds=seconds)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        return json.loads(ran.stdout.splitlines()[-1])

    def run_client(
        self, code: str, *arguments: object, ini: Path | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.client_command(code, *arguments),
            env=self.client_environment(ini),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            encoding="utf-8",
            errors="replace",
        )

    def client_command(self, code: str, *arguments: object) -> list[str]:
        return [str(c) for c in (self.python, "-I", PRELUDE, code, *arguments)]

    def client_environment(self, ini: Path | None = None) -> dict[str, str]:
        direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
        return {**os.environ, **direct, "QAIHUB_CLIENT_INI": str(ini or self.ini)}

    def _control(self, method: str, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/_emulator/{what}", data, {"Authorization": f"token {self.token}"}, method=method
        )
        # past the proxies that the environment names
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None
