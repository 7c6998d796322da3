"""How well the seconds that evaluations take are foretold on a new task.

The cost head is trained without the tasks that are held out, and foretells log seconds of all
their configurations: before any trial, and from the seconds of some trials drawn at random, which
then do not count. R² is the share of their variation within a task that is foretold, means over
tasks with their standard deviation, and the median; "up to level" lets be how fast the machine
is, which changes nothing about what is tried first. Beside it stand each task's own mean, which
nobody knows beforehand, and scikit-learn's gradient boosting on configurations and meta-features,
moved to the mean of the trials.

    python benchmarks/cost.py --table oboe_a rbv2_xgboost_clean --out results
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import evidence
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from metahpo import MetaDataset
from metahpo.bench.histories import HistoryContest
from metahpo.surrogate.cost import fit_cost
from metahpo.training import network_inputs, seconds_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A task held out: what its configurations took, and which of them are told."""

    X: Array
    """(n, d): as the network reads them."""
    c: Array
    """(n,): log seconds."""
    meta_features: Mapping[str, float]
    told: NDArray[np.int64]


Foretell = Callable[[Task], Array]


def task_mean(task: Task) -> Array:
    """Return what nobody knows beforehand: the task's mean."""
    return np.full(len(task.c), task.c.mean())


def cost_head(md: MetaDataset, X: Array, owner: NDArray[np.int64], device: str) -> Foretell:
    """Train the head that models have."""
    head = fit_cost(X, owner, seconds_of(md), device=device)
    assert head is not None
    assert md.tasks is not None
    prior = head.prior(md.tasks.to_numpy(dtype=float), tuple(map(str, md.tasks)))

    def foretell(task: Task) -> Array:
        phi = head.features(task.X)
        belief = prior.belief(task.meta_features)
        belief = belief.given(phi[task.told], np.exp(task.c[task.told]))
        return belief.log_seconds(phi)[0]

    return foretell


def boosting(md: MetaDataset, X: Array, owner: NDArray[np.int64]) -> Foretell:
    """Fit gradient boosting on configurations and meta-features."""
    assert md.tasks is not None
    names = list(map(str, md.tasks))
    both = np.concatenate([X, md.tasks.to_numpy(dtype=float)[owner]], axis=1)
    fitted = HistGradientBoostingRegressor(random_state=0).fit(both, np.log(seconds_of(md)))

    def foretell(task: Task) -> Array:
        row = [float(task.meta_features.get(name, np.nan)) for name in names]
        c: Array = fitted.predict(np.concatenate([task.X, np.tile(row, (len(task.X), 1))], 1))
        return c + (task.c - c)[task.told].mean() if len(task.told) else c

    return foretell


def tasks_of(contests: list[HistoryContest], told: int) -> Iterator[Task]:
    """Yield the tasks held out, of which some configurations are told."""
    for contest in contests:
        rows = contest.table.pool(contest.task_id)
        space = contest.table.space
        X = network_inputs(space, space.codes(rows[list(space.names)]))
        c = np.log(rows["fit_seconds"].to_numpy(dtype=float))
        drawn = np.random.default_rng(0).permutation(len(c))[:told]
        meta_features = contest.problem(seed=0, n_trials=None).meta_features
        yield Task(X, c, meta_features, drawn)


def share(task: Task, foretold: Array) -> dict[str, float]:
    """Return R² of what was not told, and R² if the level were known."""
    rest = np.setdiff1d(np.arange(len(task.c)), task.told)
    missed, total = (task.c - foretold)[rest], task.c[rest].var()
    return {
        "R²": round(float(1 - (missed**2).mean() / total), 6),
        "up to level": round(float(1 - missed.var() / total), 6),
    }


def measure(given: argparse.Namespace, table: str) -> Iterator[dict[str, Any]]:
    """Yield a line for every way to foretell and every number of trials told, on a table."""
    contests = evidence.held_out(given, table)
    md = contests[0].problem(seed=0, n_trials=None).evaluations
    X = network_inputs(md.space, md.space.codes(md.trials))
    owner = pd.factorize(md.trials["task_id"])[0].astype(np.int64)
    ways: dict[str, Foretell] = {
        "task's mean": task_mean,
        "boosting": boosting(md, X, owner),
        "cost head": cost_head(md, X, owner, given.device),
    }
    for told in given.told:
        tasks = list(tasks_of(contests, told))
        for name, foretell in ways.items():
            found = pd.DataFrame([share(task, foretell(task)) for task in tasks])
            line = {"table": table, "told": told, "by": name, "tasks": len(found)}
            for what in found:
                line[str(what)] = float(found[what].mean())
                line[f"± {what}"] = float(found[what].std())
                line[f"median {what}"] = float(found[what].median())
            yield line


def main() -> None:
    """Measure, print and write."""
    parser = evidence.histories_command_line(__doc__ or "", n_tasks=evidence.ALL)
    parser.set_defaults(table=["oboe_a", "rbv2_xgboost_clean"])
    parser.add_argument("--told", nargs="+", type=int, default=[0, 5], help="numbers of trials")
    parser.add_argument("--device", default="cpu", help="where the network is trained")
    given = parser.parse_args()
    facts = evidence.begun(given)
    rows = evidence.watched(line for table in given.table for line in measure(given, table))
    evidence.publish("cost", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
