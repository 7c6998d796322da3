"""ScalePrior: what a training task says about the unit of a new one's scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from metahpo.surrogate.scores import rounding

Array = NDArray[np.float64]

_DEVIATIONS = np.linspace(-2.5, 2.5, 11)  # of log b from its centre, in units of its scale
_FREEDOM = 3.0  # degrees of freedom of the prior of log b
_VAGUE_SCALE = (float(np.log(0.05)), 2.0)  # of log b where no task has shown its spread
_LEAST_SPREAD = 1e-6  # a score's smallest unit that is taken seriously
_LEAST_SD = 0.5  # of log b: however alike the training tasks are, a new one may differ


@dataclass(frozen=True)
class ScalePrior:
    """Prior of b, the raw score per unit of z: log b is Student-t with few degrees of freedom.

    The tails are heavy so that scores in another unit than the training tasks' (a loss in
    thousands, an error in parts of a million) are surprising once, not forever.
    """

    mean: float
    """Centre of log b."""
    sd: float
    """Its scale."""

    @classmethod
    def from_spreads(cls, spreads: Array) -> ScalePrior:
        """Learn from how far the training tasks' scores spread, each per unit of z.

        Parameters
        ----------
        spreads : ndarray, shape (T,)
        """
        if not len(spreads):
            return cls(*_VAGUE_SCALE)
        logs = np.log(np.maximum(spreads, _LEAST_SPREAD))
        return cls(float(np.median(logs)), float(max(logs.std(), _LEAST_SD)))

    def grid(self, y: Array) -> tuple[Array, Array]:
        """Return the values of b that are summed over, and their log prior probabilities.

        Parameters
        ----------
        y : ndarray, shape (n,)
            The study's scores: their spread is where b may lie too.

        Returns
        -------
        b, log_weights : ndarray, shape (B,)
        """
        prior = self.mean + self.sd * _DEVIATIONS
        spread = float(np.std(y))
        own = np.log(spread) + _DEVIATIONS if spread > rounding(y) else prior
        log = np.sort(np.concatenate([prior, own]))
        density = -0.5 * (_FREEDOM + 1) * np.log1p(((log - self.mean) / self.sd) ** 2 / _FREEDOM)
        with np.errstate(divide="ignore"):  # a value that is there twice is counted once
            weights: Array = density + np.log(np.gradient(log))
        return np.exp(log), weights - logsumexp(weights)
