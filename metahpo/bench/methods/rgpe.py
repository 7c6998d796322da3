"""RGPE: a ranking-weighted ensemble of the earlier tasks' Gaussian processes and the study's own.

A compact version for the ring. It departs from the paper in that each earlier task is represented
by at most 64 of its trials, drawn at random, and that until the third trial, when rankings begin
to say something, all earlier tasks count equally.

Notation
--------
======= ================ ====================================================================
name    shape            meaning
======= ================ ====================================================================
S, n    scalars          earlier tasks; trials so far
m       scalar           configurations among which the next is chosen
mean    (S + 1, m)       each process's prediction, in its own standardised scores; last the
                         study's own
sd      (S + 1, m)       its standard deviation
draws   (S + 1, B, n)    what each process says of the trials' scores, B draws
w       (S + 1,)         weights of the ensemble
======= ================ ====================================================================

References
----------
Feurer, Letham, Hutter and Bakshy, "Practical transfer learning for Bayesian optimization", 2018
(arXiv:1802.02219).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from metahpo.bench.methods.earlier import earlier_tasks, inputs, keys
from metahpo.bench.problem import Problem
from metahpo.metadataset import MetaDataset
from metahpo.space import Config

Array = NDArray[np.float64]

_TRIALS = 64  # of an earlier task
_DRAWS = 128  # of the ranking losses, B
_FEW = 3  # trials before which the earlier tasks count equally
_SOBOL, _LOCAL, _INCUMBENTS, _STEP = 500, 300, 5, 0.1


class RGPE:
    """The ensemble at work on one problem.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        self._space, self._sign = problem.space, 1.0 if problem.direction == "maximize" else -1.0
        self._rng = np.random.default_rng(problem.seed)
        self._earlier = _processes(problem.evaluations)
        self._pool = None if problem.candidates is None else problem.configs()
        self._trials: list[Config] = []
        self._scores: list[float] = []

    def ask(self) -> Config:
        """Return the configuration of the largest expected improvement."""
        if not self._trials and self._pool is None:
            return self._space.default
        configs = self._pool or self._drawn()
        X = inputs(self._space, configs)
        tried = set(keys(inputs(self._space, self._trials)))
        free = np.array([key not in tried for key in keys(X)])
        gain = self._improvement(X)
        return configs[int(np.where(free, gain, -np.inf).argmax())]

    def tell(self, config: Config, score: float) -> None:
        """Remember the trial; a failed one counts as the worst so far."""
        self._trials.append(config)
        self._scores.append(self._sign * score)

    def _drawn(self) -> list[Config]:
        drawn = self._space.sample(_SOBOL, seed=int(self._rng.integers(2**31)))
        ranked = np.argsort(-np.nan_to_num(self._scores, nan=-np.inf), kind="stable")
        best = self._space.encode([self._trials[i] for i in ranked[:_INCUMBENTS]])
        near = best[self._rng.integers(len(best), size=_LOCAL)]
        steps = _STEP * self._rng.standard_normal(near.shape)
        return [*drawn, *self._space.decode(np.clip(near + steps, 0, 1))]

    def _improvement(self, X: Array) -> Array:
        y = np.array(self._scores)
        known = y[~np.isnan(y)]
        if len(known) < _FEW or np.ptp(known) == 0:
            rank = [process.predict(X).argsort().argsort() for process in self._earlier]
            mean_rank: Array = np.mean(rank, axis=0)
            return mean_rank
        y = np.where(np.isnan(y), known.min(), y)
        Z = inputs(self._space, self._trials)
        own = _process(Z, y)
        w = self._weights(own, Z, y)
        used = np.flatnonzero(w)
        processes = [*self._earlier, own]
        mean, sd = zip(*(processes[i].predict(X, return_std=True) for i in used), strict=True)
        centre = w[used] @ np.stack(mean)
        width = np.sqrt(w[used] ** 2 @ np.stack(sd) ** 2) + 1e-9
        best = (w[used] @ np.stack([processes[i].predict(Z) for i in used])).max()
        u = (centre - best) / width
        gain: Array = width * (u * norm.cdf(u) + norm.pdf(u))
        return gain

    def _weights(self, own: Any, Z: Array, y: Array) -> Array:
        """Return how often each process ranks the trials best, the diluting ones left out."""
        seed = int(self._rng.integers(2**31))
        draws = [p.sample_y(Z, _DRAWS, random_state=seed).T for p in self._earlier]
        mean, sd = _left_out(own, Z, y)
        draws.append(mean + sd * self._rng.standard_normal((_DRAWS, len(y))))
        losses = np.stack([_misranked(draw, y) for draw in draws])  # (S + 1, B)
        # a process that is worse than most draws of the study's own only dilutes (section 4.3)
        limit = np.quantile(losses[-1], 0.95)
        losses[:-1][np.median(losses[:-1], axis=1) > limit] = np.inf
        best = losses == losses.min(0)
        weights: Array = (best / best.sum(0)).mean(1)
        return weights


def _misranked(draws: Array, y: Array) -> Array:
    """Count the pairs of trials that each draw (B, n) orders otherwise than their scores."""
    wrong = (draws[:, :, None] < draws[:, None, :]) ^ (y[:, None] < y[None, :])
    count: Array = wrong.sum((1, 2)).astype(float)
    return count


def _left_out(process: Any, Z: Array, y: Array) -> tuple[Array, Array]:
    """Predict each trial from the others, in closed form (Rasmussen & Williams, eq. 5.12)."""
    standard = (y - y.mean()) / (y.std() or 1.0)
    inverse = np.linalg.inv(process.kernel_(Z) + 1e-8 * np.eye(len(Z)))
    variance = 1 / np.diag(inverse)
    return standard - inverse @ standard * variance, np.sqrt(np.maximum(variance, 1e-10))


def _process(X: Array, y: Array) -> Any:
    """Fit a Gaussian process to standardised scores; its predictions are standardised, too."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    width = math.sqrt(X.shape[1])
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(
        0.3 * width, (0.05 * width, 5.0 * width), nu=2.5
    ) + WhiteKernel(0.05, (1e-4, 1.0))
    process = GaussianProcessRegressor(kernel, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound was met
        return process.fit(X, (y - y.mean()) / (y.std() or 1.0))


@lru_cache(maxsize=4)
def _processes(evaluations: MetaDataset) -> Sequence[Any]:
    """Fit every earlier task's process, once for all units that see the same tasks."""
    rng = np.random.default_rng(0)
    processes = []
    for task in earlier_tasks(evaluations):
        rows = rng.permutation(len(task.y))[:_TRIALS]
        processes.append(_process(task.X[rows], task.y[rows]))
    return processes
