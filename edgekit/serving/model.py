"""The model as the server sees it: a process that answers one request at a time, and a queue before it.

The process is started again when it died or was ended. Nothing here blocks the event loop: what waits for
the process does so in a thread.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time

import anyio
from anyio.to_thread import run_sync

from edgekit.errors import DeviceError, EdgekitError, UsageError, from_dict
from edgekit.serving.protocol import Done, RequestError
from edgekit.serving.schema import Question
from edgekit.system.child import Child, ChildError
from edgekit.system.documents import JsonObject

_STEP = 600.0  # seconds without a token after which a model is given up
_GOODBYE = 30.0  # seconds for a cancelled answer to end; a prompt being read cannot be interrupted


class Model:
    """`queue`: requests that may wait. `reading`: seconds for a template or a schema to be read."""

    def __init__(
        self, package: str, threads: int | None = None, simulate: bool = False, *, queue: int = 16, reading: float = 10
    ) -> None:
        self._open = {"open": package, "threads": threads, "simulate": simulate}
        self.places, self.reading, self.context_length = 1 + queue, reading, 0
        self.taken, self.seconds = 0, 1.0  # places, and what the latest answer took
        self.turn = anyio.Semaphore(1)  # a stream ends in another task than it began
        self._child: Child | None = None
        self._number, self.closed = 0, False
        self._sending = threading.Lock()  # a cancel is sent beside the thread that waits for lines

    def start(self) -> Child:
        """The process, started when there is none. Raises what opening the package raises."""
        if self._child is None:
            if self.closed:
                raise RequestError("The server is ending", status=503)
            child = Child("edgekit.serving.worker")
            try:
                reply = child.ask(self._open, None)
                if "error" in reply:
                    raise from_dict(reply["error"])
            except ChildError as error:
                child.close()
                raise DeviceError("The model's process ended before it was ready", str(error)) from error
            except BaseException:  # Ctrl-C as well
                child.close()
                raise
            self.context_length, self._child = reply["ready"]["context_length"], child
        return self._child

    def enter(self) -> Turn:
        """A place in the queue. Raises RequestError when there is none."""
        if self.taken >= self.places:
            wait = min(max(math.ceil(self.seconds * self.taken), 1), 60)
            raise RequestError(
                "Too many requests wait for this model",
                f"it takes {self.places - 1} beside the one it answers",
                "try again later",
                status=429,
                code="rate_limit_exceeded",
                wait=wait,
            )
        self.taken += 1
        self._number += 1
        return Turn(self, self._number)

    def send(self, question: JsonObject) -> Child:
        """Called in a thread, as `start`."""
        child = self.start()
        with self._sending:
            child.send(question)
        return child

    def interrupt(self, number: int) -> None:
        with self._sending, contextlib.suppress(ChildError):
            if self._child is not None:
                self._child.send({"cancel": number})

    def drop(self) -> None:
        """Ends the process; the next request starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def close(self) -> None:
        """What is answered now ends with an error, and so does what waits."""
        self.closed = True
        self.drop()


class Turn:
    """One request on its way: its place in the queue, then the model to itself until it ended."""

    def __init__(self, model: Model, number: int) -> None:
        self._model, self._number = model, number
        self._child: Child | None = None
        self._holds, self._stage, self._began = False, "", 0.0
        self._over = anyio.Event()
        self._cancelled = False

    async def begin(self, question: Question) -> None:
        """Waits for the model, and asks it."""
        await self._model.turn.acquire()
        self._holds, self._began = True, time.monotonic()
        await run_sync(self._ask, question)

    def _ask(self, question: Question) -> None:
        self._stage = "model"
        self._model.start()
        if self._cancelled:  # its client left while the model was opened
            return
        line = {"id": self._number, "chat": question.chat, "subject": question.subject, "options": question.options}
        try:
            self._child = self._model.send(line)
        except ChildError as error:
            self._model.drop()
            raise DeviceError("The model's process is gone", str(error), "try again") from error

    async def line(self) -> str | Done:
        """The next piece of text, or what is known at the end. Raises EdgekitError."""
        while self._child is not None:
            try:
                reply = await run_sync(self._receive, self._model.reading if self._stage else _STEP)
            except ChildError as error:
                raise self._failure(str(error)) from error
            if "error" in reply:
                raise self._named(from_dict(reply["error"]))
            if "text" in reply:
                return str(reply["text"])
            if "done" in reply:
                return Done(**reply["done"])
        raise DeviceError("The answer was cancelled")

    def _receive(self, seconds: float) -> JsonObject:
        """In a thread. Notes what it means for this turn."""
        child = self._child
        assert child is not None
        try:
            reply = child.receive(seconds)
        except ChildError:
            self._child = None
            self._model.drop()
            raise
        if "stage" in reply:
            self._stage = reply["stage"]
        if "done" in reply or "error" in reply:
            self._child = None
        return reply

    def _failure(self, why: str) -> EdgekitError:
        """What the process died of; the schema is the client's, the template is the package's."""
        if self._model.closed:
            return RequestError("The server is ending", status=503)
        if self._stage == "response_format":
            return RequestError("This schema takes more than it may", why, "ask for less", param=self._stage)
        if self._stage in ("messages", "prompt"):
            return RequestError(
                f"The model's process ended while it read {self._stage}",
                why,
                "shorten it, or use another package",
                status=500,
                param=self._stage,
            )
        return DeviceError("The model's process ended", why, "try again")

    def _named(self, error: EdgekitError) -> EdgekitError:
        """What the runtime refused, with the field of the request."""
        if not isinstance(error, UsageError) and self._stage != "response_format":
            return error
        return RequestError(error.what, error.why, error.next, param=self._stage or None)

    async def cancel(self) -> None:
        """The client left: the answer ends after its current token, or with the process."""
        self._cancelled = True
        if self._child is None:
            return
        await run_sync(self._model.interrupt, self._number)
        with anyio.move_on_after(_GOODBYE):
            await self._over.wait()
            return
        await run_sync(self._model.drop)

    async def close(self) -> None:
        """Gives the place to the next, once the answer has really ended."""
        with anyio.CancelScope(shield=True):
            try:
                if self._holds:
                    await run_sync(self._drain)
                    self._model.seconds = time.monotonic() - self._began
            finally:
                if self._holds:
                    self._model.turn.release()
                self._model.taken -= 1
                self._over.set()

    def _drain(self) -> None:
        if self._child is None:
            return
        self._model.interrupt(self._number)
        until = time.monotonic() + _GOODBYE
        with contextlib.suppress(ChildError):
            while self._child is not None:
                self._receive(max(until - time.monotonic(), 0))
