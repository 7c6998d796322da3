"""What a benchmark found: everything that its summary and its page show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metahpo.bench.report.curves import Coverage, Curves, by_seconds, by_trial, keep_common
from metahpo.bench.report.statistics import CriticalDifference, critical_difference

_TIMES = (1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400)  # seconds
_TIMES_SHOWN = 4
_GRID = 80  # points of a curve against time


@dataclass(frozen=True, eq=False)
class Findings:
    """What a benchmark found, on the heats that all methods ran.

    Attributes
    ----------
    runs : DataFrame
        Those heats' trials.
    coverage : Coverage
    unfinished : tuple of str
        What the declarations hold that has not run yet, in words.
    baseline : str
        The method that the others are held against.
    trials : Curves
        Against the number of trials.
    test : Curves or None
        The same of the incumbents' scores on the test folds; None where there are none.
    seconds, times : Curves or None
        Against time, finely and at the few times that tables show; None where evaluations have
        no times.
    by_learner : mapping of str to Curves
        Against the number of trials, a learner at a time.
    ranking : CriticalDifference
        After the last trial.
    """

    runs: pd.DataFrame
    coverage: Coverage
    unfinished: tuple[str, ...]
    baseline: str
    trials: Curves
    test: Curves | None
    seconds: Curves | None
    times: Curves | None
    by_learner: Mapping[str, Curves]
    ranking: CriticalDifference

    @property
    def known_bounds(self) -> str:
        """Whether regrets are measured from a known optimum: "all", "none" or "some"."""
        known = self.runs["optimum"].notna()
        return "all" if known.all() else "some" if known.any() else "none"


def examine(
    runs: pd.DataFrame, baseline: str | None = None, records: Sequence[dict[str, Any]] = ()
) -> Findings:
    """Work out what there is to report.

    Parameters
    ----------
    runs : DataFrame
        As :mod:`metahpo.bench.runs` has them.
    baseline : str, optional
        By default "random" where it ran, else the first method.
    records : sequence of dict, optional
        How the runs were made: the contents of each ``run.json``.

    Raises
    ------
    ValueError
        If the baseline did not run, or if there is nothing that all methods ran.
    """
    methods = list(runs["method"].unique())
    if baseline is None:
        baseline = "random" if "random" in methods else methods[0]
    if baseline not in methods:
        raise ValueError(f"the baseline {baseline!r} did not run; these did: {', '.join(methods)}")
    common, coverage = keep_common(runs)
    trials = by_trial(common)
    grid, times = _times(common)
    return Findings(
        runs=common,
        coverage=coverage,
        unfinished=tuple(text for record in records for text in _unfinished(runs, record)),
        baseline=baseline,
        trials=trials,
        test=by_trial(common, "test_score") if common["test_score"].notna().any() else None,
        seconds=by_seconds(common, grid) if len(grid) else None,
        times=by_seconds(common, times) if len(times) else None,
        by_learner={str(n): by_trial(own) for n, own in common.groupby("learner", sort=False)},
        ranking=critical_difference(trials.regret[:, :, -1], trials.methods),
    )


def _unfinished(runs: pd.DataFrame, record: dict[str, Any]) -> Iterator[str]:
    """Say what a declaration holds that the runs do not, as far as it tells without its tasks."""
    sessions = record.get("sessions") or [{}]
    if "finished" in sessions[-1] and sessions[-1]["finished"] is None:
        yield f"{record['name']} was stopped before its end; its command goes on."
    methods = [entrant["name"] for entrant in record["plan"].get("methods", ())]
    seeds = record.get("seeds", ())
    for what, declared, column in (("methods", methods, "method"), ("seeds", seeds, "seed")):
        missing = [str(one) for one in declared if one not in set(runs[column])]
        if missing:
            yield f"{record['name']} declares {what} that have not run: {', '.join(missing)}."


def _times(runs: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Choose times from the first finished trials to the last, finely and for tables."""
    if not (runs["evaluate_seconds"] > 0).any():
        return [], []
    ends = runs.groupby(["task_id", "learner", "metric", "fold", "seed", "method"])["elapsed"]
    first, last = ends.min().to_numpy(), ends.max().to_numpy()
    grid = np.geomspace(max(np.quantile(first, 0.1), 1e-3), max(last.max(), 2e-3), _GRID)
    shown = [float(t) for t in _TIMES if np.median(first) <= t <= np.median(last)]
    return grid.tolist(), shown[-_TIMES_SHOWN:] or [float(np.median(last))]


def seconds_a_trial(runs: pd.DataFrame) -> pd.DataFrame:
    """Return each method's mean seconds a trial: ``suggest_seconds``, ``evaluate_seconds``."""
    columns = ["suggest_seconds", "evaluate_seconds"]
    return runs.groupby("method", sort=False)[columns].mean()


def failures(runs: pd.DataFrame) -> pd.DataFrame:
    """Count each method's trials by status."""
    return pd.crosstab(runs["method"], runs["status"]).reindex(runs["method"].unique())
