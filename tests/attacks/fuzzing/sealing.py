"""Packages whose hashes fit what was changed in them: what a liar would write."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def seal_file(folder: Path, name: str) -> None:
    """The manifest lists the file as it is now."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    content = (folder / name).read_bytes()
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_bytes(canonical(manifest))
    seal_receipt(folder)


def seal_receipt(folder: Path, receipt: Any = None) -> None:
    """A receipt that fits the manifest as it is now; `receipt`: in place of the one that is there."""
    body = json.loads((folder / "receipt.json").read_bytes()) if receipt is None else receipt
    if isinstance(body, dict):
        body["manifest_sha256"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        body.pop("digest", None)
        body["digest"] = hashlib.sha256(canonical(body)).hexdigest()
    (folder / "receipt.json").write_bytes(canonical(body))
