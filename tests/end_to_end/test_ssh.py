"""`-d ssh:HOST` against a real OpenSSH server on loopback, and what goes wrong on the way to a device."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.devices.address import open_device
from edgekit.devices.base import Plan
from edgekit.devices.ssh import SshTransport
from edgekit.devices.ssh_address import SshAddress, read_address
from edgekit.devices.stock import Stock
from edgekit.errors import DeviceError, UsageError
from edgekit.package import Package
from tests.cli.commands import HASTY, SOURCE, Edgekit
from tests.ssh_server import SshServer, ssh_server

PLAN = Plan(iterations=3, warmup=1, seconds=20.0, threads=1)
QUICK = ("--launches", 2, "--iterations", 3, "--warmup", 1, "--threads", 1)


def left(server: SshServer) -> list[str]:
    """Processes of this machine that came of logins to the device."""
    mark = f"HOME={server.device_home}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text(encoding="utf-8").replace("\0", " "))
    return found


def nothing_left(server: SshServer, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while left(server) and time.monotonic() < end:
        time.sleep(0.1)
    return not left(server)


def test_profiles_are_measured_there_and_recorded_here(
    ssh: SshServer, edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    package = Path(shutil.copytree(packages["w8a8"], tmp_path / packages["w8a8"].name))
    ran = edgekit("profile", package, "-d", ssh.address, *QUICK, "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.json["results"]
    assert row["device"]["name"] == ssh.address and row["device"]["provenance"] == "measured"
    assert row["run"]["samples"] == 6 and row["run"]["median"] > 0 and row["peak_memory_bytes"] > 10e6
    assert {a["output"]: a["snr_db"] for a in row["agreement"]} == {
        "boxes": 200.0,
        "scores": 200.0,
    }  # the same processor
    rows = Package(package).receipt()["measurements"]
    there = [m for m in rows if m["device"].startswith(ssh.address)]
    assert {"run median", "peak", "scores SNR, there and here"} <= {m["name"] for m in there}
    assert {p.name for p in ssh.device_home.iterdir()} == {".edgekit"}
    assert nothing_left(ssh)


def test_what_is_there_is_not_sent_again(ssh: SshServer, packages: dict[str, Path]) -> None:
    device = open_device(ssh.address)
    device.run(packages["fp32"], PLAN)
    files = {p: p.stat().st_mtime_ns for p in (ssh.device_home / ".edgekit" / "files").iterdir()}
    assert files
    again = open_device(ssh.address)
    again.run(packages["fp32"], PLAN)
    assert {p: p.stat().st_mtime_ns for p in (ssh.device_home / ".edgekit" / "files").iterdir()} == files
    device.finished(), again.finished()


def test_a_file_that_arrives_changed_is_not_taken(ssh: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    class Flipping(SshTransport):
        def put(self, local: Path, remote: str) -> None:
            (tmp_path / "other").write_bytes(b"another")
            super().put(tmp_path / "other", remote)

    folder = ssh.device_home / "stock"
    transport = Flipping(read_address(ssh.address.removeprefix("ssh:")))
    with pytest.raises(DeviceError, match="SHA-256"):
        Stock(transport, str(folder)).send({"file": tmp_path / "file"})
    transport.close()
    assert list((folder / "files").iterdir()) == [] == list((folder / "packages").iterdir())


def test_clean_removes_its_own_folder_and_no_other(ssh: SshServer, edgekit: Edgekit, packages: dict[str, Path]) -> None:
    device = open_device(ssh.address)
    device.run(packages["fp32"], PLAN)
    device.finished()
    mine = ssh.device_home / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "thesis.txt").write_text("years", encoding="utf-8")
    ran = edgekit("devices", "clean", ssh.address)
    assert ran.code == 0 and ".edgekit" in ran.out
    assert not (ssh.device_home / ".edgekit").exists()
    other = open_device(ssh.address, {"folder": str(mine)})
    with pytest.raises(DeviceError, match="failed"):
        other.clean()  # type: ignore[attr-defined]
    other.finished()
    assert (mine / "thesis.txt").exists()
    assert edgekit("devices", "clean", ssh.address).code == 0  # nothing is there any more
    (mine / "thesis.txt").unlink(), mine.rmdir()


def test_a_key_that_nobody_vouches_for_is_shown_and_refused(ssh: SshServer, edgekit: Edgekit) -> None:
    known = ssh.user_home / ".ssh" / "known_hosts"
    known.unlink()
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(ssh.device_home.parent / "host_key.pub")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    ).stdout.split()[1]
    ran = edgekit("devices", ssh.address)
    assert ran.code == 4 and fingerprint in ran.err and "not known" in ran.err
    assert not known.exists()  # asking changes nothing
    other = (ssh.user_home / ".ssh" / "id_ed25519.pub").read_text(encoding="utf-8").split()
    known.write_text(f"[127.0.0.1]:{ssh.port} {other[0]} {other[1]}\n", encoding="utf-8")
    ran = edgekit("devices", ssh.address)
    assert ran.code == 4 and "another key" in ran.err and "ssh-keygen -R" in ran.err


def test_nobody_is_let_in_without_a_key(ssh: SshServer, edgekit: Edgekit) -> None:
    key = ssh.user_home / ".ssh" / "id_ed25519"
    key.rename(key.with_name("elsewhere"))
    try:
        ran = edgekit("devices", ssh.address)
    finally:
        key.with_name("elsewhere").rename(key)
    assert ran.code == 4 and "lets nobody in" in ran.err and "ssh-copy-id" in ran.err


def test_the_users_own_configuration_counts(ssh: SshServer, edgekit: Edgekit) -> None:
    user, port = ssh.address.removeprefix("ssh:").split("@")[0], ssh.port
    config = ssh.user_home / ".ssh" / "config"
    config.write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  HostKeyAlias [127.0.0.1]:{port}\n",
        encoding="utf-8",
    )
    ran = edgekit("devices", "ssh:board", "--json")
    config.unlink()
    assert ran.code == 0, ran.err
    assert ran.json["devices"]["ssh:board"]["cores"] > 0


@pytest.mark.parametrize("end", ["power", "connection"])
def test_a_connection_that_is_lost_leaves_nothing_running(end: str, ssh: SshServer, packages: dict[str, Path]) -> None:
    device = open_device(ssh.address)
    device.run(packages["fp32"], PLAN)  # what is sent once is there now
    before = sorted(p.name for p in ssh.device_home.iterdir())
    raised: list[BaseException] = []

    def measure() -> None:
        try:
            device.run(packages["fp32"], Plan(iterations=10**6, warmup=1, seconds=300.0, threads=1))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    end_of_wait = time.monotonic() + 60
    while not any("edgekit.devices.launch" in line for line in left(ssh)) and time.monotonic() < end_of_wait:
        time.sleep(0.05)
    time.sleep(0.5)
    if end == "power":
        ssh.end()
    else:
        device.transport.close()  # type: ignore[attr-defined]
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(raised[0], DeviceError), raised
    assert "was lost" in raised[0].what
    assert nothing_left(ssh), left(ssh)
    assert sorted(p.name for p in ssh.device_home.iterdir()) == before


def test_what_runs_there_ends_when_this_side_falls_silent(tmp_path: Path) -> None:
    """A network that is gone closes nothing: the device hears nothing more."""
    from edgekit.system import tether

    mark = tmp_path / "alive"
    code = f"import time, pathlib\nwhile True: pathlib.Path({str(mark)!r}).write_text('x'); time.sleep(0.05)"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", tether.__file__, "guard", "0:0.5", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
    )
    assert process.wait(30) != 0  # its stdin is open all the time
    mark.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not mark.exists()
    assert process.stdin is not None
    process.stdin.close()


def test_a_full_disk_is_called_that(ssh: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10**6)
    transport = SshTransport(read_address(ssh.address.removeprefix("ssh:")))
    with pytest.raises(DeviceError, match=r"disk of .* is full"):
        transport.put(tmp_path / "file", "/dev/full")
    with pytest.raises(DeviceError, match=r"(?s)cannot be read.*No such file"):
        transport.get("/nowhere", tmp_path / "back")
    transport.close()


STUBS = {
    "an old Python": (
        {"python3": "echo 'python=/usr/bin/python3|3.9|aarch64|64|glibc 2.31'"},
        "Python 3.11 or later",
        "3.9",
    ),
    "no Python": ({}, "Python 3.11 or later", "PATH"),
    "32 bits": ({"python3": "echo 'python=/usr/bin/python3|3.11|armv7l|32|glibc 2.36'"}, "32-bit", "64-bit"),
    "another processor": (
        {"python3": "echo 'python=/usr/bin/python3|3.13|riscv64|64|glibc 2.36'"},
        "riscv64",
        "64-bit",
    ),
    "a C library without wheels": ({"python3": "echo 'python=/x|3.13|aarch64|64| '"}, "C library", "own"),
    "a clock of 1970": ({"date": "echo 86400"}, "years slow", "timedatectl"),
    "a disk with 3 MB": ({"df": "printf 'a\\nb 1 2 3000 3 /\\n'"}, "is full", "clean"),
    "no Linux": ({"uname": "echo Haiku"}, "no Linux", "Haiku"),
}


@pytest.mark.parametrize("name", STUBS)
def test_devices_that_cannot_do_it_say_why(name: str, tmp_path: Path, packages: dict[str, Path], user: None) -> None:
    """Commands of the device say what those of another would."""
    stubs, what, more = STUBS[name]
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in (
        "sh",
        "cat",
        "mkdir",
        "find",
        "tail",
        "tr",
        "nproc",
        "grep",
        "env",
        "sha256sum",
        "mv",
        "rm",
        "ln",
        "cp",
    ):
        found = subprocess.run(["which", tool], capture_output=True, text=True, encoding="utf-8").stdout.strip()
        (tools / tool).symlink_to(found)
    for tool in ("date", "df", "uname"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    if not name.endswith("Python"):
        (tools / "python3").symlink_to(sys.executable)
    for tool, script in stubs.items():
        (tools / tool).unlink(missing_ok=True)
        (tools / tool).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tools / tool).chmod(0o755)
    with ssh_server(tmp_path / "server", {"PATH": str(tools)}) as server:
        os.environ["HOME"] = str(server.user_home)
        device = open_device(server.address)
        with pytest.raises(DeviceError) as raised:
            device.run(packages["fp32"], PLAN)
        device.finished()
    assert what in raised.value.what and more in str(raised.value)


def test_a_lab_names_its_devices(
    ssh: SshServer, edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "devices.toml"
    lab.write_text(
        f'[[device]]\nname = "bench"\naddress = "{ssh.address}"\nclass = "raspberry-pi-5"\n'
        '[[device]]\nname = "unplugged"\naddress = "ssh:pi@127.0.0.1:1"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("EDGEKIT_DEVICES", str(lab))
    ran = edgekit("devices", "--json")
    assert ran.code == 0
    devices = ran.json["devices"]
    assert devices["bench"]["system"] and devices["bench"]["targets"] == ["raspberry-pi-5"]
    assert "cannot be reached" in devices["unplugged"]["problem"] and not devices["unplugged"]["system"]
    ran = edgekit("profile", packages["fp32"], "-d", "bench", *QUICK, "--no-record", "--json")
    assert ran.code == 0 and ran.json["results"][0]["device"]["name"] == "bench"
    ran = edgekit("profile", packages["fp32"], "-d", "bank", *QUICK)
    assert ran.code == 2 and "devices.toml" in ran.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[device]]\nname = 'a b'\naddress = 'ssh:x'", "a b"),
        ("[[device]]\nname = 'ssh'\naddress = 'ssh:x'", "no kind of device"),
        ("[[device]]\nname = 'a'\naddress = 'telnet:x'", "telnet"),
        ("[[device]]\nname = 'a'\naddress = 'ssh:x'\n[[device]]\nname = 'a'\naddress = 'ssh:y'", "two devices"),
        ("[[device]]\nname = 'a'\naddress = 'ssh:x'\npython = ['x']", "python"),
        ("device = 3", "tables"),
        ("token = 'x'", "token"),
        ("[[device]\n", "cannot be used"),
    ],
)
def test_a_lab_that_cannot_be_read(
    text: str, says: str, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    ran = edgekit("devices", "a")
    assert ran.code == 2 and says in ran.err


@pytest.mark.slow
def test_convert_times_a_target_on_its_device(ssh: SshServer, edgekit: Edgekit, tmp_path: Path) -> None:
    words = (
        "-t",
        "raspberry-pi-5",
        *HASTY,
        "--allow",
        "accuracy",
        "--allow",
        "slower",
        "--launches",
        2,
        "-o",
        tmp_path,
    )
    ran = edgekit("convert", SOURCE, *words, "-d", ssh.address, "--json")
    assert ran.code == 0, ran.err
    receipt = ran.json["packages"][0]["receipt"]
    rows = {m["name"]: m for m in receipt["measurements"] if m["group"] == "latency"}
    assert rows["ratio to float"]["device"].startswith(ssh.address)
    assert rows["run median"]["value"] > 0 and f"--device {ssh.address}" in rows["run median"]["command"]
    ran = edgekit("convert", SOURCE, *words[:2], *HASTY, "-d", "local", "-o", tmp_path)
    assert ran.code == 2 and "raspberry-pi-5 on ssh" in ran.err
    ran = edgekit("convert", SOURCE, *words[:2], *HASTY, "-d", ssh.address, "--launches", 0, "-o", tmp_path)
    assert ran.code == 2 and "--launches 0" in ran.err


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "u@", "h:0", "h:99999", "[::1", "a@b@c"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        read_address(text)


def test_addresses() -> None:
    assert read_address("pi@10.0.0.1:2222") == SshAddress("10.0.0.1", "pi", 2222)
    assert read_address("[fe80::1%eth0]:22") == SshAddress("fe80::1%eth0", "", 22)
    assert str(read_address("[::1]")) == "[::1]" and read_address("h:5").words == "-p 5 h"


def test_an_interpreter_that_has_edgekit_is_taken_as_it_is(ssh: SshServer, packages: dict[str, Path]) -> None:
    device = open_device(ssh.address, {"edgekit": "own", "python": sys.executable})
    launch = device.run(packages["fp32"], PLAN)
    device.finished()
    assert launch.samples_s["run"] and launch.edgekit
    with pytest.raises(UsageError, match="interpreter"):
        open_device(ssh.address, {"edgekit": "own"})
    with pytest.raises(UsageError, match="temperature"):
        open_device(ssh.address, {"max_temperature_c": "hot"})
    with pytest.raises(UsageError, match="no option"):
        open_device("local", {"python": "x"})
    assert json.dumps(launch.others) == "{}"
