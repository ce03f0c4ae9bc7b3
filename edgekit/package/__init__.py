"""Packages: a folder with a manifest, the artefacts and a receipt (docs/format.md). Standard library only."""

from edgekit.package.folder import Package
from edgekit.package.manifest import EngineRequirement, FileEntry, Manifest, canonical, title_of
from edgekit.package.writing import Content, write_package

__all__ = ["Content", "EngineRequirement", "FileEntry", "Manifest", "Package", "canonical", "title_of", "write_package"]
