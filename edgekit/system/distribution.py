"""The distribution that this code is installed as. Standard library only.

The import, the command and the folder are called edgekit; on PyPI that name is another project's, so a line that
installs says `DISTRIBUTION`, and gets it from here.
"""

from __future__ import annotations

DISTRIBUTION = "edgekit-ml"


def install(extra: str = "", upgrade: bool = False) -> str:
    """The command that installs an extra of edgekit, or several with commas between them; none: edgekit itself."""
    name = f"'{DISTRIBUTION}[{extra}]'" if extra else DISTRIBUTION
    return f"pip install {'-U ' if upgrade else ''}{name}"
