"""Runs in the interpreter that has `qai_hub`: PYTHON -I tests/hub_client.py CODE [ARGUMENT…]

The client is as it comes, but does not sleep long: not between looks at a job (10 s), nor before it
tries again (up to 10 s; 20 s and more after 429).

CODE finds `hub` (qai_hub), `np`, `arguments`, `result(value)`, which prints JSON for the test,
`caught(function)`: what a call raises, and how many seconds it would have slept, and
`control(method, what, body)`, which asks the emulator for its log or faults.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np  # noqa: F401
import qai_hub as hub  # noqa: F401
import requests
from qai_hub import api_utils

arguments = sys.argv[2:]
sleep, slept = time.sleep, [0.0]


def nap(seconds: float) -> None:
    slept[0] += seconds
    sleep(min(seconds, 0.1))


time.sleep = nap


def result(value: Any) -> None:
    print(json.dumps(value, default=str))


def caught(function: Callable[[], Any]) -> dict[str, Any]:
    before = slept[0]
    try:
        function()
        kind, text = "", ""
    except Exception as error:  # whatever the client raises is what the test wants to see
        kind, text = f"{type(error).__module__}.{type(error).__name__}", str(error)
    return {"class": kind, "text": text, "slept": slept[0] - before}


def control(method: str, what: str, body: Any = None) -> Any:
    config = api_utils.load_default_api_config()
    headers = {"Authorization": f"token {config.api_token}"}
    address = f"{config.api_url}/_emulator/{what}"
    return requests.request(method, address, headers=headers, json=body).json()


exec(compile(sys.argv[1], "<test>", "exec"), globals())
