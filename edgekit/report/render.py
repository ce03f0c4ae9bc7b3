"""Page to HTML, and the file on disk: complete or not there."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import MissingError, UsageError
from edgekit.report.collect import collect
from edgekit.report.page import Page, build
from edgekit.system import staging
from edgekit.system.distribution import install

_HERE = Path(__file__).parent


def write_report(paths: Sequence[str | Path], out: Path, store: Path | None = None) -> Page:
    """Write a report on the packages at `paths` to `out` and return what it says.

    Raises IntegrityError, MissingError without jinja2, UsageError where `out` cannot be written.
    """
    page = build(collect(paths, store))
    _write(out, render(page))
    return page


def render(page: Page) -> str:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingError("HTML reports need jinja2", str(error), install("report")) from error
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (_HERE / "theme.js").read_text(encoding="utf-8")
    # Only this very script may run, and nothing may be fetched: a second wall behind autoescape.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html.j2").render(page=page, script=script, digest=digest)
    return text.strip() + "\n"


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staging.new_file(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written", str(error.strerror or error), "choose another with --out"
        ) from error
