"""A virtual environment of its own, for what must work beside nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a working folder that is not the checkout."""

    folder: Path
    work: Path

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        program, *arguments = map(str, command)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.work,
            env=kept,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def install(self, *requirements: str) -> None:
        """By uv, which puts dozens of environments together in the time that pip takes for a few."""
        python = str(self.folder / "bin" / "python")
        self._ran("uv", "pip", "install", "--quiet", "--python", python, *requirements)

    def install_with_pip(self, *requirements: str) -> None:
        """Where the configuration of this machine's pip matters: it may name where torch for CPUs lies."""
        self._pip("install", "--no-compile", "--quiet", *requirements)

    def installed(self) -> set[str]:
        return {p["name"].lower() for p in json.loads(self._pip("list", "--format=json"))} - {"pip", "setuptools"}

    def _pip(self, *words: str) -> str:
        """What this environment's pip would do, were it here: putting one into each takes as long as all the rest."""
        python = str(self.folder / "bin" / "python")
        return self._ran("pip", "--python", python, "--disable-pip-version-check", *words)

    def _ran(self, module: str, *words: str) -> str:
        """What a module of the interpreter that runs the tests prints."""
        command = [sys.executable, "-m", module, *words]
        ran = subprocess.run(command, cwd=self.work, capture_output=True, text=True, encoding="utf-8", errors="replace")
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-c", code)


def fresh(folder: Path, pip: bool = True) -> Environment:
    """A new one below `folder`, with nothing in it but pip, which `install` does without."""
    venv.create(folder / "venv", with_pip=pip)
    (folder / "work").mkdir()
    return Environment(folder / "venv", folder / "work")
