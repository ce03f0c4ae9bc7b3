"""Machines behind a transport that answer what no honest one does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.devices.base import Finished
from edgekit.devices.process import read_launch, run_module
from edgekit.devices.remote import RemoteDevice
from edgekit.devices.remote_machine import look_at
from edgekit.errors import DeviceError, EdgekitError
from edgekit.system.documents import JsonObject


@dataclass
class Liar:
    """Says `answers` in turn, the last one for ever."""

    answers: list[str]
    place: str = "a board"
    python: str = "python3"
    asked: list[Sequence[str]] = field(default_factory=list)

    def put(self, local: Path, remote: str) -> None: ...

    def get(self, remote: str, local: Path) -> None: ...

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        self.asked.append(command)
        return Finished(0, self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], "")


def honest(**other: str) -> str:
    facts = {"system": "Linux", "kernel": "6.1 aarch64", "home": "/home/pi", "clock": str(int(time.time())), **other}
    python = "python=/usr/bin/python3|3.11|aarch64|64|glibc 2.36"
    return "\n".join([*(f"{k}={v}" for k, v in facts.items()), python, "MemTotal: 4000000 kB"])


def test_an_honest_machine_is_understood() -> None:
    machine = look_at(Liar([honest(board="Raspberry Pi 5")]))
    assert (machine.chip, machine.memory_bytes, machine.wheels.tag) == ("Raspberry Pi 5", 4096000000, "cp311-aarch64")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\0" * 1000,
        "=" * 10**6,
        honest(clock="9" * 5000),
        honest(clock="-1"),
        honest(home="relative; rm -rf /"),
        honest(system="Linux\x1b[2J"),
        honest().replace("3.11", "3.x"),
        honest().replace("|64|", "|sixty|"),
        honest().replace("3.11", "9" * 5000 + ".1"),
    ],
)
def test_a_shell_that_says_nonsense_is_one_error(answer: str) -> None:
    with pytest.raises(DeviceError):
        look_at(Liar([answer]))


def test_what_a_machine_calls_itself_cannot_steer_a_terminal() -> None:
    info = {
        "name": "x",
        "chip": "\x1b[31mred\x1b]0;title\x07",
        "system": "s" * 10**5,
        "cores": 4,
        "memory_bytes": 1,
        "facts": {f"f\x1b{i}": "v\r\n" for i in range(1000)},
    }
    device = RemoteDevice(Liar([honest(), "", json.dumps(info)]), python="/usr/bin/python3", own=True)
    seen = device.info()
    assert "\x1b" not in seen.chip and len(seen.system) <= 300 and len(seen.facts) <= 50
    assert not any("\x1b" in name or "\n" in fact for name, fact in seen.facts.items())


SEEN: JsonObject = {
    "samples_s": {"run": [0.1]},
    "cold_load_s": 1.0,
    "warm_load_s": 0.5,
    "first_run_s": 0.2,
    "peak_memory_bytes": 1,
    "threads": 1,
    "engine": "e 1",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples_s": {}},
        {"samples_s": {"run": []}},
        {"samples_s": {"run": ["fast"]}},
        {"threads": "many"},
        {"curve": [1]},
    ],
)
def test_a_launch_without_sense_is_one_error(wrong: JsonObject) -> None:
    with pytest.raises(DeviceError, match="a board"):
        read_launch({**SEEN, **wrong}, "a board")


@pytest.mark.parametrize(
    "answer",
    [
        "NaN",
        '{"a": NaN}',
        "[" * 10**5,
        '{"a": 1, "a": 2}',
        "9" * 10**5,
        '{"error": 5}',
        '{"error": "OSError"}',
        '{"error": [], "what": {}}',
    ],
)
def test_an_answer_that_is_no_json_of_ours_is_one_error(answer: str) -> None:
    with pytest.raises(EdgekitError):
        run_module(Liar([answer]), "edgekit.devices.there", ["info"])


def test_a_hot_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.devices import remote

    monkeypatch.setattr(remote, "_LOOK_S", 0.0)
    answers = [honest(), "", *(json.dumps({"hottest_celsius": c}) for c in (80, 70, 59))]
    device = RemoteDevice(Liar(answers), python="/usr/bin/python3", own=True, warmest=60)
    device._cool_down(device._site(""), 60)
    for answer, says in ((json.dumps({"hottest_celsius": 90}), "stays at 90"), ("{}", "no thermometer")):
        monkeypatch.setattr(remote, "_COOLING_S", 0.0)
        device = RemoteDevice(Liar([honest(), "", answer]), python="/usr/bin/python3", own=True, warmest=60)
        with pytest.raises(DeviceError, match=says):
            device._cool_down(device._site(""), 60)


def test_nothing_that_a_machine_says_is_run_by_a_shell() -> None:
    """Its home has a quote in it: words reach the transport apart from the scripts."""
    liar = Liar([honest(home="/home/a'; touch /tmp/x; '")])
    device = RemoteDevice(liar)
    device.stock.transport.run(["true"], {}, 1)
    assert device.stock.folder == "/home/a'; touch /tmp/x; '/.edgekit"
    device.clean()
    assert liar.asked[-1][4] == device.stock.folder  # a word of its own, never part of the script
