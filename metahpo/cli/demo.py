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

    from metahpo.bench.report.tasks import TaskStanding

Folder = Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")]


def command(out_folder: Folder = Path("metahpo-demo"), jobs: options.Jobs = 2) -> None:
    """Tune [bold]real datasets[/] that no training saw, warm and cold, and compare."""
    from metahpo.bench import demo
    from metahpo.cli.scoreboard import Scoreboard

    err.print(
        f"{len(demo.LEARNERS)} datasets of scikit-learn, {demo.N_TRIALS} trials, "
        f"{demo.SEEDS} seeds, {len(demo.METHODS)} methods"
    )
    standings = demo.run_demo(out_folder, n_jobs=jobs, watcher=Scoreboard(demo.METHODS))
    for title, table in _tables(standings):
        out.print(f"\n[bold]{title}[/]")
        out.print(table)
    out.print(
        "\n@n: best cross-validated score after n trials, mean ± sd over the seeds.\n"
        "catches up: when the mean first is what the better cold method has at the end.\n"
        "TPE, GP: Optuna's, first trial the library's default configuration.",
        style="dim",
    )
    out.print(f"\nThe same as a picture: {out_folder / 'curves.png'}; every trial: runs.parquet.")


def _tables(standings: list[TaskStanding]) -> Iterator[tuple[str, Table]]:
    from itertools import groupby

    from rich.table import Table

    from metahpo.bench import demo
    from metahpo.bench.report.tasks import task_table

    for title, group in groupby(standings, key=lambda standing: standing.problem):
        head, rows = task_table(list(group), demo.AT, demo.LABELS)
        table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0))
        for i, column in enumerate(head):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="bold" if row[0] == "metahpo" else "")
        yield title, table
