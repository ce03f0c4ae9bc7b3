"""Files on a device by their content: what is there already is not sent again, and nothing is there by half.

    FOLDER/files/SHA256           each file once
    FOLDER/packages/SHA256/NAME   links to them, or copies where the file system has no links

Asks of the device a POSIX shell and `sha256sum` or `shasum`, which coreutils, busybox, toybox and macOS have.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import progress
from edgekit.devices.base import Finished, Transport
from edgekit.errors import DeviceError

_SPARE = 2**24  # bytes that stay free on a device
_PATIENCE = 600.0  # seconds for what a shell does with files: a slow card takes long to read a large one

_HAVE = """
mkdir -p "$1/files" "$1/packages" && : > "$1/edgekit-device" || exit 1
cd "$1/files" && shift
find . -name '*.part' -mmin +60 -exec rm -f {} \\; 2>/dev/null
for name; do [ -f "$name" ] && echo "$name"; done
df -Pk . | tail -n 1 | while read -r _ _ _ free _; do echo "free $free"; done
"""
_CHECK = """
if command -v sha256sum >/dev/null; then sum=$(sha256sum < "$1"); else sum=$(shasum -a 256 < "$1"); fi
sum=${sum%% *}
if [ "$sum" = "$2" ]; then mv -f "$1" "$3"; else rm -f "$1"; echo "its SHA-256 is $sum" >&2; exit 1; fi
"""
_LINK = """
[ -d "$2" ] && exit 0
files=$1 place=$2 new=$2.$3
shift 3
rm -rf "$new"
while [ $# -gt 1 ]; do
    case $2 in */*) mkdir -p "$new/${2%/*}" ;; *) mkdir -p "$new" ;; esac || exit 1
    ln -f "$files/$1" "$new/$2" 2>/dev/null || cp "$files/$1" "$new/$2" || { rm -rf "$new"; exit 1; }
    shift 2
done
mv "$new" "$place" 2>/dev/null || { rm -rf "$new"; [ -d "$place" ]; }
"""
_CLEAN = """
[ -e "$1" ] || { echo "nothing"; exit 0; }
[ -f "$1/edgekit-device" ] || { echo "it is not edgekit's folder" >&2; exit 1; }
du -sk "$1" | while read -r size _; do echo "$size"; done
rm -rf "$1"
"""


@dataclass(frozen=True)
class Stock:
    """edgekit's own folder on a device. All that edgekit leaves there lies under `folder`."""

    transport: Transport
    folder: str

    def send(self, files: Mapping[str, Path]) -> str:
        """The folder there that holds these files by their names, and nothing else; sends what the device lacks.

        Raises DeviceError when it cannot be written, is full, or gets what was not sent.
        """
        sums = {name: _sha256(path) for name, path in files.items()}
        self._send_missing({sums[name]: path for name, path in files.items()})
        digest = hashlib.sha256(json.dumps(sums, sort_keys=True).encode("utf-8")).hexdigest()
        place = f"{self.folder}/packages/{digest[:32]}"
        pairs = [word for name in sums for word in (sums[name], name)]
        self._shell(_LINK, f"{self.folder}/files", place, secrets.token_hex(4), *pairs)
        return place

    def send_file(self, path: Path) -> str:
        """The path there of a file with this content."""
        digest = _sha256(path)
        self._send_missing({digest: path})
        return f"{self.folder}/files/{digest}"

    def clean(self) -> str:
        """Removes the folder with all that is in it; says what went. Raises DeviceError for a folder of others."""
        size = self._shell(_CLEAN, self.folder).strip()
        freed = f"{int(size) / 1e3:.1f} MB" if size.isdecimal() else "nothing"
        return f"{self.folder} on {self.transport.place}: {freed}"

    def _send_missing(self, wanted: Mapping[str, Path]) -> None:
        words = self._shell(_HAVE, self.folder, *wanted).split()
        missing = {digest: path for digest, path in wanted.items() if digest not in words}
        need = sum(path.stat().st_size for path in missing.values())
        free = int(words[-1]) * 1024 if words[-2:-1] == ["free"] and words[-1].isdecimal() else None
        if free is not None and missing and need + _SPARE > free:
            raise DeviceError(
                f"The disk of {self.transport.place} is full: {free / 1e6:.0f} MB are free",
                f"{need / 1e6:.0f} MB are to be sent to {self.folder}",
                "free some space there; edgekit devices clean ADDRESS removes what edgekit left",
            )
        if not missing:
            return
        for digest, path in progress.track(list(missing.items()), f"sending to {self.transport.place}", len(missing)):
            arriving = f"{self.folder}/files/{digest}.{secrets.token_hex(4)}.part"
            self.transport.put(path, arriving)
            self._shell(_CHECK, arriving, digest, f"{self.folder}/files/{digest}")

    def _shell(self, script: str, *words: str) -> str:
        return shell(self.transport, script, *words, timeout_s=_PATIENCE).output


def shell(transport: Transport, script: str, *words: str, timeout_s: float) -> Finished:
    """Runs a script of POSIX sh there; `words` are its `$1` and on. Raises DeviceError with what it said when it
    fails."""
    done = transport.run(["sh", "-c", script, "sh", *words], {}, timeout_s)
    if done.code:
        said = _last(done.errors.splitlines()) or f"exit code {done.code}"
        full = "No space left" in done.errors
        raise DeviceError(
            f"The disk of {transport.place} is full" if full else f"A command on {transport.place} failed",
            said,
            "free some space there; edgekit devices clean ADDRESS removes what edgekit left" if full else "",
        )
    return done


def _last(lines: Sequence[str]) -> str:
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
