"""adb's server on this machine, and the phones that it knows: which there are, and why one cannot be used."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import DeviceError, MissingError, UsageError, guard
from edgekit.system.distribution import install

if TYPE_CHECKING:
    from adbutils import AdbClient

_NAMED = ("ANDROID_ADB_SERVER_HOST", "ANDROID_ADB_SERVER_PORT")  # of a server that the user runs
_PATIENCE = 5.0  # seconds for an answer of the server itself
_STATES = {
    "unauthorized": ("it does not allow this computer yet", "unlock it, and allow USB debugging when it asks"),
    "authorizing": ("it is still being asked to allow this computer", "wait a moment, and try again"),
    "connecting": ("it is still connecting", "wait a moment, and try again"),
    "offline": ("it is offline", "wake it, plug it in again, or: adb reconnect offline"),
    "no": (
        "this machine's USB does not let adb reach it",
        "see https://developer.android.com/tools/device (udev rules)",
    ),
    "recovery": ("it runs its recovery system", "start Android on it"),
    "sideload": ("it waits for an update", "start Android on it"),
    "bootloader": ("it runs its bootloader", "start Android on it"),
}
_READY = "device"


@dataclass(frozen=True)
class Attached:
    """A phone that adb knows. `trouble`: why it cannot be used, and what to do; "" when it can."""

    serial: str
    trouble: str
    next: str = ""

    @property
    def address(self) -> str:
        """As records name it: the serial is a phone's, and its owner's, for life, so that it stays here."""
        return f"adb:{hashlib.sha256(self.serial.encode('utf-8')).hexdigest()[:8]}"


def client(start: bool) -> AdbClient:
    """adb's server, which is started with `start` unless the user named one. Raises MissingError without adbutils,
    DeviceError without a server."""
    try:
        from adbutils import AdbClient, adb_path
    except ImportError as error:
        raise MissingError(
            "Phones are reached by adbutils, which is not installed", str(error), install("adb")
        ) from error
    host, port = os.environ.get(_NAMED[0], "127.0.0.1"), os.environ.get(_NAMED[1], "5037")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"{_NAMED[1]} is no port: {port}", "", "set a number, or nothing")
    if not _listens(host, int(port)):
        if not start or any(name in os.environ for name in _NAMED):
            raise DeviceError(
                "No adb server is running",
                f"nothing answers at {host}:{port}",
                "-d adb: starts one" if not any(name in os.environ for name in _NAMED) else "adb start-server",
            )
        with guard(DeviceError, "The adb server does not start", "adb start-server shows why"):
            silent = subprocess.DEVNULL  # the server outlives this, and would hold pipes open
            words = [adb_path(), "start-server"]
            subprocess.run(words, stdin=silent, stdout=silent, stderr=silent, timeout=20, check=True)
    return AdbClient(host, int(port), socket_timeout=_PATIENCE)


def attached(adb: AdbClient) -> list[Attached]:
    """Raises DeviceError when the server does not answer."""
    with guard(DeviceError, "The adb server does not answer", "adb kill-server, and try again"):
        found = adb.list()
    phones = []
    for info in found[:100]:
        trouble, advice = _STATES.get(info.state, (f"its state is {info.state[:40]}", "adb devices shows it"))
        ready = info.state in (_READY, "host")
        phones.append(Attached(info.serial[:200], "" if ready else trouble, "" if ready else advice))
    return phones


def chosen(phones: list[Attached], wanted: str) -> Attached:
    """The phone with a serial, or with a name of `Attached.address`; without one, the only phone. Raises UsageError
    when there are several, DeviceError for one that is not there or cannot be used."""
    if not wanted and len(phones) > 1:
        listed = ", ".join(f"adb:{p.serial}" + (f" ({p.trouble})" if p.trouble else "") for p in phones)
        raise UsageError(f"{len(phones)} phones are connected", listed, "name one of them with -d")
    for phone in phones:
        if wanted in ("", phone.serial, phone.address.removeprefix("adb:")):
            if phone.trouble:
                raise DeviceError(f"The phone {phone.serial} cannot be used", phone.trouble, phone.next)
            return phone
    raise DeviceError(
        f"There is no phone {wanted}" if wanted else "No phone is connected",
        "connected: " + (", ".join(p.serial for p in phones) or "none"),
        "plug it in with USB debugging on, or: adb connect HOST:PORT",
    )


def refused(place: str, why: str) -> DeviceError:
    """For what adb says when a phone cannot be used."""
    for state, (trouble, advice) in _STATES.items():
        if re.search(rf"\b{state}\b", why) and state != "no":
            return DeviceError(f"{place} cannot be used", trouble, advice)
    if not why or any(word in why for word in ("not found", "closed", "Unknown data: b''")):
        return lost(place)
    return DeviceError(f"{place} cannot be used", why.splitlines()[0][:300], "adb devices shows its state")


def lost(place: str) -> DeviceError:
    """For a phone that was there."""
    return DeviceError(
        f"The connection to {place} was lost",
        "the cable or the network, or the phone started again",
        "plug it in again, and run the same command: what was sent stays there",
    )


def silent(place: str, seconds: float) -> DeviceError:
    """For a phone that is there, and says nothing."""
    return DeviceError(f"{place} does not answer", f"nothing for {seconds:g} seconds", "unlock it, or plug it in again")


def _listens(host: str, port: int) -> bool:
    """Asked here first: the library would start a server by itself."""
    try:
        socket.create_connection((host, port), 0.3).close()
    except OSError:
        return False
    return True
