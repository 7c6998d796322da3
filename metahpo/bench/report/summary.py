"""The summary as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metahpo.bench.report import words
from metahpo.bench.report.findings import Findings
from metahpo.bench.report.standings import Table
from metahpo.bench.report.tables import Section


def summary(
    title: str,
    findings: Findings,
    sections: Sequence[Section],
    records: Sequence[words.Record],
) -> str:
    """Write a benchmark's summary.

    Parameters
    ----------
    title : str
    findings : Findings
    sections : sequence of Section
        From :func:`~metahpo.bench.report.tables.sections_of`.
    records : sequence of dict
        The contents of each folder's ``run.json``.
    """
    return "\n".join(_lines(title, findings, sections, records)) + "\n"


def to_markdown(table: Table) -> str:
    """Lay a table out as Markdown, all columns but the first and other words to the right."""
    head, rows = table
    ruler = [":---" if _wordy(i, rows) else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ruler, *rows))


def _wordy(column: int, rows: list[list[str]]) -> bool:
    return column == 0 or all(row[column][:1].isalpha() for row in rows)


def _lines(
    title: str,
    findings: Findings,
    sections: Sequence[Section],
    records: Sequence[words.Record],
) -> Iterator[str]:
    yield f"# {title}\n"
    yield f"{words.scope(findings)}.\n"
    for text in words.caveats(findings):
        yield f"> {text}\n"
    yield "![Regret and rank against trials and time](curves.svg)\n"
    yield "![Mean ranks, and what is not told apart](critical_difference.svg)\n"
    for section in sections:
        yield f"## {section.title}\n"
        yield f"{section.text}\n"
        for heading, table in section.tables.items():
            if heading:
                yield f"### {heading}\n"
            yield f"{to_markdown(table)}\n"
    yield "## Task by task\n"
    yield "Every score is in [tasks.md](tasks.md).\n"
    yield "![Regret of every method on every task](dots.svg)\n"
    yield "## How the numbers are made\n"
    yield "\n".join(f"- {text}" for text in words.definitions(findings)) + "\n"
    yield "## How the runs were made\n"
    for what, value in words.provenance(records):
        yield f"- {what}: {f'`{value}`' if what == 'command' else value}"
