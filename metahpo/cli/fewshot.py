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

from metahpo.cli import options
from metahpo.cli.console import err, out
from metahpo.cli.stages import StageMeter

if TYPE_CHECKING:
    from metahpo.fewshot.taskfile import FewShotPlan

app = typer.Typer(
    name="fewshot",
    help="Meta-train, meta-test and tune [bold]few-shot learners[/].",
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


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

Families = Annotated[
    Path, typer.Argument(help="Few-shot families (TOML).", metavar="FILE", show_default=False)
]
Experience = Annotated[
    Path, typer.Option("--experience", "-e", help="The folder of evaluations on families.")
]
_EXPERIENCE = Path("results/fewshot/experience")
Trials = Annotated[int, typer.Option("--trials", "-n", min=1, help="Configurations to try.")]
Passes = Annotated[int, typer.Option(min=1, help="Task gradients that a trial may compute.")]
Study = Annotated[
    Path | None, typer.Option(help="The study's file.  [dim]\\[metahpo-fewshot/TASK-study.db]")
]


@app.command()
def train(task: Task, trained: Trained = None, folder: Folder = None, seeds: Seeds = None) -> None:
    """Meta-train a learner and its baselines, with every seed.

    What is finished is kept, and what was stopped goes on from its checkpoint: after Ctrl-C give
    the same command again.
    """
    from metahpo.fewshot.training import jobs, read_training, train_task

    plan, where = _plan(task, folder, seeds), _trained(task, trained)
    with _kept(where), StageMeter("iterations") as meter:
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
    made = session(_command(folder), 1)
    with StageMeter("curves") as meter:
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


@app.command()
def collect(file: Families, experience: Experience = _EXPERIENCE, jobs: options.Jobs = 1) -> None:
    """Evaluate settings of MAML on earlier families, and learn from them what to try first.

    What is finished is on disk at once; the same command goes on where it was stopped.
    """
    from metahpo.fewshot.experience import gather, learn, load_families

    families = load_families(file)
    with _kept(experience), StageMeter("evaluations") as meter:
        dataset = gather(
            families,
            experience,
            n_jobs=jobs,
            watch=lambda done, total: meter.at("families", done, total),
        )
    with err.status("learning from them"):
        learn(experience)
    out.print(str(dataset), markup=False)


@app.command()
def tune(
    task: Task,
    experience: Experience = _EXPERIENCE,
    trials: Trials = 15,
    passes: Passes = 30_000,
    folder: Folder = None,
    seed: options.Seed = 0,
    study: Study = None,
) -> None:
    """Tune inner and outer rate, steps, batch, width and order for a task, from experience.

    The study is kept; the same command goes on with it. For another task, --passes or --seed,
    give another --study.
    """
    import optuna
    from sqlalchemy import URL

    from metahpo.fewshot.experience import load_experience
    from metahpo.fewshot.meta_features import describe_family
    from metahpo.fewshot.study import as_toml, check_identity, run_trial, warm_study

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = _plan(task, folder, None)
    path = study or Path("metahpo-fewshot", f"{task.stem}-study.db")
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = warm_study(
        load_experience(experience),
        describe_family(plan),
        seed=seed,
        storage=URL.create("sqlite", database=str(path)).render_as_string(),
    )
    check_identity(opened, plan, passes=passes, seed=seed, where=path)
    done = sum(trial.state.is_finished() for trial in opened.trials)
    with _kept(path), StageMeter("trials") as meter:
        for number in range(done + 1, trials + 1):
            trial = run_trial(opened, plan, passes=passes, seed=seed)
            meter.at("study", number, trials, f"query loss {trial.evaluation.score:.4g}")
    best = opened.best_trial
    out.print(f"[bold]query loss {best.value:.4g}[/] in trial {best.number + 1} of {trials}")
    out.print(as_toml(best.params, plan), markup=False)


@app.command()
def duel(
    file: Families,
    experience: Experience = _EXPERIENCE,
    trials: Trials = 15,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Of tuners and trainings.")] = 3,
    jobs: options.Jobs = 1,
    results: Results = Path("results/fewshot"),
) -> None:
    """Race on held-out families: warm study, cold TPE, and rates and steps by gradient.

    Writes FILE.json, FILE.md and FILE.png; the same command goes on where it was stopped.
    """
    from metahpo.bench.provenance import session
    from metahpo.fewshot.duel import duel as run
    from metahpo.fewshot.duel_summary import draw_duel, to_markdown
    from metahpo.fewshot.experience import load_experience, load_families
    from metahpo.fewshot.results import write_numbers, write_page

    families = load_families(file)
    made = session(_command(), jobs)
    with _kept(experience), StageMeter("runs") as meter:
        rows = run(
            families,
            load_experience(experience),
            experience / "duel.jsonl",
            seeds=seeds,
            trials=trials,
            n_jobs=jobs,
            watch=lambda done, total: meter.at("held-out families", done, total),
        )
    page = to_markdown(file.stem, rows, families.passes, made)
    write_numbers(results, file.stem, {"passes": families.passes, "session": made}, rows)
    write_page(results, file.stem, page)
    draw_duel(rows, results / f"{file.stem}.png")
    out.print(page, markup=False)


@app.command()
def sweep(
    task: Task,
    trained: Trained = None,
    folder: Folder = None,
    seeds: Seeds = None,
    jobs: options.Jobs = 1,
    results: Results = Path("results/fewshot"),
) -> None:
    """Compare the learned number of steps with a sweep of fixed ones, at several prices.

    Writes TASK_sweep.json and TASK_sweep.md; the same command goes on where it was stopped.
    """
    import pandas as pd

    from metahpo.bench.provenance import session
    from metahpo.fewshot.results import write_numbers, write_page
    from metahpo.fewshot.sweep import sweep as run
    from metahpo.fewshot.sweep import to_markdown

    plan, where = _plan(task, folder, seeds), _trained(task, trained)
    name = f"{task.stem}_sweep"
    made = session(_command(folder), jobs)
    with _kept(where), StageMeter("trainings") as meter:
        comparisons = run(
            plan,
            where / "sweep.jsonl",
            n_jobs=jobs,
            watch=lambda done, total: meter.at("sweep", done, total),
        )
    page = to_markdown(name, comparisons, plan, made)
    facts = {"task": plan.declared, "session": made}
    write_numbers(results, name, facts, pd.DataFrame(comparisons))
    write_page(results, name, page)
    out.print(page, markup=False)


def _command(folder: str | None = None) -> str:
    """Return the command as it was given, without where on this machine the data lies."""
    words = ["FOLDER" if word == folder else word for word in sys.argv[1:]]
    return shlex.join(["metahpo", *words])


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
