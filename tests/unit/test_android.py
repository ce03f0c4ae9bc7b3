"""What phones and benchmark programs say, read: as it is documented, as others write it, and as a stranger might."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.devices import adb_server
from edgekit.devices.adb import AdbDevice
from edgekit.devices.adb_server import Attached, chosen, client, refused
from edgekit.devices.android import Phone, read, recognised
from edgekit.devices.base import Plan
from edgekit.devices.elf import check_program
from edgekit.devices.native import BenchmarkModel, Call, PerfTest, failure, tool_for
from edgekit.errors import DeviceError, MissingError, UsageError
from edgekit.package.receipt import Provenance

CALL = Call("/data/local/tmp/b", "/data/local/tmp/m.tflite", "/data/local/tmp/r.csv", Plan(iterations=50), 4)
SAID = """property ro.soc.model SM8550
property ro.soc.manufacturer QTI
property ro.build.version.release 14
property ro.hardware qcom
Current Battery Service state:
  USB powered: false
  status: 3
  level: 40
  scale: 50
  temperature: 305
thermal
Thermal Status: 2
Current temperatures from HAL:
\tTemperature{mValue=61.5, mType=0, mName=cpu0-gold, mStatus=0}
\tTemperature{mValue=70.25, mType=0, mName=cpu4-gold, mStatus=0}
\tTemperature{mValue=38.0, mType=3, mName=skin, mStatus=2}
Current cooling devices from HAL:
MemTotal:       11631760 kB
cores cpu0 cpu1 cpu2 cpu3 cpu7
cpu0/cpu_capacity:300
cpu1/cpu_capacity:300
cpu2/cpu_capacity:800
cpu3/cpu_capacity:800
cpu7/cpu_capacity:1024
cpu0/cpufreq/cpuinfo_max_freq:2016000
cpu1/cpufreq/cpuinfo_max_freq:2016000
cpu2/cpufreq/cpuinfo_max_freq:2803200
cpu3/cpufreq/cpuinfo_max_freq:2803200
cpu7/cpufreq/cpuinfo_max_freq:3187200
cpu7/cpufreq/scaling_cur_freq:1555200
cpu0/cpufreq/scaling_governor:walt
cpu7/cpufreq/scaling_governor:performance
"""


def test_a_phone_with_three_clusters() -> None:
    phone = read(SAID)
    info = phone.info("adb:x")
    assert info.provenance is Provenance.MEASURED and info.cores == 5 and info.chip == "QTI SM8550"
    assert info.facts["clusters"] == "2x 2.0 GHz + 2x 2.8 GHz + 1x 3.2 GHz"
    assert info.facts["frequency_policy"] == "walt ×1, performance ×1"
    assert info.facts["battery"] == "80 %, 30.5 °C" and info.facts["thermal_status"] == "moderate"
    assert info.facts["targets"] == "snapdragon-8-gen-2" and "identity" not in info.facts
    assert phone.readings() == {
        "cpu_celsius": 70.25,
        "skin_celsius": 38.0,
        "battery_celsius": 30.5,
        "battery_percent": 80.0,
        "thermal_status": 2.0,
        "fastest_core_mhz": 1555.2,
    }
    assert not phone.warnings()
    masks = {name: phone.mask(name) for name in ("little", "big", "prime", "0x8c", "1")}
    assert masks == {"little": 0b11, "big": 0b10001100, "prime": 0b10000000, "0x8c": 0x8C, "1": 1}
    for cores in ("0", "10", "fast", "-1", "f" * 100):
        with pytest.raises(UsageError, match="no cores of this phone"):
            phone.mask(cores)


def test_cores_that_are_all_alike_have_no_names() -> None:
    phone = read("property a b\nthermal\ncores cpu0 cpu1\n")
    assert phone.mask("3") == 3 and not phone.clusters_in_words()
    with pytest.raises(UsageError) as refusal:
        phone.mask("big")
    assert "little" not in refusal.value.next


@pytest.mark.parametrize(
    "said",
    [
        "",
        "property\nproperty x\n",
        SAID.replace("40", "99999999999").replace("scale: 50", "scale: 0"),
        SAID.replace("Thermal Status: 2", "Thermal Status: 99").replace("61.5", "9e999"),
        SAID.replace("cpu0 cpu1", "cpu0 " * 5000),
        "property ro.product.model \x1b[31m" + "x" * 10_000 + "\n" + SAID,
    ],
)
def test_strangers_say_anything(said: str) -> None:
    phone = read(said)
    info = phone.info("adb:x")
    assert info.chip and info.system and 0 <= info.cores <= 256
    assert all(len(text) < 500 and text.isprintable() for text in info.facts.values())
    assert all(-300 < value < 1e6 for value in phone.readings().values())


def test_what_makes_a_moment_suspect() -> None:
    hot = read(SAID.replace("Thermal Status: 2", "Thermal Status: 4").replace("level: 40", "level: 7"))
    assert ["critical" in w or "14 %" in w for w in hot.warnings()] == [True, True]
    assert not read(SAID.replace("level: 40", "level: 7").replace("status: 3", "status: 2")).warnings()


def test_which_targets_a_chip_is() -> None:
    assert recognised("SM8750") == ["snapdragon-8-elite"]
    assert recognised("") == [] and recognised("Tensor G4") == []


def test_an_emulator_is_one() -> None:
    for line in ("property ro.kernel.qemu 1", "property ro.boot.qemu 1", "property ro.hardware cutf_cvm"):
        phone: Phone = read(f"{line}\n{SAID.replace('property ro.hardware qcom', '')}")
        assert phone.emulated and phone.info("adb:x").provenance is Provenance.SIMULATED


OLD = """STARTING!
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=12 first=156677 curr=33205 min=32578 max=156677 avg=43268.1 std=34197

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=33228 curr=33130 min=32687 max=33239 avg=33071.8 std=129

Inference timings in us: Init: 3501, First inference: 156677, Warmup (avg): 43268.1, Inference (avg): 33071.8
"""
NEW = """INFO: count=3 first=235158 curr=200386 min=199462 max=235158 avg=211669 std=16613 p5=199462 median=200386 p95=235158
INFO: count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 p95=187533
INFO: Inference timings in us: Init: 92318, First inference: 235158, Warmup (avg): 211669, Inference (avg): 1.45528e+06
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.2383
"""

LITERT = """INFO: Initialized session in 4.478ms.
INFO: count=1 first=1033 curr=1033 min=1033 max=1033 avg=1033 std=0 p5=1033 median=1033 p95=1033

INFO: count=50 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478

INFO: [./litert/tools/benchmark_litert_model.h:81] 
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:82] Model initialization: 4.48 ms
INFO: [./litert/tools/benchmark_litert_model.h:84] Warmup (first):       1.03 ms
INFO: [./litert/tools/benchmark_litert_model.h:86] Warmup (avg):         0.47 ms (1 runs)
INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      0.46 ms (50 runs)
INFO: [./litert/tools/benchmark_litert_model.h:118] Peak memory:          21.50 MB
"""


def test_benchmark_model_of_litert() -> None:
    launch = BenchmarkModel().launch(LITERT, "", CALL)
    assert launch.samples_s == {"run": [pytest.approx(0.000462)]} and "the median of its 50 runs" in launch.engine
    assert (launch.cold_load_s, launch.first_run_s) == pytest.approx((0.00448, 0.00103))
    assert launch.peak_memory_bytes == int(21.5 * 2**20)
    none = LITERT.replace("0.46 ms", "0.00 ms").replace("median=", "m=")
    with pytest.raises(ValueError, match="no runs"):
        BenchmarkModel().launch(none, "", CALL)


def test_benchmark_model_old_and_new() -> None:
    old, new = (BenchmarkModel().launch(text, "", CALL) for text in (OLD, NEW))
    assert old.samples_s == {"run": [pytest.approx(0.0330718)]} and "the mean of its 50 runs" in old.engine
    assert new.samples_s == {"run": [pytest.approx(0.141253)]} and "the median of its 25 runs" in new.engine
    assert (old.cold_load_s, old.first_run_s) == pytest.approx((0.003501, 0.156677))
    assert old.peak_memory_bytes == 0 and new.peak_memory_bytes == int(93.2383 * 2**20)
    bare = BenchmarkModel().launch(NEW.splitlines()[2], "", CALL)  # of more than a second: C++ writes an exponent
    assert bare.samples_s == {"run": [pytest.approx(1.45528)]} and "the mean of its runs" in bare.engine
    for text in ("", "Inference timings in us: Init: -1, First", NEW.replace("Init: 92318", "Init: nan")):
        with pytest.raises(ValueError, match="no timings"):
            BenchmarkModel().launch(text, "", CALL)
    words = BenchmarkModel().words(CALL)
    assert {"--num_runs=50", "--min_secs=0", "--num_threads=4", f"--graph={CALL.model}"} <= set(words)


PRINTED = """Setting intra_op_num_threads to 4
Session creation time cost: 0.0273071 s
First inference time cost: 20 ms
Total inference time cost: 0.14188 s
"""


def test_onnxruntime_perf_test() -> None:
    rows = "mod,0.0159831,35299328,98,0\nmod,0.0232702,35299328,98,1\n\nMin Latency: 0.0159831 s\n"
    once = replace(CALL, plan=Plan(iterations=2, warmup=1))
    launch = PerfTest().launch(PRINTED, rows, once)
    assert launch.samples_s == {"run": [0.0159831, 0.0232702]} and launch.peak_memory_bytes == 35299328
    assert (launch.cold_load_s, launch.first_run_s) == (0.0273071, 0.02)
    for bad in ("", "m,x,1,1,0\n", "m,-1,1,1,0\n", "m,nan,1,1,0\n", "m,1e9,1,1,0\n", "m,0.1,x,1,0\n"):
        with pytest.raises(ValueError, match=r"."):
            PerfTest().launch(PRINTED, bad, once)
    words = PerfTest().words(CALL)
    assert words[-2:] == [CALL.model, CALL.results] and words[words.index("-r") + 1] == "54"  # four of them warm up


def test_packages_that_need_python_are_sent_to_termux() -> None:
    with pytest.raises(UsageError) as refusal:
        tool_for("genai", "a-model")
    assert "a phone's shell has none" in refusal.value.why and "ssh:HOST:8022" in refusal.value.next


def test_what_a_program_said_last_is_the_reason() -> None:
    said = "INFO: all well\nERROR: Failed to apply the delegate\nbye\n"
    assert failure(BenchmarkModel(), "the phone", 1, said).why == "ERROR: Failed to apply the delegate"
    assert failure(BenchmarkModel(), "the phone", 4, "").why == "exit code 4"


def elf(machine: int, loader: str = "", wide: bool = True) -> bytes:
    """The head of a program for 64 bits, or 32, little endian."""
    name = loader.encode() + b"\0"
    if wide:
        head = (
            b"\x7fELF\x02\x01\x01"
            + bytes(9)
            + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        )
        segment = struct.pack("<IIQQQQQQ", 3 if loader else 1, 4, 120, 0, 0, len(name), len(name), 1)
    else:
        head = (
            b"\x7fELF\x01\x01\x01"
            + bytes(9)
            + struct.pack("<HHIIIIIHHHHHH", 3, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        )
        segment = struct.pack("<IIIIIIII", 3 if loader else 1, 84, 0, 0, len(name), len(name), 4, 1)
    return head + segment + name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (elf(183), ""),
        (elf(183, "/system/bin/linker64"), ""),
        (elf(40, "/system/bin/linker", wide=False), ""),
        (b"#!/system/bin/sh\n", ""),
        (elf(62), "was built for x86_64, and this phone runs arm64-v8a, armeabi-v7a"),
        (elf(999), "processor 999"),
        (elf(183, "/lib/ld-linux-aarch64.so.1"), "for Linux, not for Android"),
        (elf(40, "/lib/ld-linux-armhf.so.3", wide=False), "for Linux, not for Android"),
        (b"MZ" + bytes(200), "no program for a phone"),
        (b"\x7fELF", "no program for a phone"),
        (elf(183)[:64] + b"\xff" * 8, ""),  # cut off: the phone will say
    ],
)
def test_programs_for_phones(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    if not words:
        check_program(path, ("arm64-v8a", "armeabi-v7a"))
        return
    with pytest.raises(UsageError) as refusal:
        check_program(path, ("arm64-v8a", "armeabi-v7a"))
    assert words in str(refusal.value) and refusal.value.next


def test_which_phone_is_meant() -> None:
    ready, shy = Attached("R5", ""), Attached("S6", "it does not allow this computer yet", "unlock it")
    assert chosen([ready], "") is ready and chosen([ready, shy], "R5") is ready
    assert chosen([ready, shy], ready.address.removeprefix("adb:")) is ready
    assert "R5" not in ready.address
    with pytest.raises(UsageError, match="2 phones"):
        chosen([ready, shy], "")
    with pytest.raises(DeviceError, match="S6"):
        chosen([shy], "")
    with pytest.raises(DeviceError, match="No phone"):
        chosen([], "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "USB debugging"),
        ("device offline", "plug it in again"),
        ("device 'R5' not found", "was lost"),
        ("", "was lost"),
        ("something new", "something new"),
    ],
)
def test_what_adb_says_of_a_phone_that_it_cannot_use(said: str, words: str) -> None:
    assert words in str(refused("the phone adb:x", said))


def test_a_server_is_started_for_who_measures_and_never_for_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    adbutils, started = pytest.importorskip("adbutils"), list[list[str]]()
    for name in ("ANDROID_ADB_SERVER_HOST", "ANDROID_ADB_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(adb_server, "_listens", lambda host, port: False)
    monkeypatch.setattr(adb_server.subprocess, "run", lambda words, **_: started.append(words))
    monkeypatch.setattr(adbutils, "adb_path", lambda: "adb")
    with pytest.raises(DeviceError, match="No adb server is running") as refusal:
        client(start=False)
    assert not started and "-d adb:" in refusal.value.next
    client(start=True)
    assert started == [["adb", "start-server"]]
    monkeypatch.setattr(adbutils, "adb_path", lambda: 1 / 0)
    with pytest.raises(DeviceError, match="does not start"):
        client(start=True)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbutils", None)
    for question in (AdbDevice().info, AdbDevice().listing, AdbDevice("R5").clean):
        with pytest.raises(MissingError) as missing:
            question()
        assert missing.value.next == "pip install 'edgekit-ml[adb]'"


def test_only_who_measures_loads_the_library() -> None:
    script = "import sys, edgekit.devices.adb\nassert not {'adbutils', 'PIL'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True)
