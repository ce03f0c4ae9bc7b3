"""Qualcomm AI Hub on this machine: its protocol, spoken to its own client, with jobs that really run.

Nothing it answers comes from a phone, and everything it answers says so: `MARK` is an attribute of
its devices, in the type of every layer of a profile, in a job's `hub_version`, in a model's
metadata, in a job's log and at the end of a failure's reason; `SUFFIX` ends the names of its devices.

The server runs in the environment of `qai_hub`, which shares no protobuf with onnx. It imports the
standard library, numpy, h5py, `qai_hub` and, of edgekit, what needs no more: targets, whose chips
and devices it offers. Jobs run in edgekit's own environment (`work.py`).
"""

from __future__ import annotations

MARK = "emulated:edgekit"
SUFFIX = " (emulated)"
TOKEN = "EDGEKIT_EMULATOR_TOKEN"  # the only one taken; not an argument, which a process list shows
