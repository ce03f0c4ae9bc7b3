"""What is unfinished: whose it is, when it goes, and that what was there comes back."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit import cache
from edgekit.errors import ConversionError, CrashError
from edgekit.package import atomic
from edgekit.system import processes, staging

MANIFEST = '{"schema": "edgekit.package/1", "files": {}}'


def of_a_dead_process(of: str = "", old: bool = False) -> str:
    """A name that a process gave, which has ended since."""
    code = f"from edgekit.system import processes, staging; print(staging.name({of!r}, {old!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8", errors="replace"
    )
    return ran.stdout.strip()


def package(folder: Path, what: str) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(MANIFEST, encoding="utf-8")
    (folder / "what").write_text(what, encoding="utf-8")
    return folder


def test_only_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    own, dead = tmp_path / staging.name("x"), tmp_path / of_a_dead_process("x")
    others = [tmp_path / n for n in (".x.edgekit-tmp", ".x.12", "x.edgepkg", ".x.abcdefgh", "edgekit-ab", ".git")]
    for folder in (own, dead, *others):
        folder.mkdir()
        (folder / "file").touch()
    staging.sweep(tmp_path)
    assert not dead.exists()
    assert all(p.exists() for p in (own, *others))


def test_a_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    place, boot, pid, start, rest = staging.name().removeprefix("edgekit-").split("-")
    again = tmp_path / f"edgekit-{place}-{boot}-{pid}-{int(start) + 1}-{rest}"
    earlier = tmp_path / f"edgekit-{place}-{'0000' if boot != '0000' else '1111'}-{pid}-{start}-{rest}"
    for folder in (again, earlier):
        folder.mkdir()
    staging.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_machines_work_is_left_alone_for_a_day(tmp_path: Path) -> None:
    other = tmp_path / of_a_dead_process("x").replace(f"-{processes.place()}-", "-00000000-")
    other.mkdir()
    (other / "file").touch()
    os.utime(other, (0, 0))
    staging.sweep(tmp_path)
    assert other.exists()  # the file in it is new
    os.utime(other / "file", (0, 0))
    staging.sweep(tmp_path)
    assert not other.exists()


def test_names_of_earlier_versions_go_after_a_day(tmp_path: Path) -> None:
    for name in (".receipt.json.12", ".a.edgepkg.12", ".partial-abcdefgh"):
        (tmp_path / name).touch()
    staging.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for file in tmp_path.iterdir():
        os.utime(file, (0, 0))
    staging.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    link = tmp_path / of_a_dead_process("x")
    link.symlink_to(tmp_path / "elsewhere")
    staging.sweep(tmp_path)
    assert not link.is_symlink()
    assert (tmp_path / "elsewhere" / "file").exists()


@pytest.mark.parametrize("name", ["shapes", "a" * 250, "ü" * 120, "two\nlines"])
def test_what_was_set_aside_comes_back(tmp_path: Path, name: str) -> None:
    out, new = tmp_path / name, of_a_dead_process(name)
    package(tmp_path / of_a_dead_process(name, old=True), "old")
    package(tmp_path / new, "new")
    staging.sweep(tmp_path, name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (out / "what").read_text(encoding="utf-8") == "old"


def test_what_was_set_aside_goes_when_another_took_its_place(tmp_path: Path) -> None:
    package(tmp_path / of_a_dead_process("shapes", old=True), "old")
    package(tmp_path / "shapes", "new")
    staging.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["shapes"]
    assert (tmp_path / "shapes" / "what").read_text(encoding="utf-8") == "new"


def _cannot(one: Path, other: Path) -> None:
    raise OSError(errno.EINVAL, "this file system exchanges nothing")


@pytest.mark.parametrize("exchange", [atomic.exchange, _cannot], ids=["exchange", "two renames"])
def test_a_package_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Callable[[Path, Path], None]
) -> None:
    monkeypatch.setattr(atomic, "exchange", exchange)
    for what in ("first", "second"):
        with atomic.new_folder(tmp_path / "out") as folder:
            (folder / "manifest.json").write_text(MANIFEST, encoding="utf-8")
            (folder / "what").write_text(what, encoding="utf-8")
        assert (tmp_path / "out" / "what").read_text(encoding="utf-8") == what
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_package_stays_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "out", "old")
    rename = os.rename

    def fails_once(one: Path, other: Path) -> None:
        if Path(other) == tmp_path / "out" and not str(one).endswith("-old"):
            raise OSError(errno.EIO, "the disk is broken")
        rename(one, other)

    monkeypatch.setattr(atomic, "exchange", _cannot)
    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(ConversionError, match="cannot be written"), atomic.new_folder(tmp_path / "out") as folder:
        (folder / "manifest.json").write_text(MANIFEST, encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "what").read_text(encoding="utf-8") == "old"


def test_the_work_of_a_crashed_compiler_stays_under_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path))

    def crash(work: Path) -> None:
        (work / "job.json").touch()
        raise CrashError("The compiler died", "signal SIGSEGV", f"run it: worker {work / 'job.json'}")

    with pytest.raises(CrashError) as raised:
        cache.step("anything", crash)
    (kept,) = (tmp_path / "steps").iterdir()
    assert kept.name.startswith("crash-")
    assert raised.value.next == f"run it: worker {kept / 'job.json'}"
    assert (kept / "job.json").exists()
    staging.sweep(tmp_path / "steps")
    assert kept.exists()


def test_the_folder_for_temporary_files_is_the_processs_own(tmp_path: Path) -> None:
    code = "import os, signal, tempfile; print(tempfile.mkdtemp(), flush=True); {}"
    line = "from edgekit.system import processes, staging\nwith staging.own_temporary_folder(): "
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def run(then: str) -> str:
        command = [sys.executable, "-c", line + code.format(then)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace"
        ).stdout.strip()

    inside = Path(run("os.kill(os.getpid(), signal.SIGKILL)"))
    assert inside.is_dir()
    assert inside.parent.parent == tmp_path
    assert not Path(run("pass")).exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_tied_process_ends_with_its_parent(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    inner = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys; from edgekit.system.tether import tied; subprocess.run(tied([sys.executable, '-c', {inner!r}]))"
    process = subprocess.Popen([sys.executable, "-c", code])
    assert _soon(lambda: mark.exists() and bool(mark.read_text(encoding="utf-8")))
    process.kill()
    process.wait()
    pid = int(mark.read_text(encoding="utf-8"))
    assert _soon(lambda: processes.began(pid) is None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_guarded_command_started_ends_with_it(tmp_path: Path, number: int) -> None:
    """Its children in a session of their own, too."""
    mark = tmp_path / "pids"
    inner = (
        "import os, subprocess, time; p = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        f"open({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{p.pid}}'); time.sleep(60)"
    )
    code = (
        "import os, signal, sys; from edgekit.system.tether import run_guarded;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
        f"run_guarded([sys.executable, '-c', {inner!r}], dict(os.environ))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert _soon(lambda: mark.exists() and " " in mark.read_text(encoding="utf-8"))
    process.send_signal(number)
    process.wait()
    pids = [int(p) for p in mark.read_text(encoding="utf-8").split()]
    linux = pids if sys.platform == "linux" else pids[:1]
    assert _soon(lambda: not any(processes.alive(pid, 0) for pid in linux))


def test_a_guarded_command_gives_its_exit_code() -> None:
    from edgekit.system.tether import run_guarded

    environment = dict(os.environ)
    assert run_guarded(["sh", "-c", "exit 7"], environment) == 7
    assert run_guarded(["sh", "-c", "kill -9 $$"], environment) == 137
    with pytest.raises(FileNotFoundError):
        run_guarded(["no-such-command"], environment)


def _soon(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)
    return happened()
