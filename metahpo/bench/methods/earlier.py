"""Peers that look at earlier tasks directly: greedy portfolio, nearest tasks.

They see what the meta-model was trained on, and nothing of the model. Where the tasks share their
configurations a score is looked up; where each has its own, a random forest a task predicts it.

References
----------
Feurer et al., "Initializing Bayesian hyperparameter optimization via meta-learning", AAAI 2015
(nearest). Feurer et al., "Auto-Sklearn 2.0", JMLR 2022, section 3 (portfolio).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from metahpo.bench.methods.studies import StudyTuner
from metahpo.bench.problem import Problem
from metahpo.metadataset import MetaDataset
from metahpo.portfolio import greedy_portfolio
from metahpo.space import Config, Space
from metahpo.surrogate.scores import junk_floor

Array = NDArray[np.float64]

_FIRST = 8  # configurations of a portfolio that a GP goes on from
_NEIGHBOURS = 10  # tasks whose best is tried first


def portfolio(problem: Problem) -> StudyTuner:
    """Return the greedy portfolio over earlier tasks, in its order, whatever the trials say.

    Random search goes on where a space has fewer known configurations than there are trials.
    """
    first = greedy_picks(problem, problem.n_trials)
    return StudyTuner(problem, optuna.samplers.RandomSampler(seed=problem.seed), first)


def portfolio_gp(problem: Problem, *, first: int = _FIRST) -> StudyTuner:
    """Return the head of the greedy portfolio, then Optuna's GP."""
    picks = greedy_picks(problem, first)
    return StudyTuner(problem, optuna.samplers.GPSampler(seed=problem.seed), picks)


def nearest(problem: Problem, *, first: int = _NEIGHBOURS) -> StudyTuner:
    """Return the best configurations of the tasks nearest by meta-features, then Optuna's GP.

    Raises
    ------
    ValueError
        If the earlier tasks have no meta-features.
    """
    picks = nearest_picks(problem, first)
    return StudyTuner(problem, optuna.samplers.GPSampler(seed=problem.seed), picks)


def greedy_picks(problem: Problem, n: int | None) -> list[Config]:
    """Pick configurations greedily by the mean over earlier tasks of the best pick so far."""
    configs = known_configs(problem)
    scores = standings(configs, problem.evaluations)  # (S, m)
    n = len(configs) if n is None else min(n, len(configs))
    equal = np.full(len(scores), 1 / len(scores))
    return [configs[i] for i in greedy_portfolio(scores.T, equal, n)]


def nearest_picks(problem: Problem, n: int) -> list[Config]:
    """Return the best configuration of each earlier task, from the nearest one outwards."""
    tasks = problem.evaluations.tasks
    if tasks is None:
        raise ValueError("nearest needs meta-features, and the evaluations have none")
    configs = known_configs(problem)
    scores = standings(configs, problem.evaluations)  # (S, m)
    order = np.argsort(_distances(tasks, problem.meta_features), kind="stable")
    distinct = dict.fromkeys(int(scores[task].argmax()) for task in order)
    return [configs[i] for i in list(distinct)[:n]]


def _distances(tasks: pd.DataFrame, new: Mapping[str, float]) -> Array:
    """Return the mean difference in rank of the meta-features to each task: shape (S,)."""
    row = pd.DataFrame([new]).reindex(columns=tasks.columns)
    both = pd.concat([tasks, row], ignore_index=True).astype(float)
    known = both.rank(pct=True)
    ranks = known.fillna(known.median()).fillna(0.5).to_numpy()
    distances: Array = np.abs(ranks[:-1] - ranks[-1]).mean(1)
    return distances


# ---------------------------------------------------------------------- earlier scores


def known_configs(problem: Problem) -> list[Config]:
    """Return the candidates; without any, every configuration that earlier tasks have tried."""
    if problem.candidates is not None:
        return problem.configs()
    past = _past(problem.evaluations)
    return problem.space.nearest(past.space.to_frame(past.configs))


def standings(configs: Sequence[Config], evaluations: MetaDataset) -> Array:
    """Return where configurations stand on earlier tasks: 0 a task's worst score, 1 its best.

    The worst is without junk (:func:`~metahpo.surrogate.scores.junk_floor`), as what the
    meta-model learns of a task is: one diverged score would put all others next to 1.

    Returns
    -------
    ndarray of float, shape (tasks, configs)
    """
    past = _past(evaluations)
    X = inputs(past.space, configs)
    return np.stack([task.at(X, keys(X)) for task in past.tasks])


@dataclass(frozen=True, eq=False)
class EarlierTask:
    """One task's trials.

    Attributes
    ----------
    X : ndarray, shape (n, d)
        Its configurations, see :func:`inputs`.
    y : ndarray, shape (n,)
        Its scores from 0 (worst, or junk) to 1 (best); failures are 0.
    """

    X: Array
    y: Array

    def at(self, X: Array, names: Sequence[bytes]) -> Array:
        """Return the scores at configurations: known ones, else what a forest predicts."""
        found = np.array([self._known.get(name, np.nan) for name in names])
        missing = np.isnan(found)
        if missing.any():
            found[missing] = self._forest.predict(X[missing])
        return found

    @cached_property
    def _known(self) -> dict[bytes, float]:
        return dict(zip(keys(self.X), self.y.tolist(), strict=True))

    @cached_property
    def _forest(self) -> Any:
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(50, random_state=0).fit(self.X, self.y)


@dataclass(frozen=True, eq=False)
class _Past:
    space: Space
    configs: list[Config]
    tasks: list[EarlierTask]


@lru_cache(maxsize=8)
def _past(evaluations: MetaDataset) -> _Past:
    space, trials = evaluations.space, evaluations.trials
    X = inputs(space, trials)
    first = dict(zip(keys(X)[::-1], range(len(X) - 1, -1, -1), strict=True))
    configs = space.from_frame(trials.iloc[sorted(first.values())])
    sign = 1.0 if evaluations.direction == "maximize" else -1.0
    scores = sign * trials["score"].to_numpy(dtype=float)
    owner = trials["task_id"].to_numpy()
    tasks = [EarlierTask(X[owner == t], _unit(scores[owner == t])) for t in evaluations.task_ids]
    return _Past(space, configs, tasks)


def _unit(scores: Array) -> Array:
    low, high = junk_floor(scores), np.nanmax(scores)
    width = high - low if high > low else 1.0
    scaled: Array = np.nan_to_num((scores - low) / width, nan=0.0)
    return np.maximum(scaled, 0.0)


def earlier_tasks(evaluations: MetaDataset) -> list[EarlierTask]:
    """Return every earlier task's trials, encoded."""
    return _past(evaluations).tasks


def inputs(space: Space, configs: Sequence[Config] | pd.DataFrame) -> Array:
    """Encode configurations, and append which parameters are active: shape (n, d)."""
    frame = space.to_frame(configs)
    return np.concatenate([space.encode(frame), space.mask(frame)], axis=1)


def keys(X: Array) -> list[bytes]:
    """Name encoded configurations by their content, up to rounding."""
    return [row.tobytes() for row in np.round(X, 6) + 0.0]
