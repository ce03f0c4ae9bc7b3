"""One SSH connection: commands, and files through them. Everything waits here; asyncssh runs in a thread of its own.

Files go through `cat`, not SFTP: it is on every device, and it says why when a disk is full.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import shlex
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit import progress
from edgekit.devices.base import Finished
from edgekit.devices.ssh_address import SshAddress
from edgekit.errors import DeviceError, first_line

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_CONNECT_S = 15.0
_BEAT_S = 5.0  # a byte so often says that this side still waits; what runs there ends without
_ALIVE_COUNT = 4  # unanswered questions of the connection itself, `_BEAT_S` apart, until it counts as lost
_MOST_SAID = 2**26  # bytes of what a command prints
MOST_RECEIVED = 2**31  # bytes of a file
_CHUNK = 2**18
_LARGE = 2**24  # bytes of a file from which on its sending is shown


class SshConnection:
    """Not for concurrent use. Raises DeviceError for whatever the network or the other side does."""

    def __init__(self, address: SshAddress) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
        self._thread.start()
        self._open: asyncssh.SSHClientConnection | None = None

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        pairs = [f"{name}={value}" for name, value in environment.items()]
        return self._wait(self._run(shlex.join([*(["env", *pairs] if pairs else []), *command]), timeout_s))

    def send(self, local: Path, remote: str) -> None:
        self._wait(self._send(local, remote))

    def receive(self, remote: str, local: Path) -> None:
        self._wait(self._receive(remote, local))

    def close(self) -> None:
        async def end() -> None:
            if self._open is not None:
                self._open.abort()
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(self._open.wait_closed(), 2)
            waiting = asyncio.all_tasks() - {asyncio.current_task()}
            for task in waiting:  # of another thread, which would wait for ever
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncssh

        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException as error:
            future.cancel()
            if isinstance(error, KeyboardInterrupt):
                self.close()  # what runs there ends with the connection
            if isinstance(error, concurrent.futures.CancelledError):
                raise self._lost(None) from error
            if isinstance(error, (asyncssh.Error, OSError)):
                raise self._lost(error) from error
            raise

    async def _connection(self) -> asyncssh.SSHClientConnection:
        if self._open is None or self._open.is_closed():
            from edgekit.devices.ssh_login import connect

            self._open = await connect(self._address, _CONNECT_S, _BEAT_S, _ALIVE_COUNT)
        return self._open

    async def _start(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        connection = await self._connection()
        return await asyncio.wait_for(connection.create_process(command, encoding=None), _CONNECT_S)

    async def _run(self, command: str, timeout_s: float | None) -> Finished:
        process = await self._start(command)
        beat = asyncio.ensure_future(_beat(process))
        try:
            said = asyncio.gather(_read(process.stdout), _read(process.stderr))
            output, errors = await asyncio.wait_for(said, timeout_s)
            await process.wait_closed()
        except TimeoutError as error:
            raise DeviceError(f"A process on {self._address} took more than {timeout_s:g} seconds") from error
        finally:
            beat.cancel()
            process.close()  # its stdin closes, and it ends
        return Finished(self._code(process), output, errors)

    async def _send(self, local: Path, remote: str) -> None:
        process = await self._start(f"cat > {shlex.quote(remote)}")
        said = asyncio.ensure_future(_read(process.stderr))
        size, done = local.stat().st_size, 0
        try:
            with local.open("rb") as file, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while chunk := file.read(_CHUNK):
                    process.stdin.write(chunk)
                    await process.stdin.drain()
                    done += len(chunk)
                    if size >= _LARGE and done < size:
                        progress.report(f"sending {local.name:.20}, MB", done // 10**6, size // 10**6 + 1)
                process.stdin.write_eof()
            why = await said
            await process.wait_closed()
        finally:
            said.cancel()
            process.close()
        self._check(process, f"{local.name} cannot be written", why)

    async def _receive(self, remote: str, local: Path) -> None:
        process = await self._start(f"cat {shlex.quote(remote)}")
        said = asyncio.ensure_future(_read(process.stderr))
        left = MOST_RECEIVED
        try:
            with local.open("wb") as file:
                while chunk := await process.stdout.read(_CHUNK):
                    file.write(chunk)
                    left -= len(chunk)
                    if left < 0:
                        raise DeviceError(f"{self._address} sends more than {MOST_RECEIVED >> 20} MiB as {remote}")
            why = await said
            await process.wait_closed()
        finally:
            said.cancel()
            process.close()
        self._check(process, f"{remote} cannot be read", why)

    def _check(self, process: asyncssh.SSHClientProcess[bytes], what: str, why: str) -> None:
        if self._code(process):
            said = why.strip().splitlines()[-1][:300] if why.strip() else ""
            full = "No space left" in why
            raise DeviceError(
                f"The disk of {self._address} is full" if full else f"{what} on {self._address}",
                said,
                "free some space there; edgekit devices clean ADDRESS removes what edgekit left" if full else "",
            )

    def _code(self, process: asyncssh.SSHClientProcess[bytes]) -> int:
        """As shells have it. Raises DeviceError when the connection went before the process ended."""
        if process.exit_status is not None:
            return process.exit_status if process.exit_status >= 0 else 128
        raise self._lost(None)

    def _lost(self, error: BaseException | None) -> DeviceError:
        return DeviceError(
            f"The connection to {self._address} was lost",
            first_line(error) if error else "it closed before the command ended",
            "see whether the device is on and has power, and repeat the command; what ran there has ended",
        )


async def _beat(process: asyncssh.SSHClientProcess[bytes]) -> None:
    with contextlib.suppress(Exception):  # a command that reads nothing may have closed it
        while True:
            process.stdin.write(b"\n")
            await asyncio.sleep(_BEAT_S)


async def _read(stream: asyncssh.SSHReader[bytes]) -> str:
    parts, left = [], _MOST_SAID
    while chunk := await stream.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise DeviceError(f"A command on a device prints more than {_MOST_SAID >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts).decode("utf-8", "replace")
