"""``metahpo describe``: what a table looks like to the meta-model."""

from __future__ import annotations

from metahpo.cli import options
from metahpo.cli.console import note, out

_CELL = 40  # characters for a name and a value side by side


def command(
    table: options.Table,
    target: options.Target,
    task: options.Task = options.TaskKind.auto,
    as_json: options.AsJson = False,
) -> None:
    """Compute a table's [bold]meta-features[/], by which it is compared to known ones."""
    import json
    import math

    from metahpo.metafeatures import describe
    from metahpo.tables import read_table

    data = read_table(table, target, task.value)
    for text in data.notes:
        note(text)
    features = describe(data.X, data.y, data.task)
    if as_json:
        values = {name: None if math.isnan(value) else value for name, value in features.items()}
        report = {"task": features.task, "version": features.version, "meta_features": values}
        print(json.dumps(report, indent=1))
        return
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    columns = max(1, out.width // _CELL)
    for _ in range(columns):
        grid.add_column(style="cyan", no_wrap=True)
        grid.add_column(justify="right", min_width=10)
    cells = [(name, f"{value:.5g}") for name, value in features.items()]
    height = math.ceil(len(cells) / columns)
    for row in range(height):
        grid.add_row(*(text for cell in cells[row::height] for text in cell))
    out.print(grid)
    n_rows, n_columns = data.X.shape
    note(f"{features.task}, {n_rows:,} rows, {n_columns:,} columns, {features.seconds:.2f} s")
