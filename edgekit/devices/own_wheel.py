"""edgekit as it is installed here, as a wheel (PEP 427): a device runs the same code as the machine that measures it."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from edgekit.errors import MissingError
from edgekit.system.distribution import DISTRIBUTION, install
from edgekit.target import builtin_folder

EPOCH = (1980, 1, 1, 0, 0, 0)  # of all entries: the same bytes whenever it is made
_TAGS = "Wheel-Version: 1.0\nGenerator: edgekit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def own_wheel() -> tuple[str, bytes]:
    """File name and bytes. Raises MissingError where edgekit runs without being installed."""
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise MissingError("edgekit is not installed here, only lies here", "", install()) from error
    name = f"{DISTRIBUTION.replace('-', '_')}-{installed.version}"
    root = Path(__file__).parents[1]
    files = {
        f"edgekit/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    for path in sorted(builtin_folder().glob("*.toml")):  # in a clone they lie beside the code
        files[f"edgekit/_targets/{path.name}"] = path.read_bytes()
    info = f"{name}.dist-info"
    for part in ("METADATA", "entry_points.txt"):
        files[f"{info}/{part}"] = _metadata(installed, part).encode("utf-8")
    files[f"{info}/WHEEL"] = _TAGS.encode("utf-8")
    rows = [f"{entry},sha256={_digest(data)},{len(data)}" for entry, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode("utf-8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry, data in files.items():
            wheel.writestr(zipfile.ZipInfo(entry, EPOCH), data, zipfile.ZIP_DEFLATED)
    return f"{name}-py3-none-any.whl", buffer.getvalue()


def _metadata(installed: Distribution, name: str) -> str:
    read = installed.read_text  # which reads UTF-8, whatever the locale
    return read(name) or ""


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
