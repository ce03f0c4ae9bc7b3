"""Packages: a folder with a manifest, the artefacts and a receipt (docs/format.md). Standard library only.

What writes packages is loaded when it is used: a device only reads them.
"""

from typing import TYPE_CHECKING

from edgekit.package.folder import Package
from edgekit.package.manifest import EngineRequirement, FileEntry, Manifest, canonical, title_of

if TYPE_CHECKING:
    from edgekit.package.writing import Content, write_package

__all__ = ["Content", "EngineRequirement", "FileEntry", "Manifest", "Package", "canonical", "title_of", "write_package"]

_WRITING = ("Content", "write_package")


def __getattr__(name: str) -> object:
    if name not in _WRITING:
        raise AttributeError(f"module 'edgekit.package' has no attribute {name!r}")
    from edgekit.package import writing

    return getattr(writing, name)
