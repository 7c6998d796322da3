"""Runs as arrays: how far every method is on every task after every budget.

Scores are comparable where the same data are split in the same way, so they are normalised a
*problem* (task, learner and metric) and fold at a time::

    regret = (top - best so far) / (top - bottom), at most 1

``top`` and ``bottom`` are the optimum and the worst score of the problem where the runs state
them, as histories do, and elsewhere the best and the worst score that any method came upon in any
seed, the worst without junk: see :func:`~metahpo.surrogate.scores.junk_floor`. One diverged R² of
-1e20 would otherwise make every regret 0. A run without a score yet stands at the worst.

Notation
--------
======= ========================= ==========================================================
name    shape                     meaning
======= ========================= ==========================================================
score   (tasks, methods, budgets) best so far, mean over learners, folds and seeds
regret  (tasks, methods, budgets) the same, normalised: 0 is the top, 1 the bottom
own     (runs, trials)            best so far of one run a row, in its own order of trials
======= ========================= ==========================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.surrogate.scores import junk_floor

Array = NDArray[np.float64]

PROBLEM = ["task_id", "learner", "metric"]
ARENA = [*PROBLEM, "fold"]  # within which scores can be compared
HEAT = [*ARENA, "seed"]  # what every method is to run once: one unit each


@dataclass(frozen=True)
class Coverage:
    """What of the runs can be compared.

    A *heat* is a problem with a fold and a seed: what every method is to run once.

    Attributes
    ----------
    units : mapping of str to int
        How many heats each method has run.
    n_heats, n_tasks : int
        How many there are, over all methods.
    n_common_heats, n_common_tasks : int
        How many every method has run: what is compared.
    """

    units: dict[str, int]
    n_heats: int
    n_tasks: int
    n_common_heats: int
    n_common_tasks: int

    @property
    def complete(self) -> bool:
        """Whether every method has run every heat."""
        return self.n_common_heats == self.n_heats


@dataclass(frozen=True, eq=False)
class Curves:
    """How far every method is on every task after every budget; see the notation above.

    Attributes
    ----------
    tasks : tuple of str
        Their names, made distinct by their ids.
    methods : tuple of str
    budgets : ndarray, shape (budgets,)
        Numbers of trials, or seconds.
    score : ndarray or None
        None where tasks have different metrics, whose mean has no meaning.
    regret : ndarray
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    budgets: Array
    score: Array | None
    regret: Array


def keep_common(runs: pd.DataFrame) -> tuple[pd.DataFrame, Coverage]:
    """Keep the heats that every method has run.

    Raises
    ------
    ValueError
        If there are none.
    """
    units = runs[[*HEAT, "method"]].drop_duplicates()
    n_methods = units.groupby(HEAT)["method"].size()
    common = n_methods.index[n_methods == units["method"].nunique()]
    coverage = Coverage(
        units={str(m): int(n) for m, n in units.groupby("method", sort=False).size().items()},
        n_heats=len(n_methods),
        n_tasks=n_methods.index.get_level_values("task_id").nunique(),
        n_common_heats=len(common),
        n_common_tasks=common.get_level_values("task_id").nunique(),
    )
    if not len(common):
        least = min(coverage.units, key=coverage.units.__getitem__)
        raise ValueError(
            f"no task was run by all {len(coverage.units)} methods yet ({least} has the fewest "
            f"runs, {coverage.units[least]}), so there is nothing to compare"
        )
    return runs[pd.MultiIndex.from_frame(runs[HEAT]).isin(common)], coverage


def by_trial(runs: pd.DataFrame, column: str = "best") -> Curves:
    """Compare after every number of trials; a run that ended earlier stays where it was.

    Parameters
    ----------
    runs : DataFrame
        Of :func:`keep_common`.
    column : {"best", "test_score"}
        By which score: the one that is tuned, or the incumbent's on the test fold.
    """
    own = best_so_far(runs, column)
    return _curves(runs, own.index, own.to_numpy(float), np.array(own.columns, float), column)


def by_seconds(runs: pd.DataFrame, seconds: Sequence[float]) -> Curves:
    """Compare after given times of suggesting and evaluating; a run that ended stays there."""
    best = best_so_far(runs)
    own = best.to_numpy(float)
    ended = _wide(runs, "elapsed").fillna(np.inf).to_numpy(float)
    grid = np.asarray(seconds, float)
    at = np.full((len(own), len(grid)), np.nan)
    for row, (scores, times) in enumerate(zip(own, ended, strict=True)):
        done = np.searchsorted(times, grid, side="right")  # trials that have ended by then
        at[row] = np.where(done > 0, scores[done - 1], np.nan)
    return _curves(runs, best.index, at, grid, "best")


def best_so_far(runs: pd.DataFrame, column: str = "best") -> pd.DataFrame:
    """Lay the best so far out: one row a run, one column a trial, held where a run has ended."""
    return _wide(runs, column).ffill(axis=1)


def _wide(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lay a column out: one row a run, one column a trial."""
    table: pd.DataFrame = runs.pivot(index=[*HEAT, "method"], columns="trial", values=column)
    return table


def _curves(
    runs: pd.DataFrame, index: pd.Index[Any], own: Array, budgets: Array, column: str
) -> Curves:
    arenas = pd.MultiIndex.from_frame(index.to_frame(index=False)[ARENA])
    bounds = _bounds(runs, column).reindex(arenas)
    sign, top, bottom, worst = (
        bounds[name].to_numpy()[:, None] for name in ("sign", "top", "bottom", "worst")
    )
    best = np.where(np.isnan(own), worst, sign * own)
    width = np.where(top > bottom, top - bottom, 1.0)
    methods = tuple(runs["method"].unique())
    names = _names(runs)
    comparable = runs["metric"].nunique() == runs["direction"].nunique() == 1
    return Curves(
        tasks=tuple(names.values()),
        methods=methods,
        budgets=budgets,
        score=_by_task(sign * best, index, list(names), methods) if comparable else None,
        regret=_by_task(np.minimum((top - best) / width, 1.0), index, list(names), methods),
    )


def _bounds(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return sign, top, bottom and worst of every arena; sign × score is higher where better."""
    sign = np.where(runs["direction"] == "minimize", -1.0, 1.0)
    seen = "score" if column == "best" else column
    ends = runs[ARENA].assign(
        sign=sign,
        seen=sign * runs[seen],
        optimum=sign * runs["optimum"],
        worst=sign * runs["worst"],
    )
    arenas = ends.groupby(ARENA)
    bounds = pd.DataFrame(
        {
            "sign": arenas["sign"].first(),
            "top": arenas["seen"].max(),
            "bottom": arenas["seen"].agg(lambda seen: junk_floor(seen.to_numpy(float))),
            "worst": arenas["seen"].min(),
        }
    )
    if column == "best":  # what is known of the problem is of the score that is tuned
        bounds["top"] = arenas["optimum"].max().fillna(bounds["top"])
        stated = arenas["worst"].min()
        for name in ("bottom", "worst"):
            bounds[name] = stated.fillna(bounds[name])
    return bounds.fillna(0.0)  # where every trial of every method failed, all are equal


def _by_task(
    values: Array, index: pd.Index[Any], task_ids: list[str], methods: Sequence[str]
) -> Array:
    """Average a row a run: over folds and seeds, then over the task's learners and metrics."""
    frame = pd.DataFrame(values, index=index)
    problems = frame.groupby([*PROBLEM, "method"]).mean()
    means = problems.groupby(["task_id", "method"]).mean()
    wanted = pd.MultiIndex.from_product([task_ids, methods])
    n_budgets = values.shape[1]
    return means.reindex(wanted).to_numpy().reshape(len(task_ids), len(methods), n_budgets)


def _names(runs: pd.DataFrame) -> dict[str, str]:
    """Map the task ids to names, which several OpenML tasks of one dataset may share."""
    tasks = runs[["task_id", "task"]].drop_duplicates("task_id").astype(str)
    shared = tasks["task"].duplicated(keep=False)
    names = tasks["task"].where(~shared, tasks["task"] + " (" + tasks["task_id"] + ")")
    return dict(zip(tasks["task_id"], names, strict=True))
