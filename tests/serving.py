"""`edgekit serve` as a process of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

USER = {"role": "user", "content": "the cat"}


def started(
    package: Path, *words: object, files: int | None = None, log: Path | None = None, **environment: str
) -> tuple[subprocess.Popen[str], str]:
    """`files`: how many the process may open. `log`: where its stderr goes."""

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # type: ignore[arg-type]

    command = [
        sys.executable,
        "-m",
        "edgekit.cli.main",
        "serve",
        str(package),
        "--port",
        "0",
        "--json",
        *map(str, words),
    ]
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **environment},
            stderr=log and stack.enter_context(open(log, "wb")),
            preexec_fn=limit if files else None,
        )
    assert process.stdout is not None
    said = ""
    while "}" not in said:
        line = process.stdout.readline()
        assert line, "the server ended"
        said += line
    return process, json.loads(said)["url"]


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    if not path.exists():
        pytest.skip("this system does not list a process's children")
    return [int(word) for word in path.read_text(encoding="ascii").split()]
