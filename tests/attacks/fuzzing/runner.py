"""Runs each case in a fork of one warm process: a fresh Python with torch would take seconds for each."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.attacks.fuzzing import judging, watch
from tests.attacks.fuzzing.case import Case, Place, Reader
from tests.attacks.fuzzing.judging import Outcome

_MEMORY = 3 * 2**30  # bytes beyond what a case starts with
_LARGEST_FILE = 2**31
# Edgekit reads sources in a child, with limits, that may die of them, and without what native libraries
# print: the whole command says how that ends.
_BOUNDED = ("signal", "hang", "memory", "unclear")
_MODULES = (
    "numpy",
    "onnxruntime",
    "torch",
    "jinja2",
    "platform",
    "sitecustomize",
    "usercustomize",
    "tokenizers",
    "json",
    "edgekit",
    "yaml",
    "cv2",
    "qai_hub",
)
_WARM = (
    "numpy",
    "torch",
    "onnx",
    "onnx.checker",
    "onnxruntime",
    "onnxruntime_genai",
    "onnxscript",
    "safetensors.torch",
    "transformers",
    "transformers.utils.chat_template_utils",
    "transformers.models.llama.modeling_llama",
    "tokenizers",
    "cv2",
    "PIL.Image",
    "yaml",
    "gguf",
    "ai_edge_litert.interpreter",
    "jinja2",
    "sqlite3",
    "torch.export",
    "torch.onnx",
    "onnxslim",
    "edgekit.conversion.pipeline",
    "edgekit.conversion.text_pipeline",
    "edgekit.conversion.reading",
    "edgekit.conversion.reading_child",
    "edgekit.graph.canonical",
    "edgekit.sources.yolo",
    "edgekit.sources.yolo_layouts",
    "edgekit.sources.onnx",
    "edgekit.sources.huggingface",
    "edgekit.sources.gguf",
    "edgekit.sources.torch",
    "edgekit.sources.exported_program",
    "edgekit.sources.export",
    "edgekit.architectures.yolov9",
    "edgekit.runtime",
    "edgekit.runtime.image",
    "edgekit.runtime.engines.onnxruntime",
    "edgekit.runtime.engines.genai",
    "edgekit.runtime.engines.litert",
    "edgekit.report.render",
    "edgekit.tasks.text.tokenizers",
    *(
        f"edgekit.cli.{v}"
        for v in (
            "main",
            "convert",
            "inspect",
            "verify",
            "unpack",
            "pack",
            "detect",
            "generate",
            "report",
            "doctor",
            "targets",
        )
    ),
)


@dataclass(frozen=True)
class Finding:
    reader: str
    index: int
    case: Case
    outcome: Outcome
    seconds: float


class Runner:
    """`root`: where cases live; `seeds`: honest inputs; `keep`: where failing cases stay."""

    def __init__(self, root: Path, seeds: Path, keep: Path, seed: int) -> None:
        self._root, self._seeds, self._keep, self._seed = root, seeds, keep, seed
        self._secret = root / "elsewhere" / "secret"
        self._secret.parent.mkdir(parents=True)
        self._secret.write_bytes(b"nothing may read this\n" * 4096)
        hooks = root / "hooks"
        hooks.mkdir()
        shutil.copy(Path(watch.__file__), hooks / "sitecustomize.py")
        environment = {
            "PYTHONPATH": str(hooks),
            "PYTHONDONTWRITEBYTECODE": "1",
            "EDGEKIT_QUIET": "1",
            "COLUMNS": "80",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        os.environ.update(environment)
        sys.dont_write_bytecode = True

    def warm(self) -> None:
        """Imports what cases need. Nothing here may start a thread: a fork would not have it."""
        import importlib

        for name in _WARM:
            with contextlib.suppress(ImportError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        from pathlib import Path

        from edgekit import cache

        cache.code_sha256(Path(cache.__file__).parent)
        gc.collect()
        gc.freeze()

    def run(self, name: str, reader: Reader, index: int) -> Finding:
        """One case, the same for the same seed, reader and index."""
        home = self._root / f"{name}-{index}"
        place = Place(home / "in", home / "out", self._seeds, self._secret, home / "canary")
        for folder in (place.folder, place.out / "tmp"):
            folder.mkdir(parents=True)
        for module in _MODULES:
            (place.folder / f"{module}.py").write_text(f"open({str(place.canary)!r}, 'w')\n", encoding="utf-8")
        (place.folder / "edgekit.toml").write_text("threads = 1\n", encoding="utf-8")
        case = reader(random.Random(f"{self._seed}:{name}:{index}"), place)
        start = time.monotonic()
        outcome = self._judged(case, place)
        if case.call is not None and case.command and outcome.kind in _BOUNDED:
            for left in (place.out / "model", place.out / "tmp", place.out / "watched"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
            (place.out / "tmp").mkdir()
            outcome = self._judged(replace(case, call=None, seconds=200.0), place)
        finding = Finding(name, index, case, outcome, time.monotonic() - start)
        if outcome.failed:
            self._kept(finding, home)
        shutil.rmtree(home, ignore_errors=True)
        return finding

    def _judged(self, case: Case, place: Place) -> Outcome:
        os.utime(self._secret, ns=(1, time.time_ns()))
        log = place.out / "watched"
        log.touch()
        ended = _forked(lambda: self._inside(case, place, log), case.seconds, place)
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if self._secret.stat().st_atime_ns != 1:
            said.append("file: the secret was read")
        if place.canary.exists():
            said.append("run: the canary exists")
        return judging.judge(case, place, ended, said)

    def _inside(self, case: Case, place: Place, log: Path) -> dict[str, Any]:
        """What the fork does; returns what it tells."""
        import resource
        import tempfile

        from edgekit.errors import EdgekitError
        from edgekit.system.child import limit_memory

        out = place.out
        homes = {
            "HOME": out,
            "XDG_DATA_HOME": out / "data",
            "EDGEKIT_CONFIG_HOME": out / "config",
            "EDGEKIT_CACHE": out / "cache",
            "TMPDIR": out / "tmp",
            "EDGEKIT_STORE": out / "profiles.sqlite",
            "QAIHUB_CLIENT_INI": out / "client.ini",
            "XDG_CACHE_HOME": out / "xdg",
            "EDGEKIT_AIHUB_PYTHON": sys.executable,
        }
        os.environ.update({k: str(v) for k, v in homes.items()})
        tempfile.tempdir = None
        os.chdir(place.folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
        limit_memory(_MEMORY)
        watch.install(str(log), [str(out)], os.path.realpath(self._secret))
        if case.call is None:
            from edgekit.cli.main import main

            try:
                main(case.command)
            except SystemExit as ending:
                return {"code": ending.code if isinstance(ending.code, int) else 1}
        try:
            case.call()
        except EdgekitError as error:
            return {"error": error.to_dict()}
        except OSError as error:  # as `edgekit` says it
            return {"error": {"what": f"{error.filename or 'A file'} cannot be used", "why": str(error)}}
        return {"code": 0}

    def _kept(self, finding: Finding, home: Path) -> None:
        folder = self._keep / f"{finding.reader}-{finding.index}-{finding.outcome.kind}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(home, folder, symlinks=True)
        command = f"python -m tests.attacks.fuzz --reader {finding.reader} --seed {self._seed} --case {finding.index}"
        asked = (
            f"edgekit {' '.join(map(ascii, finding.case.command))}" if finding.case.command else f"{finding.case.call}"
        )
        text = f"{command}\n{asked}\n{finding.outcome.kind}: {finding.outcome.detail}\n"
        (folder / "repeat.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _forked(inside: Callable[[], dict[str, Any]], seconds: float, place: Place) -> dict[str, Any]:
    """What a fork of this process told, with "signal" or "hang" when it told nothing."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            os.close(reading)
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(place.out / name, os.O_WRONLY | os.O_CREAT), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            try:
                told = inside()
            except BaseException:
                told = {"exception": traceback.format_exc()[-6000:]}
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(writing, json.dumps(told).encode("ascii")[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], seconds)
    content = os.read(reading, 65536) if ready else b""
    os.close(reading)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # with what it started
    _, status = os.waitpid(pid, 0)
    if not ready:
        return {"hang": seconds}
    if not content:
        return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}
    told: dict[str, Any] = json.loads(content)
    return told
