"""What a browser says of itself, read with suspicion, as the facts of a device."""

from __future__ import annotations

import re

from edgekit.devices.base import DeviceInfo
from edgekit.devices.web.setup import VERSION
from edgekit.package.receipt import Provenance
from edgekit.system.documents import JsonObject
from edgekit.system.redaction import printable

_MOST = 300  # characters of a fact
_BROWSERS = (("Edge", "Edg"), ("Samsung Internet", "SamsungBrowser"), ("Firefox", "Firefox"), ("Chrome", "Chrome"))
_SYSTEMS = ("Android", "iPhone OS", "CPU OS", "Windows NT", "CrOS", "Mac OS X", "Linux")


def describe(said: JsonObject, provider: str) -> DeviceInfo:
    """The device in front of that page."""
    agent = _text(said.get("user_agent"))
    browser, system = name_of(agent)
    isolated = said.get("isolated") is True
    facts = {
        "browser": browser,
        "user_agent": agent,
        "brands": _text(said.get("brands")),
        "platform": _text(said.get("platform")),
        "engine": f"onnxruntime-web {VERSION}",
        "execution_provider": provider,
        "threads": "several" if isolated and provider == "wasm" else "one",
        "cross_origin_isolated": _yes(isolated),
        "secure_context": _yes(said.get("secure")),
        "protocol": _text(said.get("protocol")).rstrip(":"),
        "hardware_concurrency": str(int(_number(said.get("cores")))),
        "device_memory_gb": f"{_number(said.get('memory_gb')):g}",
        "gpu": _text(said.get("gpu")),
        "webgpu": _yes(said.get("webgpu")),
        "webnn": _yes(said.get("webnn")),
        "timer_resolution_us": f"{_number(said.get('resolution_s')) * 1e6:.3g}",
    }
    return DeviceInfo(
        name=f"web:{browser} on {system}",
        chip=_text(said.get("gpu")) if provider != "wasm" else f"{provider}, {_text(said.get('platform')) or system}",
        system=f"{browser} on {_text(said.get('platform')) or system}",
        cores=int(_number(said.get("cores"))),
        memory_bytes=int(_number(said.get("memory_gb")) * 2**30),  # rounded, and at most 8 in most browsers
        facts={name: fact for name, fact in facts.items() if fact},
        provenance=Provenance.BROWSER,
    )


def name_of(agent: str) -> tuple[str, str]:
    """Browser with its version, and system, of a user agent."""
    browser = "a browser"
    for name, word in _BROWSERS:
        if found := re.search(rf"{word}/(\d+)", agent):
            browser = f"{name} {found[1]}"
            break
    else:
        if found := re.search(r"Version/(\d+).*Safari", agent):
            browser = f"Safari {found[1]}"
    for name in _SYSTEMS:
        if found := re.search(rf"{name}[ /]?([\d._]*)", agent):
            short = {"iPhone OS": "iOS", "CPU OS": "iPadOS", "Windows NT": "Windows", "Mac OS X": "macOS"}.get(
                name, name
            )
            return browser, f"{short} {found[1].replace('_', '.')}".strip()
    return browser, "an unknown system"


def _text(value: object) -> str:
    return printable(value[:_MOST]) if isinstance(value, str) else ""


def _number(value: object) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if good else 0.0  # type: ignore[arg-type]  # it is a number


def _yes(value: object) -> str:
    return "yes" if value is True else "no"
