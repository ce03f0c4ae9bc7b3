"""Packages on a phone over adb: the real server and library, and a double of a phone (tests/adb_double)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.adb import FOLDER, AdbDevice
from edgekit.devices.base import Plan
from edgekit.devices.record import launch_from_json, launch_to_json
from edgekit.errors import DeviceError, UsageError
from edgekit.package.receipt import Provenance
from tests.adb_double.phone import MODEL, Phone
from tests.cli.commands import Edgekit

pytest.importorskip("adbutils")
if sys.platform != "linux":
    pytest.skip("the double's shell is this machine's, and wants Linux", allow_module_level=True)

from tests.adb_double.adb import AdbServer
from tests.adb_double.server import Double

TOOLS = Path(__file__).parents[1] / "adb_double" / "stand_ins"
PLAN = Plan(iterations=4, warmup=2, seconds=10.0, threads=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    try:
        running = AdbServer(tmp_path_factory.mktemp("adb"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"adb does not run here: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(running.port))
        yield running
    running.close()


@pytest.fixture
def double(server: AdbServer, tmp_path: Path) -> Iterator[Double]:
    """Connected, and the only one."""
    made = Double(Phone(tmp_path / "phone"))
    connected(server, made, "device")
    yield made
    made.close()
    server.disconnect(made.serial)


def connected(server: AdbServer, double: Double, state: str) -> None:
    server.connect(double.serial)
    server.wait(double.serial, state)


def device(double: Double, **options: str) -> AdbDevice:
    return AdbDevice(double.serial, **options)


def left(double: Double) -> list[str]:
    """Files of edgekit on the phone, by their paths in its folder."""
    folder = double.phone.folder / FOLDER.lstrip("/")
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def running(word: str) -> bool:
    return subprocess.run(["pgrep", "-f", word], capture_output=True).returncode == 0


def ends(word: str) -> bool:
    """Whether every process with this word in its command line ends."""
    for _ in range(200):
        if not running(word):
            return True
        time.sleep(0.05)
    return False


def script(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    return str(path)


def test_what_it_says_of_itself(double: Double) -> None:
    found = device(double)
    info = found.info()
    assert info.chip == "QTI SM8750" and info.system == "Android 15 (API 35)" and info.cores == 8
    assert info.memory_bytes == 15728640 * 1024
    assert MODEL in info.facts["model"] and info.facts["emulated"]
    assert info.provenance is Provenance.SIMULATED
    assert info.facts["targets"] == "snapdragon-8-elite"
    assert info.facts["clusters"] == "6x 3.5 GHz + 2x 4.3 GHz" and info.facts["frequency_policy"] == "walt ×8"
    assert info.facts["battery"] == "85 %, 28.1 °C, charging" and info.facts["thermal_status"] == "none"
    words = json.dumps([info.name, *info.facts.values()])
    assert double.serial not in words and "DOUBLE0001" not in words
    assert AdbDevice(info.name.removeprefix("adb:")).info() == info  # a record's name finds it again
    assert AdbDevice().info() == info  # and so does none, where it is the only one
    assert found.listing() == [info]


def test_a_tflite_package(double: Double, tflite_packages: dict[str, Path]) -> None:
    phone = device(double, binary=str(TOOLS / "benchmark_model"))
    launch = phone.run(tflite_packages["fp32"], PLAN)
    assert len(launch.samples_s["run"]) == 1 and launch.samples_s["run"][0] > 0
    assert min(launch.cold_load_s, launch.first_run_s, launch.peak_memory_bytes) > 0
    assert launch.engine == "benchmark_model (one sample a launch: the median of its 4 runs)"
    assert launch.threads == 1 and not launch.cold_is_cold and launch.host.emulated and not launch.host.warning
    assert launch.host.before == launch.host.after
    assert launch.host.before["battery_celsius"] == 28.1 and launch.host.before["skin_celsius"] == 33.25
    assert launch.host.before["fastest_core_mhz"] == 1017.6
    assert launch_from_json(json.loads(json.dumps(launch_to_json(launch)))) == launch
    sent = list(double.phone.sent)
    assert len(sent) == 2 and all(".part" in path for path in sent)
    phone.run(tflite_packages["fp32"], PLAN)
    assert double.phone.sent == sent  # what is there is not sent again
    names = left(double)
    assert [n for n in names if n.endswith(".tflite")] and not [n for n in names if ".part" in n]
    assert FOLDER in phone.clean()
    assert not (double.phone.folder / FOLDER.lstrip("/")).exists()
    assert "nothing" in phone.clean()
    phone.finished()


def test_an_onnx_runtime_package_has_every_sample(double: Double, packages: dict[str, Path]) -> None:
    phone = device(double, binary=str(TOOLS / "onnxruntime_perf_test"), cores="big")
    launch = phone.run(packages["fp32"], Plan(iterations=4, seconds=10.0))
    short = phone.run(packages["fp32"], Plan(iterations=1000, warmup=1, seconds=1e-6))
    assert len(short.samples_s["run"]) == 3  # the program itself knows no seconds
    assert len(launch.samples_s["run"]) == 4 and min(launch.samples_s["run"]) > 0
    assert launch.engine == "onnxruntime_perf_test" and launch.threads == 2  # as many as the cores that were chosen
    assert launch.cold_load_s > 0 and launch.peak_memory_bytes > 0
    assert (double.phone.folder / "taskset").read_text(encoding="utf-8").split() == ["c0"] * 3
    assert not [n for n in left(double) if n.startswith("results")]


def test_by_the_command_line(double: Double, edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    table = tmp_path / "devices.toml"
    binary = TOOLS / "onnxruntime_perf_test"
    table.write_text(
        f'[[device]]\nname = "drawer"\naddress = "adb:{double.serial}"\nbinary = "{binary}"\n', encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_DEVICES", str(table))
        words = ("--launches", 1, "--iterations", 3, "--threads", 1, "--no-record", "--json")
        ran = edgekit("profile", packages["fp32"], "-d", "drawer", *words)
    assert ran.code == 0, ran.err
    assert double.serial not in ran.out


def test_a_program_that_is_on_the_phone(double: Double, tflite_packages: dict[str, Path]) -> None:
    place = double.phone.folder / "data/local/tmp/bench"
    place.write_bytes((TOOLS / "benchmark_model").read_bytes())
    place.chmod(0o755)
    launch = device(double, binary="/data/local/tmp/bench").run(tflite_packages["fp32"], PLAN)
    assert launch.samples_s["run"]
    assert len(double.phone.sent) == 1  # the model alone


def test_what_is_refused(double: Double, packages: dict[str, Path]) -> None:
    cases = [
        ({}, packages["fp32"], "none was named"),
        ({"binary": "nowhere"}, packages["fp32"], "no program nowhere"),
        ({"binary": sys.executable}, packages["fp32"], "was built for x86_64, and this phone runs arm64-v8a"),
        ({"binary": __file__}, packages["fp32"], "no program for a phone"),
        ({"binary": "/data/x", "cores": "ff00"}, packages["fp32"], "no cores of this phone"),
    ]
    for options, package, words in cases:
        with pytest.raises(UsageError) as refusal:
            device(double, **options).run(package, PLAN)
        assert words in str(refusal.value) and refusal.value.next
    with pytest.raises(UsageError, match="no outputs"):
        device(double).outputs(packages["fp32"], [])
    assert not double.phone.sent


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("exit 3", "exit code 3"),
        ("echo 'CANNOT LINK EXECUTABLE: library \"libx.so\" not found' >&2; exit 1", "libx.so"),
        ("echo hello", "no timings"),
        ("kill -9 $$", "it was killed"),
    ],
)
def test_a_program_that_fails(
    double: Double, tflite_packages: dict[str, Path], tmp_path: Path, program: str, words: str
) -> None:
    with pytest.raises(DeviceError) as failed:
        device(double, binary=script(tmp_path, program)).run(tflite_packages["fp32"], PLAN)
    assert words in str(failed.value)


@pytest.mark.parametrize("program", ["echo started; exec sleep {}", "sleep {} & wait", "trap '' HUP; sleep {}"])
def test_a_connection_that_is_lost_leaves_nothing_running(
    double: Double, tflite_packages: dict[str, Path], tmp_path: Path, program: str
) -> None:
    word = f"30{secrets.randbelow(10**9):09}"
    double.phone.faults.unplugged_by = "--graph="
    with pytest.raises(DeviceError, match="was lost") as failed:
        device(double, binary=script(tmp_path, program.format(word))).run(tflite_packages["fp32"], PLAN)
    assert "plug it in again" in failed.value.next
    assert ends(word)


def test_a_command_that_takes_too_long_is_ended(double: Double) -> None:
    word = f"30{secrets.randbelow(10**9):09}"
    with pytest.raises(DeviceError, match="more than 1 seconds"):
        device(double).transport.run(["sleep", word], {}, 1)
    assert ends(word)


def test_files_and_commands(double: Double, tmp_path: Path) -> None:
    transport, folder = device(double).transport, tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    content = secrets.token_bytes(200_000)
    (folder / "inner" / "file").write_bytes(content)
    transport.put(folder, "/data/local/tmp/there")
    transport.get("/data/local/tmp/there/inner/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    with pytest.raises(DeviceError, match="No such file"):
        transport.get("/data/local/tmp/nothing", tmp_path / "back")
    with pytest.raises(DeviceError, match="cannot be copied"):
        transport.put(folder / "inner" / "file", "/data/local/tmp/there/inner")  # a folder
    ended = transport.run(["sh", "-c", "echo $A; echo it\\'s >&2; exit 5"], {"A": "b c"}, 9)
    assert (ended.code, ended.output, ended.errors) == (5, "b c\n", "it's\n")
    with pytest.raises(DeviceError, match="printed more than"):
        transport.run(["head", "-c", "20000000", "/dev/zero"], {}, 60)


def test_a_full_disk_leaves_nothing_by_half(double: Double, tflite_packages: dict[str, Path]) -> None:
    double.phone.faults.room_bytes = 100_000
    phone = device(double, binary=str(TOOLS / "benchmark_model"))
    with pytest.raises(DeviceError, match=r"disk of .* is full") as failed:
        phone.run(tflite_packages["fp32"], PLAN)
    assert "No space left" in failed.value.why and "clean" in failed.value.next
    assert not [n for n in left(double) if n.endswith((".part", ".tflite"))]


def test_a_connection_that_is_lost_while_a_file_is_sent(double: Double, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(40_000_000))
    transport = device(double).transport
    double.phone.faults.unplugged_at_bytes = 1_000_000
    with pytest.raises(DeviceError, match="was lost"):
        transport.put(tmp_path / "large", "/data/local/tmp/edgekit/files/large.part")
    assert not left(double)


def test_a_hot_phone_and_an_empty_battery_mark_the_launch(double: Double, tflite_packages: dict[str, Path]) -> None:
    double.phone.set_thermal(3)
    double.phone.set_battery(9, charging=False)
    launch = device(double, binary=str(TOOLS / "benchmark_model")).run(tflite_packages["fp32"], PLAN)
    assert "thermal status severe" in launch.host.warning and "9 % and not charging" in launch.host.warning


def test_phones_that_cannot_be_used(server: AdbServer, tmp_path: Path) -> None:
    phones = [Double(Phone(tmp_path / name)) for name in ("one", "two", "three")]
    one, two, three = phones
    two.phone.faults.unauthorised = True
    try:
        for question in (AdbDevice().info, AdbDevice().listing):
            with pytest.raises(DeviceError, match="No phone is connected"):
                question()
        connected(server, one, "device")
        connected(server, two, "unauthorized")
        connected(server, three, "device")
        three.unplug()
        with pytest.raises(UsageError, match="3 phones are connected") as several:
            AdbDevice().info()
        assert one.serial in several.value.why and several.value.next
        with pytest.raises(DeviceError, match="does not allow this computer") as refusal:
            device(two).info()
        assert "allow USB debugging" in refusal.value.next
        server.wait(three.serial, "offline")
        with pytest.raises(DeviceError, match="offline"):
            device(three).info()
        with pytest.raises(DeviceError, match="There is no phone nobody"):
            AdbDevice("nobody").info()
        listed = {info.chip: info for info in AdbDevice().listing()}
        assert len(AdbDevice().listing()) == 3 and "QTI SM8750" in listed
        assert [info.chip for info in device(one).nearby()] == ["QTI SM8750"]
        with pytest.raises(DeviceError, match="does not allow this computer"):
            device(two).nearby()
        reasons = " ".join(info.facts.get("unreachable", "") for info in AdbDevice().listing())
        assert "allow USB debugging" in reasons and "offline" in reasons
        one.phone.faults.silent = True
        assert "does not answer" in " ".join(i.system for i in AdbDevice().listing())
        one.phone.faults.silent, one.phone.faults.slow_s = False, 3.0
        assert "more than 1.5 seconds" in " ".join(i.system for i in AdbDevice().listing())
    finally:
        for phone in phones:
            phone.close()
            server.disconnect(phone.serial)


def test_without_a_server_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    for question in (AdbDevice().listing, AdbDevice().info):
        with pytest.raises(DeviceError, match="No adb server is running"):
            question()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "many")
    with pytest.raises(UsageError, match="no port"):
        AdbDevice().listing()


def test_the_double_is_an_adb_device_to_adb_itself(server: AdbServer, double: Double, tmp_path: Path) -> None:
    """The real client, with the later versions of the file protocol that it prefers."""
    from adbutils import adb_path

    def adb(*words: str) -> subprocess.CompletedProcess[str]:
        command = [adb_path(), "-P", str(server.port), "-s", double.serial, *words]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=30)

    (tmp_path / "file").write_bytes(os.urandom(100_000))
    assert adb("push", str(tmp_path / "file"), "/data/local/tmp/file").returncode == 0
    assert adb("pull", "/data/local/tmp/file", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert adb("shell", "getprop ro.product.model").stdout.strip() == MODEL
    assert adb("shell", "exit 7").returncode == 7
