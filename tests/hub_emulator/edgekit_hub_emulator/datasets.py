"""Datasets: AI Hub's HDF5 files outside, .npz for the worker, whose environment has no h5py.

The client's own functions read and write the HDF5.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np


def to_npz(source: Path, out: Path) -> None:
    """Raises ValueError when the file is not a dataset."""
    h5py = importlib.import_module("h5py")
    convert = importlib.import_module("qai_hub.util.dataset_entries_converters")
    try:
        with h5py.File(source, "r") as file:
            entries = convert.h5_to_dataset_entries(file)
    except Exception as error:  # h5py's and the converter's kinds
        raise ValueError(str(error)) from error
    if any(a.dtype.kind not in "fiub" for samples in entries.values() for a in samples):
        raise ValueError("it holds what are not numbers")
    write_npz(entries, out)


def to_h5(source: Path, out: Path) -> None:
    h5py = importlib.import_module("h5py")
    convert = importlib.import_module("qai_hub.util.dataset_entries_converters")
    with h5py.File(out, "w") as file:
        convert.dataset_entries_to_h5(read_npz(source), file)


def write_npz(entries: dict[str, list[np.ndarray[Any, Any]]], out: Path) -> None:
    """Writes the names in order, and arrays as `3.17`: the eighteenth sample of the fourth name."""
    arrays = {f"{i}.{k}": a for i, v in enumerate(entries.values()) for k, a in enumerate(v)}
    np.savez(out, names=np.array(list(entries), str), **arrays)  # type: ignore[arg-type]


def read_npz(source: Path) -> dict[str, list[np.ndarray[Any, Any]]]:
    with np.load(source, allow_pickle=False) as file:
        entries: dict[str, list[np.ndarray[Any, Any]]] = {}
        for index, name in enumerate(file["names"]):
            mine = sorted((k for k in file.files if k.startswith(f"{index}.")), key=lambda k: int(k.split(".")[1]))
            entries[str(name)] = [file[k] for k in mine]
    return entries
