"""Calibration: where scores truly lie in what is foretold of them, learned on tasks held out.

A study tries what promises most, so it hardly learns how bad the rest is: far more scores lie
below its predictions than these say. How many more, tasks held out show. Where a score lies in
its prediction is a normal deviate u, the probability of less brought to the normal scale. Its
quantiles are learned by linear quantile regression (Koenker and Bassett, "Regression quantiles",
1978) on how many trials there are and how much they promised, and predicted quantiles are taken
there (Kuleshov, Fenner and Ermon, "Accurate uncertainties for deep learning using calibrated
regression", 2018).

Notation
--------
======= ========== ===========================================================================
name    shape      meaning
======= ========== ===========================================================================
n                  trials of a study
promise            mean z of its trials, as the training tasks foretell it before any trial:
                   about 0 for trials drawn at random, about 1 for chosen ones
Q       (K, 4)     coefficients of asinh(u)'s quantile at each of K levels: of 1, promise, log n,
                   and the product of both
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
    from metahpo.surrogate.study import Prior

Array = NDArray[np.float64]

FARTHEST = 30.0
"""Deviate of a score beyond which they are told apart no more."""
LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
_LOOKS = (1, 2, 3, 5, 8, 12, 20)  # numbers of trials after which the rest is foretold
_ROWS_A_TRIAL = 10  # of a task that is played: from a few all good ones are soon taken
_SHOWN = 15  # scores that are held against it each time
_GLANCE = 8  # components of the belief that choose a trial


@dataclass(frozen=True, eq=False)
class Calibration:
    """Quantiles of where scores lie in what is foretold of them.

    Attributes
    ----------
    Q : ndarray, shape (K, 4)
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

    def deviates(self, levels: Sequence[float], n: int, promise: float) -> list[float]:
        """Return the deviates in the prediction below which such shares of the scores lie.

        Parameters
        ----------
        levels : sequence of float
            The shares, in (0, 1).
        n : int
            At least 1.
        promise : float
        """
        row = _inputs(min(n, self.most), float(np.clip(promise, *self.promise)))
        u = np.maximum.accumulate(np.clip(np.sinh(self.Q @ row), -FARTHEST, FARTHEST))
        at, known = ndtri(levels), ndtri(LEVELS)
        beyond = at - np.clip(at, known[0], known[-1])
        return [float(deviate) for deviate in np.interp(at, known, u) + beyond]


@dataclass(frozen=True)
class Shown:
    """Where scores of a task held out lay in what was foretold of them, at one look."""

    n: int
    promise: float
    u: Array


def learn_calibration(shown: Sequence[Shown]) -> Calibration | None:
    """Learn the quantiles; None where nothing was shown."""
    from sklearn.linear_model import QuantileRegressor

    if not shown:
        return None
    X = np.array([_inputs(look.n, look.promise) for look in shown for _ in look.u])
    v = np.arcsinh(np.concatenate([look.u for look in shown]))  # some lie very far out
    plain = {"alpha": 0.0, "fit_intercept": False, "solver": "highs-ipm"}
    fitted = [QuantileRegressor(quantile=level, **plain).fit(X, v) for level in LEVELS]
    promises = [look.promise for look in shown]
    return Calibration(
        Q=np.array([quantile.coef_ for quantile in fitted]),
        promise=(min(promises), max(promises)),
        most=max(look.n for look in shown),
    )


def rehearse(
    prior: Prior, phi: Floats, X: Array, y: Array, utility: Array, rng: np.random.Generator
) -> Iterator[Shown]:
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
    """
    most = min(_LOOKS[-1], len(y) // _ROWS_A_TRIAL)

    def look(tried: list[int]) -> Shown:
        rest = rng.permutation(np.setdiff1d(np.arange(len(y)), tried))[:_SHOWN]
        belief = prior.condition(phi[tried], X[tried], told(y[tried]))
        return Shown(len(tried), belief.promise, belief.deviates(phi[rest], X[rest], y[rest]))

    drawn = rng.permutation(len(y)).tolist()
    yield from (look(drawn[:n]) for n in _LOOKS if n <= most)
    tried = [int(utility.argmax())]
    while len(tried) <= most:
        if len(tried) in _LOOKS:
            yield look(tried)
        belief = prior.condition(phi[tried], X[tried], told(y[tried]))
        gain = belief.glance(phi, X, of=_GLANCE).expected_improvement()
        gain[tried] = -np.inf
        tried.append(int(gain.argmax()))


def _inputs(n: int, promise: float) -> Array:
    log_n = math.log(n)
    return np.array([1.0, promise, log_n, promise * log_n])
