"""metahpo in the referee's ring, beside the best of the referee's own methods.

The referee is a program of its own that knows nothing of metahpo but its public interface: it
splits a table's tasks into five folds, lets every method choose among the configurations of a task
held out, and takes the regret, (optimum - best so far) / (optimum - worst), or over (optimum -
median). ``best other`` is the lowest mean regret of the other methods that were played, at each
number of trials another one perhaps; ``ratio`` is metahpo's over it, empty where it is below
0.001; ``rank`` is metahpo's mean rank among all methods, beside the best other's. ``trials for
TPE's 50`` is after how many trials metahpo's mean regret is what that of TPE, from the default, is
after 50. At the end stand the means over the tables, also of the ratios to each other method
alone; with other tasks of these tables a mean would lie between ``90% from`` and ``to`` in nine
of ten cases (bootstrap over each table's tasks, in which another method may become the best).
What the folder of ``--played`` holds already is shown and not played again, so methods can be
added one at a time.

    python benchmarks/referee.py REFEREE.py --played DIR --methods adapter.py:Metahpo portfolio
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evidence
import numpy as np
import pandas as pd
from numpy.typing import NDArray

TABLES = (
    "pimp_adaboost",
    "oboe_a",
    "openml_svm_offgrid",
    "rbv2_xgboost_clean",
    "lcbench",
    "rbv2_rpart",
)
OURS, TPE = "adapter.py:Metahpo", "tpe_default"
SHOWN = (1, 2, 3, 5, 10, 20, 50)
REGRETS = {"range": "regret", "median": "regret_med"}
LEAST = 0.001  # a smaller regret of the best other is no measure of anything
DRAWS = 1000  # of the bootstrap

Array = NDArray[np.float64]


def play(given: argparse.Namespace, table: str) -> pd.DataFrame:
    """Let the referee play what has not been played yet; return every method's every trial."""
    found = stored(given.played, table)
    missing = [m for m in given.methods if found is None or m not in set(found["method"])]
    if missing:
        options = ["--n-tasks", given.tasks, "--seeds", given.seeds, "--jobs", given.jobs]
        subprocess.run(
            [sys.executable, given.referee.name, table, "--methods", ",".join(missing)]
            + [str(option) for option in options],
            cwd=given.referee.parent,
            env=os.environ | {"REFEREE_OUT": str(given.played.absolute())},
            stdout=sys.stderr,
            check=True,
        )
        found = stored(given.played, table)
    assert found is not None
    return found[found["method"].isin(given.methods)]


def stored(folder: Path, table: str) -> pd.DataFrame | None:
    """Return what the referee has written about a table, if anything."""
    files = sorted(folder.glob(f"{table}__*.parquet"))
    return pd.read_parquet(files[0]) if files else None


def by_task(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the regret after each trial, one row a method and task."""
    return trials.groupby(["method", "task", "trial"])[column].mean().unstack("trial")


def compared(table: str, trials: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a table's lines."""
    for by, column in REGRETS.items():
        per_task = by_task(trials, column)
        mean = per_task.groupby("method").mean()
        ranks = per_task.groupby("task").rank().groupby("method").mean()
        others = mean.drop(index=OURS)
        best = others.min()
        ratio = mean.loc[OURS].div(best).where(best >= LEAST)
        line = {"table": table, "regret by": by, "tasks": trials["task"].nunique()}
        for what, values in {
            "metahpo": mean.loc[OURS],
            "best other": best,
            "which": others.idxmin(),
            "ratio": ratio,
            "rank": ranks.loc[OURS],
            "best other rank": ranks.drop(index=OURS).min(),
        }.items():
            yield {**line, "": what} | {f"@{n}": values[n] for n in SHOWN}
        if TPE in mean.index:
            passed = mean.loc[OURS] <= mean.loc[TPE, max(SHOWN)]
            first = int(passed.idxmax()) if passed.any() else None
            yield {**line, "": "trials for TPE's 50", "@1": first}


def overall(played: dict[str, pd.DataFrame], methods: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the means over the tables of the ratios to the best other, and to each of them."""
    n_tasks = sum(trials["task"].nunique() for trials in played.values())
    others = [method for method in methods if method != OURS]
    against = {"ratio": others} | {f"ratio to {method} alone": [method] for method in others}
    for by, column in REGRETS.items():
        rng = np.random.default_rng(0)
        tables = [redrawn(by_task(trials, column), rng) for trials in played.values()]
        line = {"table": "all", "regret by": by, "tasks": n_tasks}
        for what, peers in against.items():
            for name, values in mean_ratio(tables, peers).items():
                yield {**line, "": f"{what}, {name}"} | {
                    f"@{n}": float(value) for n, value in zip(SHOWN, values, strict=True)
                }


def redrawn(per_task: pd.DataFrame, rng: np.random.Generator) -> dict[str, Array]:
    """Return every method's mean regret over a table's tasks, and over tasks drawn from them.

    Returns
    -------
    dict of str to ndarray, shape (1 + DRAWS, len(SHOWN))
        First the tasks as they are. A draw has the same tasks for all methods.
    """
    n = per_task.index.get_level_values("task").nunique()
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    share = np.concatenate([np.ones((1, n)), drawn]) / n
    methods = per_task[list(SHOWN)].groupby("method")
    return {str(method): share @ rows.to_numpy() for method, rows in methods}


def mean_ratio(tables: list[dict[str, Array]], peers: list[str]) -> dict[str, Array]:
    """Return the mean over tables of metahpo's regret over that of the best of some peers.

    And between what it lies in 90% of the bootstrap.
    """
    ratios = []
    for regret in tables:
        best = np.min([regret[peer] for peer in peers], axis=0)
        ratios.append(regret[OURS] / np.where(best >= LEAST, best, np.nan))
    mean, *others = np.nanmean(ratios, axis=0)
    low, high = np.nanquantile(others, (0.05, 0.95), axis=0)
    return {"mean of tables": mean, "90% from": low, "to": high}


def main() -> None:
    """Play, print and write."""
    parser = evidence.command_line(__doc__ or "")
    parser.add_argument("referee", type=Path, help="the referee's file; adapter.py is beside it")
    parser.add_argument("--table", nargs="+", default=list(TABLES))
    parser.add_argument("--methods", nargs="+", default=[OURS, TPE, "portfolio"])
    parser.add_argument("--tasks", type=int, default=60, help="tasks held out, a table")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="studies at a time")
    parser.add_argument("--played", type=Path, required=True, help="folder of all that is played")
    given = parser.parse_args()
    given.referee = given.referee.absolute()
    facts = evidence.begun(given)
    facts["settings"] |= {"referee": given.referee.name, "played": given.played.name}
    played: dict[str, pd.DataFrame] = {}

    def lines() -> Iterator[dict[str, Any]]:
        for table in given.table:
            played[table] = play(given, table)
            yield from compared(table, played[table])
        yield from overall(played, given.methods)

    rows = evidence.watched(lines())
    evidence.publish("referee", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
