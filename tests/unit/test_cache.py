"""What a finished step depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cache import code_sha256


@pytest.mark.parametrize(
    ("edited", "voided"),
    [
        ("report/page.py", False),
        ("cli/convert.py", False),
        ("store/database.py", False),
        ("graph/clean.py", True),
        ("tasks/detection/metrics.py", True),
        ("model.py", True),
    ],
)
def test_only_an_edit_to_what_converts_voids_it(edited: str, voided: bool, tmp_path: Path) -> None:
    path = tmp_path / edited
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("before = 1\n", encoding="utf-8")
    code_sha256.cache_clear()
    before = code_sha256(tmp_path)
    path.write_text("after = 2\n", encoding="utf-8")
    code_sha256.cache_clear()
    assert (code_sha256(tmp_path) != before) is voided
