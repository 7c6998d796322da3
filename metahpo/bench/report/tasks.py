"""Every task by itself: each method's best score so far, with its spread over the runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.bench.report.curves import PROBLEM, best_so_far
from metahpo.bench.report.standings import Table

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TaskStanding:
    """One method on one problem.

    Attributes
    ----------
    problem : str
        Task, learner and metric in words.
    method : str
    best : ndarray, shape (runs, trials)
        Best score so far; one run a seed and fold.
    catches_up : int or None
        After how many trials its mean is first as good as the best of the rivals' at the end;
        None if it never is.
    """

    problem: str
    method: str
    best: Array
    catches_up: int | None

    def at(self, n: int) -> str:
        """Write mean and standard deviation over the runs after `n` trials."""
        column = self.best[:, min(n, self.best.shape[1]) - 1]
        spread = f" ±{column.std(ddof=1):.4f}" if len(column) > 1 else ""
        return f"{column.mean():.4f}{spread}"


@dataclass(frozen=True)
class Problem:
    """A task with a learner and a metric, and every method's best so far, (runs, trials)."""

    task: str
    learner: str
    metric: str
    maximize: bool
    best: Mapping[str, Array]

    @property
    def title(self) -> str:
        """The problem in words."""
        return f"{self.task}, {self.learner}, {self.metric}"


def problems(runs: pd.DataFrame) -> Iterator[Problem]:
    """Take runs apart by problem, in their order."""
    own = best_so_far(runs)
    rows = own.groupby([*PROBLEM, "method"]).indices
    methods = runs["method"].unique()
    for key, part in runs.groupby(PROBLEM, sort=False):
        first = part.iloc[0]
        yield Problem(
            task=str(first["task"]),
            learner=str(first["learner"]),
            metric=str(first["metric"]),
            maximize=first["direction"] == "maximize",
            best={m: own.to_numpy()[rows[*key, m]] for m in methods if (*key, m) in rows},
        )


def summarize(runs: pd.DataFrame, rivals: Collection[str]) -> list[TaskStanding]:
    """Tell how every method stands on every problem.

    Parameters
    ----------
    runs : DataFrame
        As :mod:`metahpo.bench.runs` has them.
    rivals : collection of str
        The methods that others are to catch up with.
    """
    return [
        TaskStanding(problem.title, method, best, _catches_up(problem, best, rivals))
        for problem in problems(runs)
        for method, best in problem.best.items()
    ]


def _catches_up(problem: Problem, best: Array, rivals: Collection[str]) -> int | None:
    sign = 1.0 if problem.maximize else -1.0
    finishes = [sign * own[:, -1].mean() for name, own in problem.best.items() if name in rivals]
    goal = max(finishes, default=np.nan)
    reached = np.flatnonzero(sign * best.mean(axis=0) >= goal - 1e-12)
    return int(reached[0]) + 1 if len(reached) else None


def task_table(
    standings: Sequence[TaskStanding], at: Sequence[int], labels: Mapping[str, str] | None = None
) -> Table:
    """Lay the methods of one problem out as a table.

    Parameters
    ----------
    standings : sequence of TaskStanding
    at : sequence of int
        Numbers of trials.
    labels : mapping of str to str, optional
        What to call methods, where not by their names.
    """
    head = ["method", *(f"@{n}" for n in at), "catches up"]
    rows = [
        [
            (labels or {}).get(s.method, s.method),
            *(s.at(n) for n in at),
            "never" if s.catches_up is None else f"trial {s.catches_up}",
        ]
        for s in standings
    ]
    return head, rows


def tasks_table(
    standings: Sequence[TaskStanding], at: Sequence[int], labels: Mapping[str, str] | None = None
) -> Table:
    """Lay all problems out as one table, the problem in its first column."""
    head, rows = task_table(standings, at, labels)
    named = [[s.problem, *row] for s, row in zip(standings, rows, strict=True)]
    return ["dataset", *head], named
