"""Starts the emulator: its state, its address and its token are those of last time."""

from __future__ import annotations

import argparse
import configparser
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from edgekit_hub_emulator import TOKEN
from edgekit_hub_emulator.devices import devices
from edgekit_hub_emulator.faults import Faults, parse
from edgekit_hub_emulator.server import Emulator
from edgekit_hub_emulator.store import JobRecord, Store

_FOLDERS = ("models", "datasets", "jobs")
_UNFINISHED = re.compile(r"tmp[a-z0-9_]{8}(\.tmp)?")  # as tempfile names them
_PART = 64 << 20  # bytes of an upload that one request carries


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    state: Path = options.state.resolve()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (state / "lock").open("w", encoding="utf-8")  # locked until this process ends, however it does
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"another emulator uses {state}")
    _sweep(state)
    ini = state / "client.ini"
    before = _read(ini)
    token = os.environ.pop(TOKEN, "") or before.get("api_token") or secrets.token_hex(20)
    faults = Faults([parse(f) for f in options.fault])
    port = options.port or urlsplit(before.get("api_url", "")).port or 0
    settings = (options.edgekit_python, options.edgekit_path, options.part_size)
    try:
        emulator = Emulator(state, port, token, faults, *settings)
    except OSError as error:
        if options.port or not port:
            sys.exit(f"port {port}: {error}")
        emulator = Emulator(state, 0, token, faults, *settings)  # another took the port of last time
    _write(ini, emulator.url, token)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=emulator.shutdown).start())
    if options.attended:
        threading.Thread(target=_end_with_parent, args=(emulator,), daemon=True).start()
    _forget_attempts(emulator.store)
    emulator.runner.start()
    ready = {
        "schema": "edgekit.hub-emulator/1",
        "url": emulator.url,
        "client_ini": str(ini),
        "state": str(state),
        "pid": os.getpid(),
        "devices": len(devices()),
    }
    print(json.dumps(ready), flush=True)
    try:
        emulator.serve_forever(poll_interval=0.1)
    finally:
        emulator.runner.stop()
        emulator.server_close()
    return 0


def _sweep(state: Path) -> None:
    """What a killed emulator left in `state`, which this one alone has now: files that were not yet
    in their place, and folders whose record was never written."""
    for path in (*state.iterdir(), *(p for name in _FOLDERS for p in state.glob(f"{name}/*/*"))):
        if path.is_file() and (_UNFINISHED.fullmatch(path.name) or path.name == "blob.new"):
            path.unlink(missing_ok=True)
    for name in _FOLDERS:
        for folder in (state / name).glob("*"):
            if folder.is_dir() and not (folder / "record.json").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _forget_attempts(store: Store) -> None:
    """Jobs that a killed emulator left begin again, in folders of their own."""
    for job in store.every(JobRecord):
        if not job.finished:
            shutil.rmtree(store.attempt(job), ignore_errors=True)


def _end_with_parent(emulator: Emulator) -> None:
    """The parent holds the other end of stdin, which closes however it dies, kill -9 included."""
    while os.read(0, 4096):
        pass
    emulator.shutdown()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="edgekit-hub-emulator")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--edgekit-python", default=sys.executable)
    parser.add_argument("--edgekit-path", default="")
    parser.add_argument("--part-size", type=int, default=_PART)
    parser.add_argument("--attended", action="store_true")
    return parser.parse_args(arguments)


def _read(ini: Path) -> dict[str, str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ini)
    return dict(config["api"]) if "api" in config else {}


def _write(ini: Path, url: str, token: str) -> None:
    text = f"[api]\napi_token = {token}\napi_url = {url}\nweb_url = {url}\nverbose = False\n"
    # readable by its owner only
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=ini.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, ini)
