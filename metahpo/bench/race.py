"""A race: every method on every contest with every seed, scored by the same cross-validation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from metahpo.bench.methods import methods, new_study, suggest
from metahpo.catalogue import learners
from metahpo.evaluation import Fold, evaluate, preprocessed_folds
from metahpo.metafeatures import MetaFeatures, describe


@dataclass(frozen=True)
class Contest:
    """A dataset on which a learner is to be tuned.

    Attributes
    ----------
    name : str
    learner : str
        In the catalogue.
    load : callable
        Returns the table and the target; a module-level function, so that processes can share it.
    metric : str
        Name of a scikit-learn scorer.
    n_folds : int
    """

    name: str
    learner: str
    load: Callable[[], tuple[Any, Any]]
    metric: str
    n_folds: int = 5


@dataclass(frozen=True)
class Entry:
    """One run: a method on a contest with a seed."""

    contest: Contest
    method: str
    seed: int


def race(
    contests: Sequence[Contest],
    method_names: Sequence[str],
    *,
    seeds: int,
    n_trials: int,
    n_jobs: int = 1,
    finished: Callable[[Entry], None] = lambda entry: None,
) -> pd.DataFrame:
    """Run every method on every contest.

    Parameters
    ----------
    contests : sequence of Contest
    method_names : sequence of str
        Keys of :data:`metahpo.bench.methods.methods`.
    seeds : int
        How many.
    n_trials : int
        Trials a run.
    n_jobs : int, default=1
        Processes; each fits with one thread.
    finished : callable, optional
        Called with every entry that is through.

    Returns
    -------
    DataFrame
        One row a trial: ``contest``, ``learner``, ``metric``, ``method``, ``seed``, ``trial``
        (from 1), ``score`` (NaN for a failure), ``best`` so far, ``suggest_seconds``,
        ``evaluate_seconds`` and ``config`` as JSON.
    """
    from joblib import Parallel, delayed

    entries = [
        Entry(contest, method, seed)
        for contest, seed, method in product(contests, range(seeds), method_names)
    ]
    parallel = Parallel(n_jobs=n_jobs, return_as="generator", inner_max_num_threads=1)
    if n_jobs == 1:
        parallel = Parallel(n_jobs=1, return_as="generator")
    runs = []
    for entry, run in zip(
        entries, parallel(delayed(_run)(entry, n_trials) for entry in entries), strict=True
    ):
        runs.append(run)
        finished(entry)
    table: pd.DataFrame = pd.concat(runs, ignore_index=True)
    return table


def _run(entry: Entry, n_trials: int) -> pd.DataFrame:
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    contest, learner = entry.contest, learners[entry.contest.learner]
    study = new_study(methods[entry.method], learner, _described(contest), entry.seed)
    rows = []
    for _ in range(n_trials):
        asked = time.perf_counter()
        trial = study.ask()
        config = suggest(trial, learner.space)
        begun = time.perf_counter()
        score = _score(contest, json.dumps(config))
        rows.append((score, begun - asked, time.perf_counter() - begun, json.dumps(config)))
        failed = np.isnan(score)
        study.tell(
            trial,
            None if failed else score,
            state=optuna.trial.TrialState.FAIL if failed else None,
        )
    run = pd.DataFrame(rows, columns=["score", "suggest_seconds", "evaluate_seconds", "config"])
    run.insert(0, "trial", np.arange(1, n_trials + 1))
    run.insert(2, "best", run["score"].cummax().ffill())
    facts = {
        "contest": contest.name,
        "learner": learner.name,
        "metric": contest.metric,
        "method": entry.method,
        "seed": entry.seed,
    }
    return pd.concat([pd.DataFrame([facts] * n_trials), run], axis=1)


@lru_cache(maxsize=8)
def _described(contest: Contest) -> MetaFeatures:
    X, y = contest.load()
    return describe(X, y, task=learners[contest.learner].task)


@lru_cache(maxsize=8)
def _folds(contest: Contest) -> list[Fold]:
    """Preprocess the contest's folds once: no learner searches its preprocessing."""
    learner = learners[contest.learner]
    X, y = contest.load()
    preprocess = learner.make()[:-1]
    return preprocessed_folds(X, y, learner.task, preprocess, contest.n_folds, seed=0)


@cache
def _score(contest: Contest, config: str) -> float:
    """Cross-validate a configuration; the same one is not fitted twice."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import get_scorer

    estimator = learners[contest.learner].make(json.loads(config))[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a poor trial, and scored as one
        return evaluate(estimator, _folds(contest), get_scorer(contest.metric)).score
