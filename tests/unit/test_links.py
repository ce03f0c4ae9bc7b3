"""A model that is reached by a link goes by the link's name, and is found again when that link is gone."""

from __future__ import annotations

from pathlib import Path

from edgekit.conversion.reading import read_model
from edgekit.model import CheckpointModel, as_checkpoint
from edgekit.sources.base import SourceOptions
from tests import language


def test_a_link_that_is_gone_hides_nothing(tmp_path: Path) -> None:
    real = language.folder(tmp_path / "real")
    paths = {}
    for name in ("first", "second"):
        link = tmp_path / name
        link.symlink_to(real)
        model: CheckpointModel = as_checkpoint(read_model(str(link), SourceOptions(), ""), "genai")
        assert model.name == name
        paths[name] = Path(model.path)
        assert paths[name].exists()
        link.unlink()
    assert not any(p.exists() for p in paths.values())
    assert Path(as_checkpoint(read_model(str(real), SourceOptions(), ""), "genai").path).exists()
