"""Child processes for what cannot be bounded from within: strangers' templates, native engines, compilers.

A child answers one JSON line with one or more JSON lines. It may take so much memory and no more, it
may be killed at any moment, and it ends when its parent does, however that ends. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_NO_MEMORY = 77  # the exit code of a child that was refused memory
_LONGEST = 64 * 2**20  # bytes of one line from a child


class ChildError(Exception):
    """The child took more time or memory than it may, or died. The message says which."""


class Child:
    """A process that runs `module`, whose main part calls `answer`. For one thread at a time."""

    def __init__(self, module: str, *arguments: str, quiet: bool = True) -> None:
        """`quiet`: what it writes on its stderr is lost, else it stands on this process's."""
        command = [sys.executable, "-P", "-X", "utf8", "-m", module, *arguments]
        # A group of its own: a terminal's Ctrl-C is for the parent, which ends the child.
        group = 0 if os.name == "posix" else None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            process_group=group,
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, question: object) -> None:
        """Raises ChildError when the child is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise ChildError(self._end()) from error

    def receive(self, seconds: float | None) -> Any:
        """The next line. Raises ChildError, and the child is gone then."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.close()
            raise ChildError(f"it took more than {seconds:g} seconds") from None
        if not line.endswith(b"\n"):
            self._lines.put(line)  # whoever asks again is told again
            raise ChildError(self._end())
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            self.close()
            raise ChildError("what it said cannot be read") from error

    def ask(self, question: object, seconds: float | None) -> Any:
        """`send` and `receive`."""
        self.send(question)
        return self.receive(seconds)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            while line := self._process.stdout.readline(_LONGEST):
                self._lines.put(line)
                if not line.endswith(b"\n"):
                    break
        self._lines.put(b"")

    def _end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is dying, and how is worth knowing
            self._process.wait(5)
        self.close()
        code = self._process.returncode
        if code == _NO_MEMORY:
            return "it needs more memory than it may have"
        return f"it died of signal {-code}" if code < 0 else f"it ended with exit code {code}"

    def close(self) -> None:
        """Ends the child at once."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(0.2)  # an honest one ends by itself now
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def limit_memory(more: int) -> None:
    """This process may allocate `more` bytes beside what it holds now; then allocations fail.

    Counts private writable memory, as Linux does with RLIMIT_DATA; without effect where the system has
    no such limit.
    """
    try:
        import resource

        with open("/proc/self/status", encoding="ascii") as status:
            held = next(int(line.split()[1]) for line in status if line.startswith("VmData:")) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = held + more if hard == resource.RLIM_INFINITY else min(held + more, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    except (ImportError, OSError, ValueError, StopIteration):
        return


def answer(
    handle: Callable[[Any], Iterator[object]],
    memory: int | None = None,
    seconds: float | None = None,
    aside: Callable[[Any], bool] = lambda question: False,
) -> None:
    """The child's side: each line that `handle` yields for a question goes to the parent.

    `memory`: see `limit_memory`. `seconds`: after which one question ends the process, whatever a native
    library holds and whether or not a parent still waits. `aside` sees each question when it comes, in another thread than `handle`
    and while that may be at an earlier one; a question it returns True for is not handled in its turn.
    What else is printed is lost, so that no library breaks the protocol.
    """
    out = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    if memory is not None:
        limit_memory(memory)
    questions: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions, aside), daemon=True).start()
    while True:
        question = questions.get()
        _alarm(seconds)
        try:
            for line in handle(question):
                out.write(json.dumps(line).encode("ascii") + b"\n")
                out.flush()
        except MemoryError:
            os._exit(_NO_MEMORY)
        _alarm(None)


def _alarm(seconds: float | None) -> None:
    """Starts a timer whose SIGALRM ends this process even where Python's threads cannot run; None stops it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds or 0.0)


def _listen(questions: queue.SimpleQueue[Any], aside: Callable[[Any], bool]) -> None:
    """The parent holds the other end of stdin, which closes however it dies, kill -9 included."""
    try:
        for line in sys.stdin.buffer:
            question = json.loads(line)
            if not aside(question):
                questions.put(question)
    finally:
        os._exit(0)
