"""Says what a process does that reading a file never needs: programs, the network, files elsewhere.

An audit hook sees what Python code does, not what a native library does; what a native library reads of
the secret file shows in the file's own time of last access. Standard library only: a copy of this file is
the `sitecustomize` of every child of a case, so that the hook is there before any other code.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

VARIABLE = "EDGEKIT_FUZZ_WATCH"  # {"log", "allowed", "secret"}, for the children of a case

_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn"}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "urllib.Request"}
_CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DEVICES = ("/dev/", "/proc/", "/sys/")
# Programs that libraries ask about the machine, by name; none of them takes anything from a case.
_ASKED = {"getprop", "ldconfig", "uname", "gcc", "cc", "ld", "lscpu", "file", "objdump"}


def install(log: str, allowed: list[str], secret: str) -> None:
    """From now on each such act is one line of `log`. `allowed`: folders that may be written to."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    folders = tuple(os.path.realpath(a) for a in allowed)
    os.environ[VARIABLE] = json.dumps({"log": log, "allowed": allowed, "secret": secret})
    busy = [False]

    def say(text: str) -> None:
        os.write(descriptor, text.encode("utf-8", "backslashreplace")[:400].replace(b"\n", b" ") + b"\n")

    def inside(path: Any) -> bool:
        name = os.fsdecode(path)
        real = os.path.realpath(name)
        return real.startswith(_DEVICES) or any(real == f or real.startswith(f + os.sep) for f in folders)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if busy[0]:
            return
        busy[0] = True
        try:
            if event == "open":
                _opened(arguments)
            elif event == "subprocess.Popen":
                _started(arguments[0], arguments[1])
            elif event in _RUNS:
                say(f"run: {event} {arguments!r}")
            elif event in _NETWORK:
                if event not in ("socket.bind", "socket.connect") or not _local(arguments):
                    say(f"network: {event} {arguments!r}")
            elif event == "ctypes.dlopen":
                _loaded(arguments[0])
            elif event in _CHANGES:
                _changed(event, arguments)
        except (TypeError, ValueError, OSError):
            pass  # of the arguments of an event, which say nothing then
        finally:
            busy[0] = False

    def _opened(arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        if os.path.realpath(os.fsdecode(path)) == secret:
            say("file: the secret was opened")
        elif isinstance(flags, int) and flags & _WRITES and not inside(path):
            say(f"file: {path!r} was opened to be written")

    def _changed(event: str, arguments: tuple[Any, ...]) -> None:
        """Of paths beside a folder that is open (`dir_fd`, the last arguments), the folder says where they are."""
        if event == "os.symlink":  # where it leads is only written down
            arguments = arguments[1:]
        paths = [a for a in arguments[:2] if isinstance(a, (str, bytes))]
        descriptors = [a for a in arguments[len(paths) :] if isinstance(a, int) and a >= 0 and event != "os.mkdir"]
        if event == "os.mkdir" and isinstance(arguments[-1], int) and arguments[-1] >= 0:
            descriptors = [arguments[-1]]
        for path in paths:
            name = os.fsdecode(path)
            if descriptors and not os.path.isabs(name) and event != "os.chmod":
                name = os.path.join(os.readlink(f"/proc/self/fd/{descriptors[0]}"), name)
            if event not in ("os.truncate", "os.chmod"):  # a link itself, not what it leads to
                parent, last = os.path.split(os.path.abspath(name))
                name = os.path.join(os.path.realpath(parent), last)
                within = any(name.startswith(f + os.sep) or name == f for f in folders)
            else:
                within = inside(name)
            if not within and not name.startswith(_DEVICES) and not (event == "os.mkdir" and os.path.isdir(name)):
                say(f"file: {event} {name!r}")

    def _started(program: Any, arguments: Any) -> None:
        words = [os.fsdecode(w) for w in (arguments if isinstance(arguments, (list, tuple)) else [arguments])]
        own = os.path.realpath(os.fsdecode(program or words[0])) == os.path.realpath(sys.executable)
        # A builder asks the repository that its library may have come from which version it is.
        known = (own and words[1:2] in (["-P"], ["-I"])) or words == ["git", "rev-parse", "HEAD"]
        if not known and os.path.basename(words[0].split(" ")[0]) not in _ASKED:
            say(f"run: {words!r}")

    def _loaded(name: Any) -> None:
        if isinstance(name, str) and os.sep in name and inside(name) and not name.startswith(_DEVICES):
            say(f"run: the library {name!r} was loaded")

    def _local(arguments: tuple[Any, ...]) -> bool:
        return isinstance(arguments[1], (str, bytes))  # a socket in the file system

    sys.addaudithook(hook)


if __name__ == "sitecustomize" and VARIABLE in os.environ:
    install(**json.loads(os.environ[VARIABLE]))
