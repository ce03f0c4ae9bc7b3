"""The name of the Snapdragon this process runs on, as its maker numbers it: `SM8750`, `QCS6490`."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

_NAME = re.compile(r"\b((?:SM|SC|SG|SA|SXR|QCS|QCM|CQ|X[12][EP]?)\d{3,}[A-Z0-9]*)", re.IGNORECASE)


def find_soc() -> str:
    """ "" where the system does not say, or where it is no Snapdragon."""
    for text in _sources():
        match = _NAME.search(text.replace("\0", " "))
        if match:
            return match[1].upper()
    return ""


def _sources() -> list[str]:
    if platform.system() == "Windows":
        return [platform.processor(), _windows_name()]
    texts = [_android_property("ro.soc.model")]
    for path in ("/sys/devices/soc0/machine", "/proc/device-tree/compatible"):
        try:
            texts.append(Path(path).read_text(errors="replace", encoding="utf-8"))
        except OSError:
            continue
    return texts


def _android_property(name: str) -> str:
    try:
        done = subprocess.run(
            ["getprop", name], capture_output=True, text=True, timeout=5, encoding="utf-8", errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):  # not Android
        return ""
    return done.stdout.strip()


def _windows_name() -> str:
    try:
        import winreg

        key = winreg.OpenKey(  # type: ignore[attr-defined, unused-ignore]
            winreg.HKEY_LOCAL_MACHINE,  # type: ignore[attr-defined, unused-ignore]
            r"HARDWARE\DESCRIPTION\System\CentralProcessor\0",
        )
        return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])  # type: ignore[attr-defined, unused-ignore]
    except (ImportError, OSError):
        return ""
