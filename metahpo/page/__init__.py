"""Pages: one HTML file each without outside references, all in the same looks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metahpo.files import replace_file


def write_html(path: Path, folder: str, context: Mapping[str, Any]) -> None:
    """Write a page from the template ``page.html.j2`` of one of metahpo's folders.

    Parameters
    ----------
    path : Path
        The HTML file.
    folder : str
        Where the template is, as ``"report"``; it extends this folder's ``base.html.j2``.
    context : mapping of str to object
        What the template shows. The filters ``score``, ``value`` and ``duration`` turn numbers
        into words.

    Raises
    ------
    OSError
        Naming the file, if it cannot be written.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("metahpo", folder), PackageLoader("metahpo", "page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "value": _value, "duration": duration}
    page = environment.get_template("page.html.j2").render(context)
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Write a duration as a person would: "4.2 s", "3 min 20 s", "2 h 05 min"."""
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 0.95 else f"{1000 * seconds:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest} s"
