"""The notebooks of samples/ run from first to last cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data import ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
NOTEBOOKS = sorted((ROOT / "samples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    printed = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in printed if o.output_type == "error"]
    texts = "".join(o.text for o in printed if o.output_type == "stream" and o.name == "stdout")
    assert {"detector": "cool disc", "language_model": "opens at 08:00"}[path.stem] in texts


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_without_results(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert not [c for c in cells if c.cell_type == "code" and (c.outputs or c.execution_count)]
