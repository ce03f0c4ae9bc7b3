"""What the end of a case means: accepted or refused are right, all else is a failure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.attacks.fuzzing.case import Case, Place

ACCEPTED, REFUSED = "accepted", "refused"
FAILURES = ("traceback", "signal", "hang", "memory", "code", "outside", "lie", "unclear", "left")
_RIGHT = (ACCEPTED, REFUSED)
_MEMORY = re.compile(
    r"needs more memory than there is|not enough memory|bad_alloc|DefaultCPUAllocator|cannot allocate", re.IGNORECASE
)
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_COLOUR = re.compile("\x1b\\[[01];[0-9]+m(.*?onnxruntime.*?)\x1b\\[m", re.DOTALL)
_ERROR = re.compile(r"^(?:error|Error): (.*)", re.MULTILINE)
_WRITTEN = ("dist", "into", "x.edgepkg", "r.html", "drawn", "model")


@dataclass(frozen=True)
class Outcome:
    kind: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.kind not in _RIGHT


def judge(case: Case, place: Place, ended: dict[str, Any], watched: list[str]) -> Outcome:
    """`ended`: what the fork told; `watched`: what its audit hook and those of its children saw."""
    out, err = (_text(place, n) for n in ("stdout", "stderr"))
    for line in watched:
        return Outcome("outside" if line.startswith("file:") else "code", line)
    if "hang" in ended:
        return Outcome("hang", f"no end after {ended['hang']:g} s")
    if "signal" in ended:
        return Outcome("signal", f"signal {ended['signal']}; {err[-500:]}")
    if "exception" in ended:
        return Outcome("memory" if "MemoryError" in ended["exception"][-200:] else "traceback", ended["exception"])
    if "Traceback (most recent call last)" in err or ended.get("code") == 70:
        return Outcome("traceback", err[-4000:])
    if ended.get("code") == 0:
        if case.lie:
            return Outcome("lie", "what only an attacker writes was accepted")
        steering = _STEERING.search(out + err)
        return Outcome("unclear", f"it prints {steering[0]!a}") if steering else Outcome(ACCEPTED)
    return _refusal(case, place, ended, out, err)


def _refusal(case: Case, place: Place, ended: dict[str, Any], out: str, err: str) -> Outcome:
    error, text = ended.get("error"), err
    if error is None:
        error = _said(case, ended["code"], out, err)
        if error is None:
            return Outcome("unclear", f"exit code {ended['code']}, and: {err[-1000:]!a} {out[-300:]!a}")
    else:
        text = " ".join(error.values())
    if _MEMORY.search(text) and "chat template" not in text:  # whose child may take half a gigabyte
        return Outcome("memory", text[-1000:])
    if not error["what"].strip() or len(text) > 20_000:
        return Outcome("unclear", f"it says: {text[:500]!a}")
    steering = _STEERING.search(text)
    if steering:
        return Outcome("unclear", f"it prints {steering[0]!a}: {text[:500]!a}")
    left = [
        p
        for n in _WRITTEN
        for p in [place.out / n]
        if p.is_file() or (p.is_dir() and any(q.is_file() for q in p.rglob("*")))
    ]
    if left and not ended.get("error"):  # the folder of a call is the caller's to remove
        return Outcome("left", f"{left[0].name} is there; {text[:300]}")
    return Outcome(REFUSED, text[:300])


def _said(case: Case, code: int, out: str, err: str) -> dict[str, str] | None:
    """The one error that a command line printed; None when it is not one."""
    found = _ERROR.findall(err)
    if len(found) == 1:
        return {"what": found[0]}
    if "--json" in case.command and not found:
        try:
            document = json.loads(out)
        except ValueError:
            document = {}
        if document.get("schema") == "edgekit.error/1":
            return {"what": document["what"]}
    if (case.command[0], code) in (("doctor", 3), ("convert", 1)) and not found and out:
        return {"what": "a verdict"}
    return None


def _text(place: Place, name: str) -> str:
    """What was printed, without the colour that ONNX Runtime gives its own log."""
    file = place.out / name
    text = file.read_bytes().decode("utf-8", "surrogateescape") if file.exists() else ""
    return _COLOUR.sub(r"\1", text)
