"""What a package's graph gives for arrays, or for an input of noise: from a file of arrays into another.

    python -P -m edgekit.devices.outputs PACKAGE OUTPUTS.npz [INPUTS.npz]

Needs nothing but the runtime, so it runs on any device. The arrays of one input are called `0/NAME`, those of the next
`1/NAME`. Prints `{}` when they are written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import IntegrityError, guard

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array

MOST_BYTES = 2**31  # of a file of arrays


def write_arrays(path: Path, rows: Sequence[Mapping[str, Array]]) -> None:
    """Rows of named arrays as one file, without compression."""
    import numpy as np

    arrays = {f"{index}/{name}": array for index, row in enumerate(rows) for name, array in row.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # of numpy's own flag, which no array is called


def read_arrays(path: Path) -> list[dict[str, Array]]:
    """What `write_arrays` wrote. Raises IntegrityError for anything else."""
    import numpy as np

    rows: dict[int, dict[str, Array]] = {}
    with guard(IntegrityError, "A file of arrays cannot be read", "use the same edgekit on both sides"):
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                index, _, name = key.partition("/")
                rows.setdefault(int(index), {})[name] = arrays[key]
        if sorted(rows) != list(range(len(rows))):
            raise ValueError("rows are missing")
    return [rows[index] for index in sorted(rows)]


def main(package: str, outputs: str, inputs: str = "") -> dict[str, str]:
    from edgekit.package.folder import Package
    from edgekit.runtime import load
    from edgekit.runtime.opening import open_session

    opened = Package(package)
    rows = []
    if not inputs:
        with load(opened) as runner:
            rows.append({name: array.copy() for name, array in runner.probe().items()})
    else:
        given = read_arrays(Path(inputs))
        session = open_session(opened)
        for row in given:
            rows.append({name: array.copy() for name, array in session.run(row).items()})
        session.close()
    write_arrays(Path(outputs), rows)
    return {}


if __name__ == "__main__":
    from edgekit.errors import EdgekitError

    try:
        print(json.dumps(main(*sys.argv[1:])))
    except EdgekitError as error:
        print(json.dumps(error.to_dict()))
        sys.exit(error.exit_code)
