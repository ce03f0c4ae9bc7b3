"""Children that start warm: forks of one process that has imported torch and its like already.

A conversion reads its source in a child and compiles in another, and in a tiny one they do nothing longer than to import
libraries. Tests that run conversions in their own process get them from here (tests/conftest.py); what they run as a
command, as tests of installations, interruptions and kills do, starts its children as ever. So does what finds
EDGEKIT_TEST_COLD in its environment: a test of how children start, or all of the suite.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import IO, Any

# Of libraries only: edgekit's own modules are imported by each child, as ever.
LIBRARIES = (
    "numpy",
    "torch",
    "torch.export",
    "torch.onnx",
    "torch.onnx._internal.exporter._core",
    "torch._dynamo",
    "onnx.checker",
    "onnx.shape_inference",
    "onnxscript",
    "onnx_ir",
    "onnxruntime",
    "onnxruntime.quantization",
    "onnxruntime_genai.models.builder",
    "safetensors.torch",
    "transformers",
    "transformers.generation",
    "transformers.utils.chat_template_utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.bitnet.modeling_bitnet",
    "jinja2.sandbox",
    "PIL.Image",
    "cv2",
    "gguf",
)
# What Python and libraries read as they are loaded: where a test sets another of these, its children start cold.
_LOADED = ("PYTHON", "HF_", "TRANSFORMERS_", "OMP_", "HOME", "PATH", "LANG", "LC_", "TZ")
_LONGEST = 2**20  # bytes of a request


class Child:
    """One child, to be used as a Popen."""

    def __init__(self, pid: int, status: socket.socket, stdin: IO[Any] | None, stdout: IO[Any] | None) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(int(self._status.recv(64) or b"9"))
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Warm processes, and what stands for the module `subprocess` where edgekit starts children. The first child in another
    environment than this starts cold, where libraries would notice; a second one is worth a warm process for it."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen
        self._nests: dict[tuple[str, ...], _Nest | None] = {_loaded(): None}

    def close(self) -> None:
        for nest in filter(None, self._nests.values()):
            nest.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: Sequence[str], **options: Any) -> Any:  # noqa: N802
        """As `subprocess.Popen`, for the options that edgekit gives; warm where that changes nothing."""
        words = _module(command)
        altered = subprocess.Popen is not self._popen or "EDGEKIT_TEST_COLD" in os.environ
        if words is None or altered or options.get("process_group") != 0:
            return subprocess.Popen(command, **options)
        environment = _loaded()
        if environment not in self._nests:
            self._nests[environment] = None
            return subprocess.Popen(command, **options)
        nest = self._nests[environment] = self._nests[environment] or _Nest()
        return nest.fork(words, **options)


class _Nest:
    """One warm process, in the environment of now."""

    def __init__(self) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-X", "utf8", __file__, str(its.fileno())],
            pass_fds=[its.fileno()],
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},  # whose thread no fork has, and each waits for
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        its.close()

    def close(self) -> None:
        self._socket.close()
        try:  # it waits for its children, and one that a test left open must not hold up the rest
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def fork(
        self,
        words: list[str],
        stdin: int,
        stdout: int,
        process_group: int,
        stderr: int | None = None,
        text: bool = False,
        **encoding: str,
    ) -> Child:
        assert stdin == stdout == subprocess.PIPE and process_group == 0
        theirs, stdin_pipe = os.pipe()
        stdout_pipe, writing = os.pipe()
        errors = os.open(os.devnull, os.O_WRONLY) if stderr == subprocess.DEVNULL else os.dup(2)
        status, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = json.dumps({"words": words, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
        handles = [theirs, writing, errors, telling.fileno()]
        try:
            socket.send_fds(self._socket, [asked], handles)
        finally:
            for handle in handles[:3]:
                os.close(handle)
            telling.close()
        pid = int(status.recv(64))
        files: list[Any] = [open(stdin_pipe, "wb"), open(stdout_pipe, "rb")]  # noqa: SIM115
        if text:
            files = [io.TextIOWrapper(f, **encoding) for f in files]  # type: ignore[arg-type]
        return Child(pid, status, *files)


def _loaded() -> tuple[str, ...]:
    return tuple(sorted(f"{n}={value}" for n, value in os.environ.items() if n.startswith(_LOADED)))


def _module(command: Sequence[str]) -> list[str] | None:
    """A module of edgekit and its arguments, where a command is Python and no more than them."""
    if not command or command[0] != sys.executable or "-m" not in command:
        return None
    at = command.index("-m")
    if not set(command[1:at]) <= {"-P", "-X", "utf8"} or "-P" not in command[1:at]:
        return None
    return list(command[at + 1 :]) if command[at + 1].startswith("edgekit.") else None


def _serve(connection: socket.socket) -> None:
    """Forks for each request; returns in the child, to what it is to run."""
    watching = set[int]()
    while True:
        asked, handles, _, _ = socket.recv_fds(connection, _LONGEST, 4)
        watching -= {pid for pid in watching if os.waitpid(pid, os.WNOHANG if asked else 0)[0]}
        if not asked:
            os._exit(0)
        if watcher := os.fork():
            watching.add(watcher)
        else:  # it tells how its child ended
            connection.close()
            pid = os.fork()
            if pid == 0:
                os.setpgid(0, 0)
                for number, handle in enumerate(handles[:3]):
                    os.dup2(handle, number)
                _become(json.loads(asked))
                os.write(handles[3], str(os.getpid()).encode())
                for handle in handles:
                    os.close(handle)
                return
            for handle in handles[:3]:
                os.close(handle)
            os.write(handles[3], str(os.waitpid(pid, 0)[1]).encode())
            os._exit(0)
        for handle in handles:
            os.close(handle)


def _become(asked: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["words"]
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, buffering, "utf-8", errors, closefd=False)  # noqa: SIM115
        for number, (mode, buffering, errors) in enumerate(
            (("r", -1, "surrogateescape"), ("w", -1, "surrogateescape"), ("w", 1, "backslashreplace"))
        )
    )


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    gc.freeze()  # else each child copies all of them, only to look for garbage
    _serve(connection)
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else bool(ending.code)
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to take apart what was imported would copy all of it, too


if __name__ == "__main__":
    main()
