"""The `__main__` of a bundle: unpacks the wheels beside it into a folder, once, and runs a module there if asked.

    python3 BUNDLE FOLDER [-m MODULE ARGUMENTS ...]

Runs on its own, on any Python 3 that a device may have: standard library only, and nothing newer than Python 3.6.
"""

import os
import shutil
import sys
import zipfile


def unpack(bundle: str, folder: str) -> None:
    """The wheels of `bundle` in `folder`, which appears whole or not at all."""
    if os.path.isdir(folder):
        return
    partial = f"{folder.rstrip('/')}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    try:
        with zipfile.ZipFile(bundle) as outer:
            for name in outer.namelist():
                if name.endswith(".whl"):
                    with outer.open(name) as stream, zipfile.ZipFile(stream) as wheel:
                        wheel.extractall(partial)
        for name in os.listdir(partial):  # what a wheel keeps apart goes where it belongs (PEP 427)
            for part in ("purelib", "platlib"):
                apart = os.path.join(partial, name, part)
                if name.endswith(".data") and os.path.isdir(apart):
                    for each in os.listdir(apart):
                        shutil.move(os.path.join(apart, each), os.path.join(partial, each))
        os.rename(partial, folder)
    except OSError:
        if not os.path.isdir(folder):  # else another process was first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main(words: "list[str]") -> None:
    if not words or words[0].startswith("-") or (len(words) > 1 and words[1] != "-m"):
        sys.exit(__doc__)
    tags = os.path.basename(sys.argv[0]).split("-")
    wanted = next((t for t in tags if t.startswith("cp3")), "")
    here = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    if wanted and wanted != here:
        sys.exit(f"This bundle is for Python {wanted[2]}.{wanted[3:]}, and this is {sys.version.split()[0]}")
    folder = os.path.abspath(words[0])
    try:
        unpack(sys.argv[0], folder)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"{sys.argv[0]} cannot be unpacked into {folder}: {error}")
    if len(words) > 2:
        os.environ["PYTHONPATH"] = folder
        os.execv(sys.executable, [sys.executable, "-P", "-m", *words[2:]])
    print(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
