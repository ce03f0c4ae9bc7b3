"""Kotlin on a JVM for the tests of docs/android.md: its compiler, and the real engines behind the stubs.

The classes of Android, ONNX Runtime, LiteRT and ONNX Runtime GenAI in tests/docs/android/stubs are stubs: they have
the real ones' signatures, and ask the test, over the JVM's stdin and stdout, to open and run what they are given.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
import pytest

from tests.data import ROOT

PAGE = ROOT / "docs" / "android.md"
STUBS = Path(__file__).parent / "android" / "stubs"
HARNESS = Path(__file__).parent / "android" / "Harness.kt"
APP = ROOT / "samples" / "android"  # the files that the page tells people to copy
COMPILER = "kotlin-jupyter-kernel==0.19.0.944"  # a wheel that carries the compiler's jars
INSTALL = f"apt-get install --no-install-recommends default-jdk-headless; pip install --no-deps {COMPILER}"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tools:
    java: str
    javac: str
    jars: Path

    @property
    def library(self) -> Path:
        """Kotlin's standard library."""
        return next(self.jars.glob("kotlin-stdlib-*.jar"))

    def compile(self, sources: list[Path], stubs: Path, out: Path) -> None:
        """Raises CalledProcessError, whose output says what the compiler did not take."""
        javas = sorted(str(p) for p in stubs.rglob("*.java"))
        _run(self.javac, "--release", "17", "-d", str(out), *javas)
        compiler = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
        classes = f"{self.library}{os.pathsep}{out}"
        options = ("-no-stdlib", "-no-reflect", "-jvm-target", "17", "-cp", classes, "-d", str(out))
        _run(self.java, "-cp", f"{self.jars}/*", compiler, *options, *map(str, sources))


def find_tools() -> Tools:
    """Skips the test where a tool is missing; in CI that is a failure."""
    kernel = importlib.util.find_spec("run_kotlin_kernel")
    jars = Path(str(kernel.origin)).parent / "jars" if kernel else None
    java, javac = shutil.which("java"), shutil.which("javac")
    if java and javac and jars:
        return Tools(java, javac, jars)
    missing = [name for name, found in (("java", java), ("javac", javac), ("Kotlin's compiler", jars)) if not found]
    reason = f"compiling the page's Kotlin needs {', '.join(missing)}: {INSTALL}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def blocks() -> dict[str, str]:
    """The page's Kotlin by the name of the file that each block is."""
    found = {}
    for text in re.findall(r"^```kotlin\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        name = re.match(r"// (\w+\.kt)\n", text)
        assert name, f"a block of Kotlin does not begin with the name of its file: {text[:60]!r}"
        assert name[1] not in found, f"two blocks are {name[1]}"
        found[name[1]] = text
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Engines:
    """The real libraries behind the stubs, and what was asked of them."""

    simulate: Callable[[bytes], ort.InferenceSession] | None = None  # opens what was compiled for an NPU
    inputs: list[dict[str, Array]] = field(default_factory=list)  # what sessions ran on, oldest first
    settings: list[dict[str, str]] = field(default_factory=list)  # of ONNX Runtime's sessions
    environment: dict[str, str] = field(default_factory=dict)
    ids: Callable[[str], list[int]] | None = None  # the tokenizer that the app brings
    _objects: dict[str, Any] = field(default_factory=dict)
    _count: int = 0

    def answer(self, word: str, parts: list[bytes]) -> list[bytes]:
        library, _, action = word.partition("-")
        if library == "genai":
            return self._genai(action, [p.decode() for p in parts])
        return getattr(self, f"_{word.replace('-', '_')}")(*parts)

    def _keep(self, thing: Any) -> bytes:
        self._count += 1
        key = str(self._count)
        self._objects[key] = thing
        return key.encode()

    def _setenv(self, name: bytes, value: bytes) -> list[bytes]:
        self.environment[name.decode()] = value.decode()
        return []

    def _ids(self, text: bytes) -> list[bytes]:
        assert self.ids
        return [_words(self.ids(text.decode()))]

    def _ort_open(self, model: bytes, settings: bytes) -> list[bytes]:
        content = Path(model.decode()).read_bytes() if model.startswith(b"/") else model  # a path, or the graph itself
        given = dict(pair.split("=", 1) for pair in settings.decode().strip("{}").split(", ") if pair)
        self.settings.append(given)
        if "provider" in given:
            assert self.simulate
            return [self._keep(self.simulate(content))]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        return [self._keep(ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]))]

    def _ort_run(self, key: bytes, *parts: bytes) -> list[bytes]:
        session, feed = self._objects[key.decode()], {}
        for name, dtype, shape, content in zip(*(parts[i::4] for i in range(4))):
            sizes = [int(n) for n in shape.split()]
            feed[name.decode()] = np.frombuffer(content, dtype.decode()).reshape(sizes)
        self.inputs.append(feed)
        names = [o.name for o in session.get_outputs()]
        given: list[bytes] = []
        for name, array in zip(names, session.run(None, feed)):
            given += [name.encode(), array.dtype.name.encode(), _words(array.shape), array.tobytes()]
        return given

    def _ort_close(self, key: bytes) -> list[bytes]:
        del self._objects[key.decode()]
        return []

    def _lite_open(self, path: bytes, threads: bytes) -> list[bytes]:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path.decode(), num_threads=1)
        interpreter.allocate_tensors()
        return [self._keep(interpreter), *(d["name"].encode() for d in interpreter.get_output_details())]

    def _lite_run(self, key: bytes, content: bytes) -> list[bytes]:
        interpreter = self._objects[key.decode()]
        (wanted,) = interpreter.get_input_details()
        array = np.frombuffer(content, wanted["dtype"]).reshape(wanted["shape"])
        self.inputs.append({wanted["name"]: array})
        interpreter.set_tensor(wanted["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]).tobytes() for d in interpreter.get_output_details()]

    _lite_close = _ort_close

    def _genai(self, action: str, parts: list[str]) -> list[bytes]:
        import onnxruntime_genai as og

        if action == "close":
            return self._ort_close(parts[0].encode())
        thing, rest = self._objects.get(parts[0]), parts[1:]
        match action:
            case "config":
                return [self._keep(og.Config(parts[0]))]
            case "overlay":
                thing.overlay(rest[0])
            case "model":
                return [self._keep(og.Model(thing))]
            case "tokenizer":
                return [self._keep(og.Tokenizer(thing))]
            case "encode":
                return [_words(thing.encode(rest[0]))]
            case "template":
                template, messages, answering = rest
                text = thing.apply_chat_template(
                    messages, template_str=template, add_generation_prompt=answering == "true"
                )
                return [text.encode()]
            case "params":
                return [self._keep(og.GeneratorParams(thing))]
            case "search":
                name, value = rest
                thing.set_search_options(**{name: value == "true" if value in ("true", "false") else float(value)})
            case "generator":
                return [self._keep(og.Generator(thing, self._objects[rest[0]]))]
            case "append":
                thing.append_tokens(np.array(rest[0].split(), np.int32))
            case "next":
                thing.generate_next_token()
            case "done":
                return [b"true" if thing.is_done() else b"false"]
            case "sequence":
                return [_words(thing.get_sequence(0))]
            case _:
                raise AssertionError(action)
        return []


def _words(numbers: Any) -> bytes:
    return " ".join(str(int(n)) for n in numbers).encode()


class Phone:
    """The harness on a JVM that pretends to be a phone with this chip; `call` runs one of its commands."""

    def __init__(self, tools: Tools, classes: Path, assets: Path, files: Path, engines: Engines, soc: str = "") -> None:
        self.engines = engines
        command = [tools.java, f"-Dstub.soc={soc}", "-cp", f"{classes}{os.pathsep}{tools.library}", "HarnessKt"]
        self._process = subprocess.Popen(
            [*command, str(assets), str(files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._result() == b"ready"

    def call(self, *parts: str | bytes) -> bytes:
        self._send([p.encode() if isinstance(p, str) else p for p in parts])
        return self._result()

    def _result(self) -> bytes:
        while True:
            word, *parts = self._receive()
            if word == b"result":
                return parts[0]
            try:
                self._send(self.engines.answer(word.decode(), parts))
            except Exception as error:  # what the library raised, as the stub's exception
                self._send([f"error: {error}".encode()])

    def _send(self, parts: list[bytes]) -> None:
        assert self._process.stdin
        frame = [struct.pack(">i", len(parts)), *(struct.pack(">i", len(p)) + p for p in parts)]
        self._process.stdin.write(b"".join(frame))
        self._process.stdin.flush()

    def _receive(self) -> list[bytes]:
        (count,) = struct.unpack(">i", self._read(4))
        return [self._read(*struct.unpack(">i", self._read(4))) for _ in range(count)]

    def _read(self, size: int) -> bytes:
        assert self._process.stdout
        content = self._process.stdout.read(size)
        assert len(content) == size, "the JVM ended: what it said is above"
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
