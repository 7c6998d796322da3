"""``metahpo suggest``: the configurations to try first, without a single fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from metahpo.cli import options
from metahpo.cli.console import note, out
from metahpo.cli.knowledge import check_known, holds

if TYPE_CHECKING:
    from rich.table import Table

    from metahpo.catalogue import Learner
    from metahpo.metafeatures import MetaFeatures
    from metahpo.metamodel import MetaModel
    from metahpo.space import Config, Space

Number = Annotated[int, typer.Option("-n", min=1, help="How many configurations.")]


def command(
    table: options.Table,
    target: options.Target,
    learner: options.LearnerName = "auto",
    n: Number = 5,
    task: options.Task = options.TaskKind.auto,
    model: options.Model = "default",
    as_json: options.AsJson = False,
) -> None:
    """Suggest configurations for a table from experience alone: [bold]no search, no fit[/]."""
    import json

    from metahpo.catalogue import resolve_learner
    from metahpo.metafeatures import describe
    from metahpo.metamodel import MetaModel
    from metahpo.tables import read_table

    data = read_table(table, target, task.value)
    chosen = resolve_learner(learner, data.task)
    known = MetaModel.load(model, learner=chosen.family, task=data.task)
    check_known(chosen, known, model)
    for text in data.notes:
        note(text)
    configs = _usable(known, describe(data.X, data.y, data.task), chosen.space, n)
    if not configs:
        raise ValueError(f"the model {model} knows {chosen.name!r} only in part; use tune")
    if len(configs) < n:
        note(f"the model {model} knows no more than {len(configs)} configurations to suggest")
    if as_json:
        report = {
            "task": data.task,
            "metric": known.metric,
            "suggestions": [_with_learner(chosen, config) for config in configs],
        }
        print(json.dumps(report, indent=1))
        return
    out.print(_table([_with_learner(chosen, config) for config in configs]))
    note(f"in the order to try them, by {known.metric} on {len(known.task_ids)} known tasks")


def _usable(model: MetaModel, features: MetaFeatures, space: Space, n: int) -> list[Config]:
    """Return the first suggestions that can be tried: a known learner may not be installed."""
    usable: list[Config] = []
    for size in (n, len(model.pool)):
        usable = [config for config in model.suggest(features, size) if holds(space, config)]
        if len(usable) >= n:
            break
    return usable[:n]


def _with_learner(learner: Learner, config: Config) -> dict[str, Any]:
    """Say a configuration in the words of the estimator that takes it."""
    from metahpo.catalogue import UnionLearner

    if isinstance(learner, UnionLearner):
        learner, config = learner.split(config)
    return {"learner": learner.name, "params": learner.params_of(config)}


def _table(suggestions: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", justify="right", style="dim")
    table.add_column("learner", style="cyan")
    table.add_column("parameters")
    for rank, suggestion in enumerate(suggestions, start=1):
        params = "  ".join(f"{name}={_short(v)}" for name, v in suggestion["params"].items())
        table.add_row(str(rank), suggestion["learner"], params)
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
