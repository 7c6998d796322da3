"""``metahpo bench report``: look again at what a benchmark left behind, or at several as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahpo.cli.console import err, note, out

if TYPE_CHECKING:
    from metahpo.bench.report import Findings

Folders = Annotated[
    list[Path],
    typer.Argument(help="Results folders; several are joined.", metavar="DIR", show_default=False),
]
Baseline = Annotated[
    str | None,
    typer.Option(help="The method to hold the others against.  [dim]\\[the file's, or random]"),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder to write.  [dim]\\[DIR]")
]


def command(folders: Folders, baseline: Baseline = None, out_folder: Out = None) -> None:
    """Write summary, pictures and page of finished runs again; [bold]nothing is run[/]."""
    from metahpo.bench.report import write_report

    show(write_report(folders, out_folder, baseline), out_folder or folders[0])


def show(findings: Findings, folder: Path) -> None:
    """Print how the methods stand after the last trial, and where the report is."""
    from rich.table import Table

    from metahpo.bench.report.standings import standings, standings_table
    from metahpo.bench.report.words import caveats, scope

    out.print(f"{scope(findings)}\n", markup=False)
    rows = standings(findings.trials, len(findings.trials.budgets) - 1, findings.baseline)
    head, cells = standings_table(rows, findings.baseline)
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for i, column in enumerate(head):
        table.add_column(column, justify="right" if i else "left")
    for row in cells:
        table.add_row(*row, style="bold" if row[0] == "metahpo" else "")
    out.print(table)
    for text in caveats(findings):
        note(text)
    for name, what in {
        "report.html": "to look at",
        "summary.md": "the same as text",
        "tasks.md": "task by task",
    }.items():
        err.print(f"  [cyan]{folder / name}[/]  [dim]{what}[/]")
