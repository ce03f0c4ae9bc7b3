"""Verbs that open packages in a process of their own: an engine that crashes on a stranger's model is one
error, and what it takes of memory is bounded."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgekit.errors import IntegrityError
from edgekit.system.tether import end_with

if TYPE_CHECKING:
    from edgekit.package import Package

_own: list[int] = []  # this process, where it is edgekit's own; in another program's nothing is limited
VERBS = ("detect", "generate", "chat")  # compilers, launches and servers have processes already


def run_apart(run: Callable[[list[str]], int], arguments: list[str]) -> int:
    """The exit code of `run(arguments)`, run in a child where the system forks cheaply (Linux), else here.
    Raises IntegrityError when the child died of a signal that nobody sent it."""
    if sys.platform != "linux" or arguments[:1] == [] or arguments[0] not in VERBS:
        _own.append(os.getpid())
        return run(arguments)
    parent = os.getpid()
    pid = os.fork()  # before any thread is started, and before anything large is imported
    if pid == 0:
        _be_child(run, arguments, parent)
    signal.signal(signal.SIGINT, lambda number, _: _pass_on(pid, number))
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except SystemExit:  # SIGTERM: it is asked as this process was
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    raise IntegrityError(
        f"The engine died while it ran {_package(arguments)}",
        f"of {name}: its model is damaged, or made to do that",
        "do not use this package; if you made it yourself, please report it with its receipt",
    )


def bound(package: Package) -> None:
    """Limits the memory of a process that runs only this package's engine."""
    if _own == [os.getpid()]:
        from edgekit.runtime.room import bound_memory

        bound_memory(package)


def bound_sources(sources: Sequence[str]) -> None:
    """Limits the memory of a process that converts these sources; their graphs run here too, as the references."""
    if _own == [os.getpid()]:
        from edgekit.runtime.room import room_to_convert, size_of
        from edgekit.system.child import limit_memory

        sizes = [size_of(Path(source)) for source in sources]
        if all(sizes):  # code of the user's own may take what it likes
            limit_memory(room_to_convert(max(sizes)))


def _be_child(run: Callable[[list[str]], int], arguments: list[str], parent: int) -> NoReturn:
    end_with(parent)
    _own.append(os.getpid())
    code: object = 70
    try:
        code = run(arguments)
    except SystemExit as ending:
        code = ending.code
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # whoever read it has left
                pass
        os._exit(code if isinstance(code, int) else 1)


def _pass_on(pid: int, number: int) -> None:
    """A terminal sends Ctrl-C to both; a program that signals this process means the child as well."""
    try:
        if os.tcgetpgrp(0) == os.getpgrp():
            return
    except OSError:  # stdin is no terminal
        pass
    os.kill(pid, number)


def _package(arguments: Sequence[str]) -> str:
    return next((a for a in arguments[1:] if os.path.exists(a)), "this package")
