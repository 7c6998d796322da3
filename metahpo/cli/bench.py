"""``metahpo bench``: methods on tasks, resumably, on one core or on a cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from metahpo.cli import bench_report, options
from metahpo.cli.console import err, note

if TYPE_CHECKING:
    from metahpo.bench.plan import Plan


class _RunByDefault(TyperGroup):
    """Take ``bench FILE …`` for ``bench run FILE …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            args = ["--help"]
        if args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    help="Compare methods on many tasks: [bold]bench FILE[/], or [bold]bench --suite …[/]; "
    "[bold]bench report DIR[/] looks at the results again.",
    rich_markup_mode="rich",
)

File = Annotated[
    Path | None,
    typer.Argument(help="A declared benchmark (TOML), as tasks/quick.toml.", metavar="FILE"),
]
Suite = Annotated[str | None, typer.Option(help="OpenML benchmark suite: id or alias.")]
Tasks = Annotated[str | None, typer.Option(help="OpenML task ids, as 31,37.")]
Learners = Annotated[
    str | None, typer.Option("--learner", "-l", help="Learners, as svc,random_forest.")
]
Methods = Annotated[
    str | None, typer.Option(help="Methods, as metahpo,tpe_default,my.module:Class.")
]
Metric = Annotated[str | None, typer.Option(help="A scorer's name.  [dim]\\[accuracy, r2]")]
Trials = Annotated[int | None, typer.Option(help="Trials a run.  [dim]\\[30]")]
Seconds = Annotated[float | None, typer.Option(help="Seconds a run, instead of trials.")]
Seeds = Annotated[int | None, typer.Option(help="How many seeds.  [dim]\\[3]")]
Refit = Annotated[
    bool, typer.Option("--refit", help="Refit models without the tasks that they were trained on.")
]
Dask = Annotated[
    str | None,
    typer.Option(help="A Dask scheduler that does the work.", metavar="tcp://HOST:PORT"),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="A method, learner or task to keep to; may be repeated.", metavar="NAME"),
]
Merge = Annotated[
    list[Path] | None,
    typer.Option(help="Results of the same benchmark to take over first.", metavar="DIR"),
]
Resume = Annotated[
    bool,
    typer.Option("--resume/--no-resume", help="Go on with what is there, or start over."),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder to write.  [dim]\\[results/NAME]")
]


@app.command("run")
def command(
    file: File = None,
    suite: Suite = None,
    tasks: Tasks = None,
    learners: Learners = None,
    methods: Methods = None,
    metric: Metric = None,
    trials: Trials = None,
    seconds: Seconds = None,
    seeds: Seeds = None,
    refit: Refit = False,
    jobs: options.Jobs = 1,
    dask: Dask = None,
    only: Only = None,
    merge: Merge = None,
    resume: Resume = True,
    out_folder: Out = None,
) -> None:
    """Run a benchmark, or go on with one; [bold]run[/] may be left out.

    What is finished is on disk at once. The same command goes on where it was stopped, and one
    with more seeds, methods or tasks does what is missing.
    """
    from metahpo.bench.engine import Engine
    from metahpo.bench.report import write_report
    from metahpo.bench.run import Session, run_benchmark
    from metahpo.cli.scoreboard import Scoreboard

    given = {
        "suite": suite,
        "tasks": None if tasks is None else _numbers(tasks),
        "learners": None if learners is None else _names(learners),
        "methods": None if methods is None else _names(methods),
        "metric": metric,
        "trials": trials,
        "seconds": seconds,
        "seeds": seeds,
        "refit": refit or None,
    }
    plan = _plan(file, {name: value for name, value in given.items() if value is not None})
    folder = out_folder or Path("results") / plan.name
    session = Session(
        engine=Engine(jobs, dask),
        only=tuple(only or ()),
        resume=resume,
        merge=tuple(merge or ()),
        command=shlex.join(["metahpo", *sys.argv[1:]]),
        watcher=Scoreboard([entrant.name for entrant in plan.entrants]),
        say=note,
    )
    try:
        run_benchmark(plan, folder, session)
    except KeyboardInterrupt:
        err.print(f"stopped; {folder} keeps what is finished, and the same command goes on")
        raise typer.Exit(130) from None
    bench_report.show(write_report([folder]), folder)


app.command("report")(bench_report.command)


def _plan(file: Path | None, given: dict[str, Any]) -> Plan:
    from metahpo.bench.plan import declared_plan, load_plan

    if file is None:
        where = str(given.get("suite", "tasks")).lower()
        return declared_plan({"name": "-".join([where, *given.get("learners", ())]), **given})
    for name in ("suite", "tasks", "learners", "metric", "trials", "seconds"):
        if name in given:
            raise ValueError(f"{file} declares the benchmark; leave out --{name}")
    return load_plan(file, given)


def _numbers(text: str) -> list[int]:
    wrong = [part for part in _names(text) if not part.isdigit()]
    if wrong:
        raise ValueError(f"--tasks has {wrong[0]!r}; give OpenML task ids, as 31,37")
    return [int(part) for part in _names(text)]


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
