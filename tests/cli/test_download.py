"""edgekit convert OWNER/NAME: nothing is downloaded unasked, and no more than is needed.

The hub is a stand-in on this machine that speaks its protocol to the unmodified client.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import language
from tests.cli.commands import Edgekit

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, whole: bool) -> None:
        self.asked.append(self.path)
        head: dict[str, str] = {}
        if self.path.startswith("/api/models/owner/tiny/tree/"):
            there = [(f.name, f.stat().st_size) for f in self.folder.iterdir()]
            files = [{"type": "file", "path": n, "size": s, "oid": "0" * 40} for n, s in there]
            body, status = json.dumps(files).encode(), 200
        elif self.path.startswith("/api/models/owner/tiny"):
            names = [{"rfilename": f.name} for f in self.folder.iterdir()]
            body, status = (json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": names}).encode(), 200)
        elif self.path.startswith(f"/owner/tiny/resolve/{COMMIT}/"):
            body, status = (self.folder / self.path.rpartition("/")[2]).read_bytes(), 200
            head = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        else:
            body, status = b"{}", 404
        self.send_response(status)
        for key, value in {**head, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if whole:
            self.wfile.write(body)

    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    folder = language.folder(tmp_path / "tiny")
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    (folder / "modeling_tiny.py").write_text("raise SystemExit", encoding="utf-8")
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Local", (Hub,), {"folder": folder, "asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


def run(url: str, home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its settings when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
    command = [sys.executable, "-m", "edgekit.cli.main", "convert", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8", errors="replace")


def test_nothing_is_downloaded_unasked(edgekit: Edgekit) -> None:
    ran = edgekit("convert", "owner/tiny", "-p", "fp32")
    assert ran.code == 2 and "--download" in ran.err


def test_a_model_of_the_hub_becomes_a_package(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = hub
    words = ("owner/tiny", "--download", "-p", "fp32", "--allow", "misread", "--launches", 0, "-o", tmp_path / "out")
    ran = run(url, tmp_path / "home", *words)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "tiny-cpu-fp32" / "model.onnx").exists()
    steps = json.loads((tmp_path / "out/tiny-cpu-fp32/receipt.json").read_text(encoding="utf-8"))["steps"]
    assert steps[0].startswith("edgekit convert owner/tiny --download ")  # no folder of this machine's cache
    assert not any(a.endswith((".bin", ".py")) for a in asked)
    ran = run(url, tmp_path / "home", "owner/nobody", *words[1:])
    assert ran.returncode == 7 and "owner/nobody cannot be downloaded" in ran.stderr
