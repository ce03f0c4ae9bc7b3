"""What is often passed where a package is wanted, and what to pass in its place. Standard library only."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import EdgekitError, IntegrityError, UsageError
from edgekit.package.atomic import MANIFEST
from edgekit.package.manifest import RECEIPT

_SOURCES = (".pt", ".pth", ".ckpt", ".pt2", ".safetensors", ".onnx", ".gguf", ".py")
_FORMS = "a package is a folder with manifest.json in it, or an .edgepkg file"
_SHOWN = 8
_LOOKED = 1000  # entries of a folder


def may_be_packed(path: Path) -> bool:
    """Whether a file is an .edgepkg by its ending, or by its first bytes. (A .pt file is a zip as well.)"""
    if path.suffix.lower() == ".edgepkg":
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and path.suffix.lower() not in _SOURCES


def no_package(place: str) -> EdgekitError:
    """The error for a path, as it was given, at which no package can be opened.

    A UsageError where there is nothing, an IntegrityError where there is something else.
    """
    path = Path(place)
    if "://" in place:
        return UsageError(
            f"{place} is an address", "packages are opened from this machine", "download it, and pass the file"
        )
    if not path.exists():
        return UsageError(f"There is no package at {place}", "", "check the path")
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in _SOURCES:
        return IntegrityError(
            f"{path.name} is a model, not a package", _FORMS, f"edgekit convert {path.name} makes packages of it"
        )
    return IntegrityError(f"{path.name} is not a package", _FORMS, "pass one that edgekit convert has written")


def _folder(folder: Path) -> EdgekitError:
    if (folder / RECEIPT).exists():
        return IntegrityError(f"{MANIFEST} is missing from {folder.name}", "", "copy the package again")
    inside = packages_in(folder)
    if inside:
        names = ", ".join(p.name for p in inside[:_SHOWN])
        more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
        return IntegrityError(
            f"{folder.name or folder} is a folder of packages", f"it holds {names}{more}", f"pass {inside[0]}"
        )
    if (folder / "config.json").exists():
        return IntegrityError(
            f"{folder.name} is a folder of Hugging Face, not a package",
            _FORMS,
            f"edgekit convert {folder.name} makes packages of it",
        )
    return IntegrityError(
        f"{folder.name or folder} is not a package",
        f"there is no {MANIFEST} in it; {_FORMS}",
        "pass one that edgekit convert has written",
    )


def packages_in(folder: Path) -> list[Path]:
    """The package folders and .edgepkg files directly in a folder, by name."""
    packages = []
    for _, path in zip(range(_LOOKED), folder.iterdir()):
        if path.suffix == ".edgepkg" or (path / MANIFEST).is_file():
            packages.append(path)
    return sorted(packages)
