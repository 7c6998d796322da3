"""The page of a benchmark: one HTML file, its pictures inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from metahpo.bench.report import words
from metahpo.bench.report.findings import Findings
from metahpo.bench.report.standings import Table
from metahpo.bench.report.style import GRID, INK, SOFT
from metahpo.bench.report.tables import Section
from metahpo.page import write_html

_INKS = {INK: "var(--ink)", SOFT: "var(--soft)", GRID: "var(--line)"}


def write_benchmark_page(
    title: str,
    findings: Findings,
    sections: Sequence[Section],
    tasks: Table,
    records: Sequence[words.Record],
    folder: Path,
) -> None:
    """Write ``report.html`` into a folder that has the pictures already.

    Raises
    ------
    OSError
        Naming the file, if it cannot be written.
    """
    best, rank = next(iter(findings.ranking.ranks.items()))
    context = {
        "title": title,
        "joined": len(records) > 1,
        "findings": findings,
        "best": best,
        "best_rank": rank,
        "scope": words.scope(findings),
        "caveats": words.caveats(findings),
        "definitions": words.definitions(findings),
        "provenance": words.provenance(records),
        "sections": sections,
        "tasks": tasks,
        "pictures": {
            name: _inline(folder / f"{name}.svg", name)
            for name in ("curves", "critical_difference", "dots")
        },
    }
    write_html(folder / "report.html", "bench/report", context)


def _inline(path: Path, name: str) -> str:
    """Return a picture as a piece of the page, in the page's own ink, with names of its own."""
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    for colour, variable in _INKS.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt" ', "", svg, count=1)
