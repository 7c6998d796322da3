"""The demo: a small benchmark on datasets that no training saw, warm and cold at one budget."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from metahpo.bench.engine import Engine
from metahpo.bench.gathering import gather
from metahpo.bench.methods import methods
from metahpo.bench.plan import Budget, Entrant, Plan
from metahpo.bench.report.anytime import draw_curves
from metahpo.bench.report.summary import to_markdown
from metahpo.bench.report.tasks import TaskStanding, summarize, tasks_table
from metahpo.bench.run import Session, run_contests
from metahpo.bench.runs import Watcher, read_runs
from metahpo.bench.store import Store

METHODS = ("metahpo", "tpe_default", "gp_default")
LEARNERS = {  # dataset: family of the learner that is tuned on it
    "breast_cancer": "hist_gradient_boosting",
    "wine": "mlp",
    "digits": "svc",
    "diabetes": "hist_gradient_boosting",
}
N_TRIALS = 20
SEEDS = 3
AT = (1, 5, 10, 20)
LABELS = {name: methods[name].label for name in METHODS}
RIVALS = tuple(name for name in METHODS if methods[name].from_default)

PLAN = Plan(
    name="demo",
    source="datasets",
    where=tuple(LEARNERS),
    entrants=tuple(Entrant(name, name) for name in METHODS),
    learners=tuple(dict.fromkeys(LEARNERS.values())),
    budget=Budget(trials=N_TRIALS),
    seeds=tuple(range(SEEDS)),
    nested=False,
    n_folds=3,
    max_rows=10_000,
    time_limit=60.0,
    baseline="tpe_default",
)


def run_demo(out: Path, *, n_jobs: int = 2, watcher: Watcher) -> list[TaskStanding]:
    """Run the demo and write ``runs.parquet``, ``summary.md`` and ``curves.png``.

    Parameters
    ----------
    out : Path
        The folder to write; a demo that was interrupted goes on.
    n_jobs : int, default=2
        Processes.
    watcher : Watcher
        Looks on.

    Returns
    -------
    list of TaskStanding
        How every method stands on every dataset.
    """
    session = Session(Engine(n_jobs), watcher=watcher)
    with Store(out).opened(PLAN, "metahpo demo", n_jobs, resume=True) as store:
        found = gather(PLAN, store, session.say).contests
        contests = [c for c in found if c.learner.startswith(LEARNERS[c.task])]
        run_contests(contests, PLAN.entrants, PLAN, store, session)
    runs = _in_order(read_runs([out]))
    standings = summarize(runs, RIVALS)
    (out / "summary.md").write_text(to_markdown(tasks_table(standings, AT, LABELS)) + "\n")
    draw_curves(runs, out / "curves", {name: methods[name].title for name in METHODS})
    return standings


def _in_order(runs: pd.DataFrame) -> pd.DataFrame:
    """Sort datasets and methods as they are named above."""
    places = {"task": list(LEARNERS), "method": list(METHODS)}
    return runs.sort_values(
        list(places), key=lambda column: column.map(places[str(column.name)].index), kind="stable"
    )
