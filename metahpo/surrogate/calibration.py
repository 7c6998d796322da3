"""Calibration: where scores truly lie in what is foretold of them, learned on tasks held out.

A study tries what promises most, so it hardly learns how bad the rest is: far more scores lie
below their predictions than these say. How many more, tasks held out show. Where a score lies in
its prediction is a normal deviate u, the probability of less brought to the normal scale. Its
quantiles are learned by linear quantile regression (Koenker and Bassett, "Regression quantiles",
1978) on how many trials there are, how much they promised, and how much the configuration does;
predicted quantiles are taken there (after Kuleshov, Fenner and Ermon, "Accurate uncertainties for
deep learning using calibrated regression", 2018, who correct all alike).

No network has seen the tasks held out; a part of them has told for how many steps to train, and
taught the adaptation, a dozen numbers.

Notation
--------
======= ========== ===========================================================================
name    shape      meaning
======= ========== ===========================================================================
n                  trials of a study
promise (m,)       z of configurations as the training tasks foretell it before any trial; of the
                   trials their mean: about 0 for such as are drawn at random, about 1 for chosen
Q       (K, 6)     coefficients of asinh(u)'s quantile at each of K levels: of 1, the trials'
                   promise, the configuration's, and all three times log n
======= ========== ===========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from metahpo.surrogate.features import Floats
from metahpo.surrogate.scores import told

if TYPE_CHECKING:
    from metahpo.surrogate.study import Prior, StudyBelief

Array = NDArray[np.float64]

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
"""The levels at which quantiles are learned; between them they are interpolated."""

_FARTHEST = 20.0  # deviate that is corrected to at most
_LOOKS = (1, 2, 3, 5, 8, 12, 20)  # numbers of trials after which other scores are foretold
_ROWS_A_TRIAL = 10  # of a task that is played: from a few all good ones are soon taken
_FORETOLD = 10  # scores that are held against what is foretold, a look
_GLANCE = 8  # components of the belief that choose a trial
_LEAST_TASKS = 4  # to learn from
_LEAST_TRIALS = 5  # of the longest study among them
_IDEAL = 3.0  # tasks' worth of belief that scores lie where they should: few teach little


@dataclass(frozen=True, eq=False)
class Calibration:
    """Quantiles of where scores lie in what is foretold of them.

    Attributes
    ----------
    Q : ndarray, shape (K, 6)
        At ``LEVELS``.
    promise : (float, float)
        Between which values it was learned; beyond, the nearest counts.
    most : int
        The most trials that it was learned from; after more, as after so many.
    """

    Q: Array
    promise: tuple[float, float]
    most: int

    def tensors(self) -> dict[str, Array]:
        """Return all of it as arrays, by name."""
        return {
            "calibration.Q": self.Q,
            "calibration.promise": np.array(self.promise),
            "calibration.most": np.array(self.most),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Calibration | None:
        """Read what :meth:`tensors` returned; None where nothing was learned."""
        if "calibration.Q" not in tensors:
            return None
        low, high = tensors["calibration.promise"].tolist()
        return cls(tensors["calibration.Q"], (low, high), int(tensors["calibration.most"]))

    def deviates(self, levels: Sequence[float], n: int, trials: float, own: Array) -> Array:
        """Return the deviates below which such shares of the scores lie.

        Parameters
        ----------
        levels : sequence of float
            The shares, in (0, 1).
        n : int
            Number of trials, at least 1.
        trials : float
            Their promise.
        own : ndarray, shape (m,)
            Each configuration's.

        Returns
        -------
        ndarray, shape (m, levels)
        """
        trials, own = np.clip(trials, *self.promise), np.clip(own, *self.promise)
        # quantiles that were learned one by one may cross; in order they are never worse
        # (Chernozhukov, Fernández-Val and Galichon, "Quantile curves without crossing", 2010)
        v = np.sort(_inputs(min(n, self.most), float(trials), own) @ self.Q.T, axis=1)
        u = np.clip(np.sinh(v), -_FARTHEST, _FARTHEST)
        at, known = ndtri(levels), ndtri(LEVELS)
        within = np.clip(at, known[0], known[-1])
        return np.array([np.interp(within, known, row) for row in u]) + (at - within)


@dataclass(frozen=True, eq=False)
class Look:
    """Where scores of a task held out lay in what was foretold of them, after some trials.

    Attributes
    ----------
    n : int
    trials : float
        Their promise.
    own : ndarray, shape (m,)
        That of the configurations that had the scores.
    u : ndarray, shape (m,)
        Where these lay.
    """

    n: int
    trials: float
    own: Array
    u: Array


def is_learnable(n_evaluations: Sequence[int]) -> bool:
    """Tell whether tasks of so many evaluations can teach the quantiles."""
    known = [n for n in n_evaluations if n >= _ROWS_A_TRIAL]
    long_enough = max(known, default=0) >= _ROWS_A_TRIAL * _LEAST_TRIALS
    return len(known) >= _LEAST_TASKS and long_enough


def learn_calibration(tasks: Sequence[Sequence[Look]]) -> Calibration | None:
    """Learn the quantiles.

    Parameters
    ----------
    tasks : sequence of sequence of Look
        What was seen on each task.

    Returns
    -------
    Calibration or None
        None from few tasks, or where no study was long enough to tell.
    """
    from sklearn.linear_model import QuantileRegressor

    looks = [look for task in tasks for look in task]
    n_tasks = sum(len(task) > 0 for task in tasks)
    most = max((look.n for look in looks), default=0)
    if n_tasks < _LEAST_TASKS or most < _LEAST_TRIALS:
        return None
    X = np.concatenate([_inputs(look.n, look.trials, look.own) for look in looks])
    u = np.concatenate([look.u for look in looks])
    ideal = np.concatenate([ndtri((np.arange(len(k.u)) + 0.5) / len(k.u)) for k in looks])
    v = np.arcsinh(np.concatenate([u, ideal]))  # some lie very far out
    weight = np.repeat([1.0, _IDEAL / n_tasks], len(u))
    plain = {"alpha": 0.0, "fit_intercept": False, "solver": "highs-ipm"}
    fitted = [
        QuantileRegressor(quantile=level, **plain).fit(np.tile(X, (2, 1)), v, weight)
        for level in LEVELS
    ]
    promises = np.concatenate([[look.trials, *look.own] for look in looks])
    return Calibration(
        Q=np.array([quantile.coef_ for quantile in fitted]),
        promise=(float(promises.min()), float(promises.max())),
        most=most,
    )


def rehearse(
    prior: Prior, phi: Floats, X: Array, y: Array, utility: Array, rng: np.random.Generator
) -> Iterator[Look]:
    """Play a task held out, its trials drawn at random and then chosen, and foretell the rest.

    Parameters
    ----------
    prior : Prior
    phi, X : ndarray
        Its configurations, see :meth:`Prior.view`.
    y : ndarray, shape (N,)
        Their scores, higher is better, none missing.
    utility : ndarray, shape (N,)
        How promising each looks before any trial.
    rng : numpy.random.Generator

    Yields
    ------
    Look
        Not one where all scores are the same, or there are hardly any.
    """
    looks = [n for n in _LOOKS if n <= len(y) // _ROWS_A_TRIAL]
    if not looks or np.ptp(y) == 0:
        return

    def belief(tried: list[int]) -> StudyBelief:
        return prior.condition(phi[tried], X[tried], told(y[tried]))

    def look(known: StudyBelief, tried: list[int], following: int) -> Look:
        others = np.setdiff1d(np.arange(len(y)), [*tried, following])
        rows = np.append(rng.permutation(others)[: _FORETOLD - 1], following)
        u = known.deviates(phi[rows], X[rows], y[rows])
        return Look(len(tried), known.promise, prior.promise(phi[rows]), u)

    drawn = rng.permutation(len(y)).tolist()
    for n in looks:
        yield look(belief(drawn[:n]), drawn[:n], drawn[n])
    tried = [int(utility.argmax())]
    while len(tried) <= looks[-1]:
        known = belief(tried)
        gain = known.glance(phi, X, of=_GLANCE)
        gain[tried] = -np.inf
        following = int(gain.argmax())
        if len(tried) in looks:
            yield look(known, tried, following)
        tried.append(following)


def _inputs(n: int, trials: float, own: Array) -> Array:
    plain = np.column_stack([np.ones_like(own), np.full_like(own, trials), own])
    return np.concatenate([plain, math.log(n) * plain], axis=1)
