"""Requests and answers, and the table of what answers which request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from edgekit_hub_emulator.faults import Fault

_NUMBER = re.compile(r"[0-9]{1,15}")  # what str.isdigit takes is more than int() does
PROTOBUF = "application/x-protobuf"  # the client takes nothing else, not even with a charset


@dataclass(frozen=True)
class Request:
    """`body`: where it lies, whole, once it has arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case
    body: Path

    def parameter(self, name: str, default: str = "") -> str:
        return self.parameters(name)[-1] if self.parameters(name) else default

    def parameters(self, name: str) -> list[str]:
        return [v for v in parse_qs(self.query).get(name, []) if v]

    def number(self, name: str, default: int) -> int:
        value = self.parameter(name)
        return int(value) if _NUMBER.fullmatch(value) else default


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    kind: str = PROTOBUF
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None  # sent in place of `body`
    fault: Fault | None = None  # that the work met

    @classmethod
    def message(cls, message: Any, status: int = 200) -> Answer:
        return cls(status, message.SerializeToString())

    @classmethod
    def json(cls, data: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(data).encode(), "application/json")

    @classmethod
    def refusal(cls, status: int, detail: str) -> Answer:
        """As AI Hub refuses: its client shows `detail`."""
        return cls.json({"detail": detail}, status)

    @classmethod
    def storage_error(cls, status: int, code: str, text: str, fault: Fault | None = None) -> Answer:
        """As S3 refuses."""
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
        return cls(status, body.encode(), "application/xml", fault=fault)


class RefusalError(Exception):
    """Raised by what answers, to answer with a refusal."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.answer = Answer.refusal(status, detail)


Handler = Callable[..., Answer]


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    operation: str  # what faults and the log call it
    function: str


class Routes:
    """Filled by a decorator; functions take the object they belong to, the request, and the names
    in the path."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def add(self, method: str, path: str, operation: str) -> Callable[[Handler], Handler]:
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[\\w.-]+)", path) + "/?")

        def register(function: Handler) -> Handler:
            self._routes.append(Route(method, pattern, operation, function.__name__))
            return function

        return register

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        for route in self._routes:
            match = route.path.fullmatch(path)
            if match and route.method == method:
                return route, match.groupdict()
        return None
