"""``metahpo collect``: evaluate learners on OpenML tasks into a MetaDataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metahpo.cli import options
from metahpo.cli.console import err, note, out

File = Annotated[
    Path | None,
    typer.Argument(help="A declared collection (TOML), instead of the options.", metavar="FILE"),
]
Suite = Annotated[str | None, typer.Option(help="OpenML benchmark suite: id or alias.")]
Tasks = Annotated[str | None, typer.Option(help="OpenML task ids, as 31,37.")]
Learners = Annotated[str | None, typer.Option(help="Learners, as svc,random_forest; or all.")]
Configs = Annotated[int | None, typer.Option(help="Configurations a learner.  [dim]\\[100]")]
Kind = Annotated[
    str | None,
    typer.Option("--task", help="classification or regression.  [dim]\\[classification]"),
]
FromRuns = Annotated[
    bool,
    typer.Option(
        "--from-openml-runs",
        help="Evaluate nothing: import what others uploaded of --flow on --tasks (or --task 31) "
        "or --suite, by --metric (accuracy, roc_auc, …), for one of --learners.",
    ),
]
Flow = Annotated[int | None, typer.Option(help="OpenML's number of the flow to import.")]
Metric = Annotated[str | None, typer.Option(help="A scorer's name.  [dim]\\[accuracy, r2]")]
Folds = Annotated[int | None, typer.Option(help="Folds of the cross-validation.  [dim]\\[3]")]
MaxRows = Annotated[int | None, typer.Option(help="Rows a task is cut to.  [dim]\\[1000]")]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds a configuration.  [dim]\\[30]")]
Seed = Annotated[int | None, typer.Option(help="Of rows, folds, configurations.  [dim]\\[0]")]


def command(
    out_folder: options.Out,
    file: File = None,
    suite: Suite = None,
    tasks: Tasks = None,
    learners: Learners = None,
    configs: Configs = None,
    task: Kind = None,
    metric: Metric = None,
    folds: Folds = None,
    max_rows: MaxRows = None,
    time_limit: TimeLimit = None,
    seed: Seed = None,
    jobs: options.Jobs = 1,
    from_runs: FromRuns = False,
    flow: Flow = None,
) -> None:
    """Evaluate learners on [bold]OpenML tasks[/], resumably, into a folder to train on.

    What is finished is on disk at once; the same command goes on where it was stopped.
    """
    if from_runs or flow is not None:
        _import(flow if from_runs else None, tasks or task, suite, learners, metric, out_folder)
        return
    from metahpo.collect import collect_plan, declared_plan, load_collection_file

    given = {
        "suite": suite,
        "tasks": None if tasks is None else _task_ids(tasks),
        "learners": None if learners is None else _names(learners, task or "classification"),
        "n_configs": configs,
        "task": task,
        "metric": metric,
        "n_folds": folds,
        "max_rows": max_rows,
        "time_limit": time_limit,
        "seed": seed,
    }
    declared = {name: value for name, value in given.items() if value is not None}
    if file is not None and declared:
        raise ValueError(f"{file} declares the collection; leave out the other options")
    if file is not None:
        plan = load_collection_file(file)
    elif learners is None:
        raise ValueError("give --learners, or a file that declares the collection")
    else:
        plan = declared_plan({"task": "classification", "n_configs": 100, **declared})
    try:
        dataset = collect_plan(plan, out_folder, n_jobs=jobs)
    except KeyboardInterrupt:
        err.print(f"stopped; {out_folder} keeps what is finished, and the same command goes on")
        raise typer.Exit(130) from None
    out.print(str(dataset), markup=False)


def _import(
    flow: int | None,
    tasks: str | None,
    suite: str | None,
    learner: str | None,
    metric: str | None,
    folder: Path,
) -> None:
    """Import uploaded runs, and say what became of their parameters."""
    from metahpo.collect.past_runs import MEASURES, import_runs
    from metahpo.openml import fetch_suite

    if flow is None or (tasks is None) == (suite is None):
        raise ValueError(
            "to import runs give --from-openml-runs, --flow ID, and --tasks 31,37 or --suite"
        )
    measures = {scorer: measure for measure, (scorer, _) in MEASURES.items()}
    dataset, translation = import_runs(
        flow,
        _task_ids(tasks) if tasks is not None else fetch_suite(str(suite)),
        folder,
        learner=learner,
        measure=None if metric is None else measures.get(metric, metric),
    )
    found = translation
    err.print(f"  {found.n_used} of {found.n_runs} runs of {found.flow}", markup=False)
    for what, names in {
        f"parameters of {found.learner}": found.mapped,
        "not in the flow, taken at the default": found.assumed,
        "not searched here": [f"{n} ({_listed(v)})" for n, v in found.ignored.items()],
        "left out for": [f"{name}: {why}" for name, why in found.refused.items()],
    }.items():
        if names:
            note(f"{what}: {', '.join(names)}")
    out.print(str(dataset), markup=False)


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))


def _task_ids(text: str) -> list[int]:
    ids = [part.strip() for part in text.split(",")]
    wrong = [part for part in ids if not part.isdigit()]
    if wrong:
        raise ValueError(f"--tasks has {wrong[0]!r}; give OpenML task ids, as 31,37")
    return [int(part) for part in ids]


def _names(text: str, task: str) -> list[str]:
    from metahpo.catalogue import UnionLearner, learners

    if text == "all":
        (union,) = (u for u in learners.values() if isinstance(u, UnionLearner) and u.task == task)
        return list(union.branches)
    return [part.strip() for part in text.split(",")]
