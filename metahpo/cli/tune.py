"""``metahpo tune``: a warm-started study of one table, and what came of it."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metahpo.cli import options
from metahpo.cli.console import err, note, out
from metahpo.cli.knowledge import check_known
from metahpo.cli.meter import TrialMeter

if TYPE_CHECKING:
    from metahpo.report import TuningResult
    from metahpo.tables import LabelledTable
    from metahpo.tuning import Tuning

Trials = Annotated[
    int | None,
    typer.Option(
        "--trials",
        "-n",
        min=1,
        help="Configurations to try.  [dim]\\[30; with --timeout as many as fit][/]",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        help="Start no trial after this long: 90s, 10m, 1h30m. Without --trials, the largest gain "
        "per second is tried first."
    ),
]
Metric = Annotated[
    str | None, typer.Option(help="A scikit-learn scorer.  [dim]\\[accuracy or r2]")
]
Folds = Annotated[int, typer.Option("--cv", min=2, help="Folds of the cross-validation.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Folds fitted side by side.")]
Storage = Annotated[
    str | None,
    typer.Option(help="sqlite:///F, journal:///F, postgresql://…  [dim]\\[a file in --out]"),
]
Workers = Annotated[
    int, typer.Option("--workers", "-w", min=1, help="Trials run side by side, a process each.")
]
StudyName = Annotated[str | None, typer.Option(help="The study in it.  [dim]\\[TABLE-LEARNER]")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The folder to write.  [dim]\\[metahpo-tune/TABLE-LEARNER]"),
]

_TRIALS = 30
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def command(
    table: options.Table,
    target: options.Target,
    learner: options.LearnerName = "auto",
    trials: Trials = None,
    timeout: Timeout = None,
    metric: Metric = None,
    cv: Folds = 5,
    jobs: Jobs = 1,
    workers: Workers = 1,
    task: options.Task = options.TaskKind.auto,
    model: options.Model = "default",
    seed: options.Seed = 0,
    storage: Storage = None,
    study_name: StudyName = None,
    out_folder: Out = None,
) -> None:
    """Tune a learner on a table, [bold]starting from experience[/].

    Ctrl-C, or SIGTERM, keeps the best so far; the same command goes on with a study that was
    stopped. The same command elsewhere, with the same --storage, works on the same study.
    """
    seconds = None if timeout is None else parse_duration(timeout)
    if trials is None and seconds is None:
        trials = _TRIALS
    # convergence warnings and the like, from every fold of every trial; workers inherit it
    os.environ["PYTHONWARNINGS"] = "ignore"
    warnings.simplefilter("ignore")

    from metahpo.catalogue import resolve_learner
    from metahpo.collect.plan import DEFAULT_METRIC
    from metahpo.metamodel import DEFAULT, MetaModel
    from metahpo.search.interrupts import requests_as_interrupts
    from metahpo.tables import read_table
    from metahpo.tuning import Tuning
    from metahpo.workers import SharedStudy, search_together

    data = read_table(table, target, task.value)
    for text in data.notes:
        note(text)
    chosen = resolve_learner(learner, data.task)
    if model != DEFAULT:  # those that are shipped know their learners
        check_known(chosen, MetaModel.load(model, learner=chosen.name), model)
    name = f"{table.stem}-{chosen.name}"
    folder = _writable(out_folder or Path("metahpo-tune", name))
    tuning = Tuning(data, chosen, metric or DEFAULT_METRIC[data.task], cv, seed, jobs, model)
    where = storage or _sqlite(folder), study_name or name
    _keep_others(folder, tuning, where[1])
    with _told_if_stopped(), requests_as_interrupts(), TrialMeter(trials, tuning.metric) as meter:
        if workers == 1:
            search = tuning.search(trials, seconds, *where, [meter])
        else:
            shared = SharedStudy(*where, trials, seconds)
            search = search_together(tuning, shared, workers, callbacks=[meter], say=note)
    result = tuning.result(search, shlex.join(["metahpo", *sys.argv[1:]]))
    if meter.idle and trials is not None and (tried := len(result.trials)) >= trials:
        note(
            f"nothing was left to try: the study has {tried} trials; a larger --trials tries more"
        )
    _write(result, search.best_estimator_, folder)
    _tell(result, folder, trials)


@contextmanager
def _told_if_stopped() -> Iterator[None]:
    """Answer a Ctrl-C that leaves nothing to report, and end with an interruption's exit code."""
    try:
        yield
    except KeyboardInterrupt:
        # also after the last trial, while its best is fitted to all rows: no word of scores
        err.print("stopped before there was a result; the same command goes on")
        raise typer.Exit(130) from None


def parse_duration(text: str) -> float:
    """Read a duration such as "90s", "10m" or "1h30m": seconds.

    Raises
    ------
    ValueError
        If it is none, or nothing.
    """
    match = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise ValueError(f"--timeout is {text!r}; write it as 90s, 10m or 1h30m")
    return float(total)


def _writable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder


def _keep_others(folder: Path, tuning: Tuning, study: str) -> None:
    """Refuse a folder that holds what came of a study of another name, table or learner."""
    here = {
        "data": tuning.table.name,
        "target": tuning.table.target,
        "searched": tuning.learner.name,
        "study": study,
    }
    try:
        found = json.loads((folder / "best.json").read_text(encoding="utf-8"))
        what = next((name for name, own in here.items() if found[name] != own), None)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return  # nothing that was written here
    if what is not None:
        raise ValueError(
            f"{folder} holds a result with {what} {found[what]!r} instead of {here[what]!r}; "
            "choose another --out"
        )


def _sqlite(folder: Path) -> str:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(folder / "study.db")).render_as_string()


def _write(result: TuningResult, fitted: Any, folder: Path) -> None:
    """Write everything that is kept of a result, the page last."""
    import joblib

    from metahpo.files import replace_file
    from metahpo.report import write_best, write_page, write_trials

    with replace_file(folder / "model.joblib") as temporary:
        joblib.dump(_self_sufficient(fitted, result.table), temporary, compress=3)
    write_best(result, folder / "best.json")
    write_trials(result, folder / "trials.csv")
    write_page(result, folder / "report.html")


def _self_sufficient(fitted: Any, table: LabelledTable) -> Any:
    """Let a fitted pipeline take the table as the file holds it.

    That has columns which are not used, and dates written as text, where 4/2 may be in February
    as it may be in April.
    """
    from sklearn.pipeline import Pipeline
    from skrub import ApplyToCols, SelectCols, ToDatetime

    first: list[tuple[str, Any]] = [("columns", SelectCols(list(table.kinds)).fit(table.X))]
    for name, written in table.written.items():
        as_read = table.X.assign(**{name: table.X[name].dt.strftime(written)})
        dates = ApplyToCols(ToDatetime(format=written), cols=name).fit(as_read)
        first.append((f"dates of {name}", dates))
    return Pipeline([*first, *fitted.steps])


def _tell(result: TuningResult, folder: Path, wanted: int | None) -> None:
    best, default = result.best, result.default_score
    gain = "" if math.isnan(default) else f", the library default {default:.4f}"
    tried = len(result.trials)
    out.print(f"[bold]{result.metric} {best.score:.4f}[/] in trial {best.number} of {tried}{gain}")
    out.print()
    out.print(result.code, markup=False)
    transfer = result.transfer
    if transfer.unknown or transfer.clipped:
        note(f"what the model knew of the space: {transfer}")
    if wanted is not None and tried < wanted:
        err.print(f"stopped after {tried} of {wanted} trials; the same command goes on")
    for name, what in {
        "report.html": "to look at",
        "model.joblib": "the fitted pipeline; joblib files run code when loaded",
        "best.json": "the best configuration",
        "trials.csv": "all configurations",
    }.items():
        err.print(f"  [cyan]{folder / name}[/]  [dim]{what}[/]")
