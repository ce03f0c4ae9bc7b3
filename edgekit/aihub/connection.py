"""The pipe to Qualcomm's client, and what its errors mean to a person."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from edgekit import progress, settings
from edgekit.aihub.environment import client_python, how_to_configure, service_url
from edgekit.errors import EdgekitError, MissingError, RemoteError
from edgekit.system.redaction import redact

_PASSING = ("network", "limited")  # may be better in a moment
_CONTINUE = "the same command continues where it stopped and uploads nothing twice"


class PassingError(RemoteError):
    """The service could not be reached, or did not want to just now."""


class GoneError(RemoteError):
    """The service does not have the object, or no longer."""


class Connection:
    """Calls of `service.py`. One at a time."""

    def __init__(self) -> None:
        """Raises MissingError when the client or its configuration is not there."""
        service_url()  # what is wrong with the client's file is said here, without quoting it
        python, script = client_python(), Path(__file__).with_name("service.py")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")  # the client leaves files behind
        self._process = subprocess.Popen(
            [str(python), "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "TMPDIR": self._folder.name},
            encoding="utf-8",
            errors="replace",
        )
        self.patience = float(settings.get("aihub_patience").value or 300)
        try:
            opened = self.once("open")
        except EdgekitError:
            self.close()
            raise
        self.url: str = redact(opened["url"])
        self.version: str = opened["version"]

    def call(self, name: str, /, **arguments: object) -> Any:
        """Calls the service, and repeats with growing pauses while it does not answer. Only for calls that change
        nothing; others go through `once`."""
        pause, end = 1.0, time.monotonic() + self.patience
        while True:
            try:
                return self.once(name, **arguments)
            except PassingError as error:
                if time.monotonic() + pause > end:
                    raise
                progress.note(f"  {error.what}; trying again in {pause:.0f} s")
                time.sleep(pause)
                pause = min(2 * pause, 60.0)

    def once(self, name: str, /, **arguments: object) -> Any:
        """Raises PassingError, GoneError, MissingError or RemoteError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"call": name, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MissingError(
                "Qualcomm's AI Hub client does not start", self._tail(), "install it anew: edgekit doctor says where"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise _explained(answer["error"], answer["text"], getattr(self, "url", ""))
        return answer["result"]

    def _tail(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self._process.wait()}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _explained(kind: str, text: str, url: str) -> EdgekitError:
    match kind:
        case "unconfigured":
            return MissingError("No AI Hub token is configured", text[:300], how_to_configure())
        case "token":
            return RemoteError("AI Hub does not accept the token", _short(text, "bad or expired"), how_to_configure())
        case "limited":
            return PassingError("AI Hub takes no more requests just now", text[:300], _CONTINUE)
        case "network":
            return PassingError(f"AI Hub cannot be reached at {url}", text[:300], _CONTINUE)
        case "gone":
            return GoneError("AI Hub does not have it", text[:300], _CONTINUE)
        case "refused":
            return RemoteError("AI Hub refused a request", text[:500], "")
    return RemoteError("Qualcomm's AI Hub client failed", text[:500], "please report it")


def _short(text: str, word: str) -> str:
    return next((s for s in text.split(". ") if word in s), text)[:300]
