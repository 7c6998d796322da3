"""``metahpo map``: the space of the tasks that a model knows, and a table's place in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahpo.cli import options
from metahpo.cli.console import note, out
from metahpo.cli.knowledge import check_known

if TYPE_CHECKING:
    from metahpo.catalogue import Task

File = Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")]
MaybeTable = Annotated[
    Path | None,
    typer.Argument(help="A table to place among them.", metavar="[TABLE]", show_default=False),
]
MaybeTarget = Annotated[
    str | None, typer.Option("--target", "-t", help="The table's column to predict.")
]


def command(
    table: MaybeTable = None,
    target: MaybeTarget = None,
    learner: options.LearnerName = "auto",
    task: options.Task = options.TaskKind.auto,
    model: options.Model = "default",
    out_file: File = Path("tasks.html"),
) -> None:
    """Draw the [bold]space of known tasks[/], and where a table stands in it."""
    from metahpo.catalogue import resolve_learner, task_named
    from metahpo.metafeatures import describe
    from metahpo.metamodel import DEFAULT, MetaModel
    from metahpo.report.task_space import task_space
    from metahpo.tables import read_table

    if (table is None) != (target is None):
        raise ValueError("give a table and its --target, or neither")
    place = None
    kind: Task = "regression" if task.value == "regression" else "classification"
    if task.value == "auto":
        kind = task_named(learner)
    features = None
    if table is not None and target is not None:
        data = read_table(table, target, task.value)
        kind, features = data.task, describe(data.X, data.y, data.task)
        for text in data.notes:
            note(text)
    known = MetaModel.load(model, learner=learner, task=kind)
    if model != DEFAULT and learner != "auto":  # which is also what nobody asked for
        check_known(resolve_learner(learner, kind), known, model)
    if len(known.task_ids) < 2:
        raise ValueError(f"the model {model} knows {len(known.task_ids)} tasks; a map needs two")
    if features is not None:
        place = known.embed(features)
    figure = task_space(known, place, "" if table is None else table.name)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(out_file, include_plotlyjs=True)
    out.print(f"{len(known.task_ids)} tasks: {out_file}")
