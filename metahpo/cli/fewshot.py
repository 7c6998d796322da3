"""``metahpo fewshot``: meta-train, meta-test and tune few-shot learners."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metahpo.cli.console import err, out
from metahpo.cli.long import LongMeter

if TYPE_CHECKING:
    from metahpo.fewshot.taskfile import FewShotPlan

app = typer.Typer(
    name="fewshot",
    help="Meta-train, meta-test and tune [bold]few-shot learners[/].",
    rich_markup_mode="rich",
    no_args_is_help=True,
)

Task = Annotated[
    Path, typer.Argument(help="A few-shot task (TOML).", metavar="TASK", show_default=False)
]
Trained = Annotated[
    Path | None,
    typer.Option("--trained", help="The folder of learners.  [dim]\\[metahpo-fewshot/TASK]"),
]
Folder = Annotated[
    str | None, typer.Option("--folder", help="Where the data lies, if TASK does not say.")
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Trainings.  [dim]\\[TASK's]")]
Results = Annotated[
    Path, typer.Option("--out", "-o", help="The folder for JSON, Markdown and PNG.")
]


@app.command()
def train(task: Task, trained: Trained = None, folder: Folder = None, seeds: Seeds = None) -> None:
    """Meta-train a learner and its baselines, with every seed.

    What is finished is kept, and what was stopped goes on from its checkpoint: after Ctrl-C give
    the same command again.
    """
    from metahpo.fewshot.training import jobs, read_training, train_task

    plan, where = _plan(task, folder, seeds), _trained(task, trained)
    with _kept(where), LongMeter("iterations") as meter:
        train_task(
            plan,
            where,
            lambda name, at: meter.at(
                name,
                at.iteration,
                at.iterations,
                "" if at.validation is None else f"validation loss {at.validation:.4g}",
            ),
        )
    for job in jobs(plan):
        facts = read_training(where, job.name)
        words = f"{facts['iterations']:,} iterations in {facts['seconds']:.0f} s"
        out.print(f"[green]✓[/] {where / job.name}: {words}, K = {facts['steps']}")


@app.command("eval")
def evaluate(
    task: Task,
    trained: Trained = None,
    folder: Folder = None,
    seeds: Seeds = None,
    results: Results = Path("results/fewshot"),
) -> None:
    """Meta-test what was trained: shots, steps, shifted families, forgetting, baselines.

    Writes TASK.json, TASK.md and TASK.png.
    """
    from metahpo.bench.provenance import session
    from metahpo.fewshot.evaluation import evaluate_task, n_curves
    from metahpo.fewshot.pictures import draw_curves
    from metahpo.fewshot.results import write_numbers, write_page
    from metahpo.fewshot.summary import to_markdown
    from metahpo.fewshot.training import jobs, read_training

    plan, where = _plan(task, folder, seeds), _trained(task, trained)
    made = session(shlex.join(["metahpo", *sys.argv[1:]]), 1)
    with LongMeter("curves") as meter:
        total = n_curves(plan, where)
        rows = evaluate_task(
            plan,
            where,
            watch=lambda done, curve: meter.at(
                "meta-test", done, total, f"{curve.learner}, {curve.family}, {curve.shots} shots"
            ),
        )
    trainings = {job.name: read_training(where, job.name) for job in jobs(plan)}
    facts = {"task": plan.declared, "metric": plan.metric, "session": made, "trainings": trainings}
    page = to_markdown(task.stem, plan.metric, rows, trainings, made)
    write_numbers(results, task.stem, facts, rows)
    write_page(results, task.stem, page)
    draw_curves(rows, plan.metric, results / f"{task.stem}.png")
    out.print(page, markup=False)


@contextmanager
def _kept(where: Path) -> Iterator[None]:
    """Answer Ctrl-C with what is kept, and end with the exit code of an interruption."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"stopped; {where} keeps what is done, and the same command goes on")
        raise typer.Exit(130) from None


def _plan(task: Path, folder: str | None, seeds: int | None) -> FewShotPlan:
    from metahpo.fewshot.taskfile import load_task_file

    plan = load_task_file(task, folder=folder)
    return plan if seeds is None else replace(plan, seeds=seeds)


def _trained(task: Path, trained: Path | None) -> Path:
    return trained or Path("metahpo-fewshot", task.stem)
