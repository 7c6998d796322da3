"""How many scores of a new task lie within the intervals that are predicted for them.

A model is trained without the tasks that are held out. Each of them is tuned for some trials,
chosen by the optimizer itself or at random, and the scores of all configurations that it has not
tried are predicted: of the 80% intervals 75 to 85% should hold the score, of the 95% intervals 92
to 98%. Shares are means over tasks, with their standard deviation over tasks; width is that of the
mean interval, relative to the interval that holds as many of the task's scores whatever the
configuration: the smaller, the more the prediction says. ``next`` is the share of tasks on which
the interval of the configuration that is asked for next holds its score.

    python benchmarks/calibration.py --table pimp_adaboost oboe_a openml_svm_offgrid --out results
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import evidence
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo import MetaModel, MetaOptimizer
from metahpo.bench.engine import Engine
from metahpo.bench.histories import HistoryContest

Array = NDArray[np.float64]

COVERAGES = (0.8, 0.95)
CHOOSERS = ("asked", "random")


class Study(NamedTuple):
    """A task to tune, and by whom its trials are chosen."""

    contest: HistoryContest
    trials: str


def calibrate(study: Study, model: MetaModel, told: list[int]) -> list[dict[str, Any]]:
    """Tune a task, and hold predictions against what the table says: a line a look.

    Parameters
    ----------
    study : Study
    model : MetaModel
        Trained without the task.
    told : list of int
        Numbers of trials after which the rest is predicted, ascending.
    """
    contest = study.contest
    problem = contest.problem(seed=0, n_trials=None)
    optimizer = MetaOptimizer(model, problem.meta_features, **problem.options())
    configs = problem.configs()
    scores = contest.table.pool(contest.task_id)["score"].to_numpy(dtype=float)
    order = np.random.default_rng(0).permutation(len(configs)).tolist()
    keys = {key: row for row, key in enumerate(problem.space.codes(configs).row_keys)}
    tried: list[int] = []
    lines = []
    for number in told:
        while len(tried) < number:
            row = order[len(tried)]
            if study.trials == "asked":
                row = keys[problem.space.codes([optimizer.ask()]).row_keys[0]]
            optimizer.tell(configs[row], scores[row])
            tried.append(row)
        left = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), tried)
        rest = [configs[row] for row in left]
        asked = optimizer.ask()
        optimizer.forget(asked)
        following = left == keys[problem.space.codes([asked]).row_keys[0]]
        covered: dict[str, float] = {}
        for coverage in COVERAGES:
            predicted = optimizer.predict(rest, coverage)
            covered |= held(predicted, scores[left], coverage)
            covered[f"next in {coverage:.0%}"] = inside(predicted, scores[left])[following].mean()
        lines.append({"trials": study.trials, "told": number, **covered})
    return lines


def inside(predicted: pd.DataFrame, scores: Array) -> pd.Series[bool]:
    """Tell which scores lie in their intervals."""
    return predicted["low"].le(scores) & predicted["high"].ge(scores)


def held(predicted: pd.DataFrame, scores: Array, coverage: float) -> dict[str, float]:
    """Return the share of scores that their intervals hold, and the intervals' relative width."""
    low, high = np.quantile(scores, [(1 - coverage) / 2, (1 + coverage) / 2])
    width = (predicted["high"] - predicted["low"]).mean()
    return {
        f"in {coverage:.0%}": float(inside(predicted, scores).mean()),
        f"width {coverage:.0%}": float(width / (high - low)) if high > low else np.nan,
    }


def measure(given: argparse.Namespace, table: str) -> Iterator[dict[str, Any]]:
    """Yield a line for every number of trials, and way to choose them, on a table."""
    contests = evidence.held_out(given, table)
    model = MetaModel.fit(contests[0].problem(seed=0, n_trials=None).evaluations)
    studies = [Study(contest, trials) for trials in CHOOSERS for contest in contests]
    work = partial(calibrate, model=model, told=sorted(given.told))
    found = [line for _, lines in Engine(given.jobs).spread(work, studies) for line in lines]
    for (trials, told), tasks in pd.DataFrame(found).groupby(["trials", "told"]):
        line = {"table": table, "trials": trials, "told": told, "tasks": len(tasks)}
        for name in (f"{coverage:.0%}" for coverage in COVERAGES):
            line[f"in {name}"] = tasks[f"in {name}"].mean()
            line[f"± {name}"] = tasks[f"in {name}"].std()
            line[f"width {name}"] = tasks[f"width {name}"].mean()
            line[f"next in {name}"] = tasks[f"next in {name}"].mean()
        yield line


def main() -> None:
    """Measure, print and write."""
    parser = evidence.histories_command_line(__doc__ or "", n_tasks=20)
    parser.add_argument(
        "--told", nargs="+", type=int, default=[5, 10, 20], help="numbers of trials"
    )
    given = parser.parse_args()
    facts = evidence.begun(given)
    rows = evidence.watched(line for table in given.table for line in measure(given, table))
    evidence.publish("calibration", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
