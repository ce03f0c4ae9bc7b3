"""A virtual environment of its own, for what must work beside nothing else."""

from __future__ import annotations

import json
import os
import subprocess
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
        ran = self.run("pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        assert ran.returncode == 0, ran.stderr

    def installed(self) -> set[str]:
        ran = self.run("pip", "list", "--format=json", "--disable-pip-version-check")
        return {p["name"].lower() for p in json.loads(ran.stdout)} - {"pip", "setuptools"}

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-c", code)


def fresh(folder: Path) -> Environment:
    """A new one below `folder`, with nothing in it but pip."""
    venv.create(folder / "venv", with_pip=True)
    (folder / "work").mkdir()
    return Environment(folder / "venv", folder / "work")
