"""Class names, however their file wrote them."""

from __future__ import annotations

import pytest

from edgekit.sources.labels import one_line_each


@pytest.mark.parametrize("end", ["\n", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_in_a_name_does_not_move_the_names_after_it(end: str) -> None:
    labels = one_line_each((f"fire{end}truck", "bus", f"{end}"))
    assert labels == ("fire truck", "bus", "class_2")
    assert "\n".join(labels).splitlines() == list(labels)
