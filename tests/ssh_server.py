"""A real OpenSSH server on loopback, which lets in one key and serves one home folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
INSTALL = "apt-get install openssh-server"  # which `make test` names where it is missing


@dataclass
class SshServer:
    """`user_home`: has `.ssh` as a user of it would. `device_home`: the home folder that a login finds."""

    port: int
    user_home: Path
    device_home: Path
    process: subprocess.Popen[bytes]
    log: Path
    known: str = field(default="")

    @property
    def address(self) -> str:
        return f"ssh:{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1:{self.port}"

    def end(self) -> None:
        """As when the power goes: the server and all its sessions."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def sessions(self) -> list[int]:
        """Processes of the server that serve one connection each."""
        rows = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, encoding="utf-8", check=True
        ).stdout.splitlines()
        parents = {int(r.split()[0]): (int(r.split()[1]), r.split()[2]) for r in rows}
        family = {self.process.pid}
        for _ in range(4):
            family |= {pid for pid, (parent, name) in parents.items() if parent in family and name.startswith("sshd")}
        return sorted(family - {self.process.pid})


@contextlib.contextmanager
def ssh_server(folder: Path, environment: dict[str, str] | None = None) -> Iterator[SshServer]:
    """`environment`: of logins, besides HOME. Needs `sshd`."""
    assert SSHD is not None
    device, user = folder / "device", folder / "user"
    (user / ".ssh").mkdir(parents=True, mode=0o700)
    device.mkdir()
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]
    for path in (folder / "host_key", user / ".ssh" / "id_ed25519"):
        subprocess.run([*keygen, str(path)], check=True, stdin=subprocess.DEVNULL)
    shutil.copy(user / ".ssh" / "id_ed25519.pub", folder / "authorized")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pairs = {"HOME": str(device), **(environment or {})}
    config = folder / "sshd_config"
    config.write_text(
        "\n".join(
            [
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {folder / 'host_key'}",
                f"AuthorizedKeysFile {folder / 'authorized'}",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                f"PidFile {folder / 'pid'}",
                "SetEnv " + " ".join(f'"{name}={value}"' for name, value in pairs.items()),
                "",
            ]
        ),
        encoding="utf-8",
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server locks itself in before a login
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdout=output, stderr=output)
    server = SshServer(port, user, device, process, log)
    try:
        _wait_until_up(server)
        key = (folder / "host_key.pub").read_text(encoding="utf-8").split()
        server.known = f"[127.0.0.1]:{port} {key[0]} {key[1]}\n"
        (user / ".ssh" / "known_hosts").write_text(server.known, encoding="utf-8")
        yield server
    finally:
        server.end()
        process.kill()
        process.wait()


def _wait_until_up(server: SshServer) -> None:
    end = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
            return
        if server.process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"sshd does not start: {server.log.read_text(encoding='utf-8')}")
        time.sleep(0.05)
