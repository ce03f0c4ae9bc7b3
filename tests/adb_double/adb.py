"""An adb server for tests, on a port of its own, with keys of its own: nobody's phones are seen or touched."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path


class AdbServer:
    """The real one, of adbutils. Ends with `close`. Raises RuntimeError with what it said when it does not start."""

    def __init__(self, folder: Path) -> None:
        from adbutils import adb_path

        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._log = folder / "adb.log"
        own = {"HOME": str(folder), "ANDROID_USER_HOME": str(folder), "TMPDIR": str(folder)}
        quiet = {"ADB_LOCAL_TRANSPORT_MAX_PORT": "5554", "ADB_MDNS": "0", "ADB_MDNS_AUTO_CONNECT": "0"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [adb_path(), "-P", str(self.port), "nodaemon", "server"],
                env={**os.environ, **own, **quiet},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
                if self._process.poll() is not None:
                    break
        self.close()
        raise RuntimeError(self._log.read_text(encoding="utf-8", errors="replace")[-500:])

    def connect(self, serial: str) -> str:
        """What adb says to `adb connect`."""
        from adbutils import AdbClient

        return AdbClient("127.0.0.1", self.port).connect(serial, timeout=15)

    def wait(self, serial: str, state: str) -> None:
        """Until it knows a phone in this state. Raises RuntimeError when that does not happen."""
        for _ in range(200):
            if (serial, state) in self.states():
                return
            time.sleep(0.05)
        raise RuntimeError(f"{serial} is not {state}: {self.states()}")

    def disconnect(self, serial: str) -> None:
        from adbutils import AdbClient

        AdbClient("127.0.0.1", self.port).disconnect(serial)

    def states(self) -> set[tuple[str, str]]:
        """Serials and states of what it knows."""
        from adbutils import AdbClient

        return {(info.serial, info.state) for info in AdbClient("127.0.0.1", self.port).list()}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
