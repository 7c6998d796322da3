"""``metahpo demo``: warm against cold on real datasets that no training saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahpo.cli import options
from metahpo.cli.console import err, out

if TYPE_CHECKING:
    from rich.table import Table

    from metahpo.bench.summary import Standing

Folder = Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")]


def command(out_folder: Folder = Path("metahpo-demo"), jobs: options.Jobs = 2) -> None:
    """Tune [bold]real datasets[/] that no training saw, warm and cold, and compare."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from metahpo.bench import demo
    from metahpo.bench.methods import methods

    total = len(demo.CONTESTS) * len(demo.METHODS) * demo.SEEDS
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    err.print(
        f"{len(demo.CONTESTS)} datasets of scikit-learn, {demo.N_TRIALS} trials, "
        f"{demo.SEEDS} seeds, {len(demo.METHODS)} methods"
    )
    with Progress(TextColumn("{task.description}"), *columns, console=err) as progress:
        bar = progress.add_task("starting", total=total)
        standings = demo.run_demo(
            out_folder,
            n_jobs=jobs,
            finished=lambda entry: progress.update(
                bar,
                advance=1,
                description=f"{entry.contest.name}: {methods[entry.method].label}",
            ),
        )
    for title, table in _tables(standings):
        out.print(f"\n[bold]{title}[/]")
        out.print(table)
    out.print(
        "\n@n: best cross-validated score after n trials, mean ± sd over the seeds.\n"
        "catches up: when the mean first is what the better cold method has at the end.\n"
        "TPE, GP: Optuna's, first trial the library's default configuration.",
        style="dim",
    )
    out.print(f"\nThe same as a picture: {out_folder / 'curves.png'}; every trial: runs.csv.")


def _tables(standings: list[Standing]) -> Iterator[tuple[str, Table]]:
    from itertools import groupby

    from rich.table import Table

    from metahpo.bench import demo
    from metahpo.bench.summary import to_rows

    for title, group in groupby(standings, key=lambda standing: standing.title):
        head, rows = to_rows(list(group), demo.AT)
        table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0))
        for i, column in enumerate(head):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="bold" if row[0] == "metahpo" else "")
        yield title, table
