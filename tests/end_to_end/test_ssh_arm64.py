"""A board of another processor over SSH: Python and engines of ARM64 under user-mode emulation, behind a real server.

For results only: what emulated code takes is no latency, and edgekit says so itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.package import Package
from edgekit.profiling.agreement import TOLERANCE_DB
from tests import arm64
from tests.cli.commands import HASTY, SOURCE, Edgekit
from tests.ssh_server import INSTALL, SSHD, SshServer, ssh_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason=f"no SSH server is here: {INSTALL}"),
    pytest.mark.skipif(bool(arm64.available()), reason=arm64.available()),
]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    tools = tmp_path_factory.mktemp("tools")
    arm64.interpreter(tools)
    patch = pytest.MonkeyPatch()
    with ssh_server(tmp_path_factory.mktemp("board"), {"PATH": f"{tools}:{os.defpath}:/usr/bin"}) as server:
        patch.setenv("HOME", str(server.user_home))
        yield server
    patch.undo()


def test_the_same_outputs_on_another_processor(
    board: SshServer,
    edgekit: Edgekit,
    packages: dict[str, Path],
    tflite_packages: dict[str, Path],
    text_packages: dict[str, Path],
    tmp_path: Path,
) -> None:
    """ONNX Runtime, LiteRT and GenAI. The receipt says that it was emulated, and nothing of time or memory."""
    sources = (packages["w8a8"], tflite_packages["w8a8"], text_packages["fp32"])
    copies = [Path(shutil.copytree(p, tmp_path / p.name)) for p in sources]
    words = ("--launches", 1, "--iterations", 1, "--warmup", 1, "--threads", 1)
    ran = edgekit("profile", *copies, "-d", board.address, *words, "--json")
    assert ran.code == 0, ran.err
    results = ran.json["results"]
    assert [r["device"]["provenance"] for r in results] == ["simulated"] * 3
    assert all("Cortex-A76" in r["device"]["chip"] for r in results)
    agreement = {r["package"]: {a["output"]: a["snr_db"] for a in r["agreement"]} for r in results}
    least = [min(agreement[p.name].values()) for p in copies]
    assert least[0] > TOLERANCE_DB  # roundings of int8 that differ
    assert min(least[1:]) > 60  # and the last bits of float
    for copy in copies:
        there = [m for m in Package(copy).receipt()["measurements"] if m["device"].startswith(board.address)]
        assert {m["group"] for m in there} == {"parity"}
        assert {m["provenance"] for m in there} == {"simulated"}


def test_emulated_time_is_refused_as_latency(board: SshServer, edgekit: Edgekit, tmp_path: Path) -> None:
    words = ("-t", "raspberry-pi-5", *HASTY, "--allow", "accuracy", "--launches", 2, "-o", tmp_path / "out")
    ran = edgekit("convert", SOURCE, *words, "-d", board.address)
    assert ran.code == 4, ran.err
    assert "emulated" in ran.err and "--device" in ran.err and "qemu-aarch64" in ran.err
    assert not (tmp_path / "out").exists()
