"""TaskPrior: every training task as a weight vector on the features, and what they share.

A hierarchical linear model, z_i = phi w_i + noise with w_i ~ N(w, C), fitted by expectation
maximisation (Gelman et al., Bayesian Data Analysis, ch. 15). Only each task's Gram matrix and
moment are kept, so its number of trials does not matter once they are read.

Notation
--------
====== =========== ==========================================================================
name   shape       meaning
====== =========== ==========================================================================
T, F               training tasks, features
gram   (T, F, F)   phi' phi of each task
moment (T, F)      phi' z
W      (T, F)      posterior mean of the tasks' weights
C      (F, F)      covariance of the weights over tasks
====== =========== ==========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from metahpo.surrogate.features import Floats

Array = NDArray[np.float64]

_JITTER = 1e-6
_PART = 256  # tasks whose posterior covariances are in memory at a time


@dataclass(frozen=True, eq=False)
class TaskPrior:
    """What the training tasks say about the weights of a new one."""

    weights: Array
    """(T, F): each training task's weights."""
    covariance: Array
    """(F, F): how a new task's weights vary around those of a task like it."""
    noise: float
    """Variance of z that the features do not explain."""

    remembers: bool = False
    """Whether `phi` carries, behind the features, one column of memory a task: by how much each
    differed, at a configuration it has tried, from what its features say; zero elsewhere."""

    def particles(self, phi: Floats) -> Floats:
        """Predict z at features `phi` for every training task, as precisely: (n, F) to (n, T).

        A task remembers exactly: its own column of memory is added.
        """
        weights = self.weights.T.astype(phi.dtype)
        if not self.remembers:
            return phi @ weights
        n_features = len(weights)
        mean: Floats = phi[:, :n_features] @ weights + phi[:, n_features:]
        return mean

    def root(self, phi: Floats) -> Floats:
        """Return R such that R R' is the covariance of a new task's z at features `phi`.

        On the columns of memory a new task varies as the residuals of the training tasks do on
        average, which adds their empirical covariance.
        """
        n_features, factor = self.weights.shape[1], self._factor.astype(phi.dtype)
        if not self.remembers:
            return phi @ factor
        root = np.empty_like(phi)
        np.matmul(phi[:, :n_features], factor, out=root[:, :n_features])
        root[:, n_features:] = phi[:, n_features:]
        root[:, n_features:] *= 1 / math.sqrt(max(len(self.weights), 1))
        return root

    def weights_given(self, phi: Floats, z: Array, start: Array) -> Array:
        """Return a task's expected weights, (F,), that are around `start` before its trials.

        Parameters
        ----------
        phi : ndarray, shape (n, F)
            Features of the trials, without columns of memory.
        z : ndarray, shape (n,)
        start : ndarray, shape (F,)
        """
        C = self.covariance
        gain = np.linalg.solve(phi @ C @ phi.T + self.noise * np.eye(len(z)), z - phi @ start)
        weights: Array = start + C @ phi.T @ gain
        return weights

    @cached_property
    def _factor(self) -> Array:
        values, vectors = np.linalg.eigh(self.covariance)
        factor: Array = vectors * np.sqrt(np.maximum(values, 0.0))
        return factor


def memory(
    remembered: Sequence[bytes],
    tried: Sequence[bytes],
    tasks: NDArray[np.intp],
    residual: Array,
    n_tasks: int,
) -> Array:
    """Return what tasks remember: how much they differ where they tried it, on average.

    Parameters
    ----------
    remembered, tried : sequence of bytes
        The names of the m configurations that are remembered, and of those of the n trials.
    tasks : ndarray of int, shape (n,)
        Which task each trial was of.
    residual : ndarray, shape (n,)
        By how much its z differed from what the features say.
    n_tasks : int

    Returns
    -------
    ndarray, shape (m, n_tasks)
        Zero where a task has tried nothing.
    """
    rows = {key: row for row, key in enumerate(remembered)}
    places = np.array([rows.get(key, -1) for key in tried])
    kept = places >= 0
    at = places[kept], tasks[kept]
    total, times = np.zeros((2, len(remembered), n_tasks))
    np.add.at(total, at, residual[kept])
    np.add.at(times, at, 1)
    mean: Array = total / np.maximum(times, 1)
    return mean


def fit_task_prior(
    tasks: Iterable[tuple[Array, Array]], *, iterations: int = 10, noise: float = 0.1
) -> TaskPrior:
    """Fit the hierarchical model.

    Parameters
    ----------
    tasks : iterable of (phi, z)
        Features, shape (n_i, F), and Gaussian ranks, shape (n_i,), of each task.
    iterations : int, default=10
        Rounds of expectation maximisation.
    noise : float, default=0.1
        The variance of the noise to begin with.
    """
    grams, moments, squares, counts = [], [], [], []
    for phi, z in tasks:
        grams.append(phi.T @ phi)
        moments.append(phi.T @ z)
        squares.append(float(z @ z))
        counts.append(len(z))
    gram, moment = np.stack(grams), np.stack(moments)
    n_features = gram.shape[1]
    mean, covariance = np.zeros(n_features), np.eye(n_features)
    eye = np.eye(n_features)
    weights = np.zeros_like(moment)
    parts = [slice(first, first + _PART) for first in range(0, len(gram), _PART)]
    for _ in range(iterations):
        precision = np.linalg.inv(covariance + _JITTER * eye)
        uncertain, residual = np.zeros_like(eye), sum(squares)
        for part in parts:
            posterior = np.linalg.inv(gram[part] / noise + precision)  # (t, F, F)
            pull = moment[part] / noise + precision @ mean
            w = weights[part] = np.einsum("tij,tj->ti", posterior, pull)
            uncertain += posterior.sum(0)
            residual -= 2 * np.vdot(w, moment[part])
            residual += np.einsum("ti,tij,tj->", w, gram[part], w)
            residual += np.vdot(gram[part], posterior)
        mean = weights.mean(0)
        centred = weights - mean
        covariance = (uncertain + centred.T @ centred) / len(weights)
        noise = float(max(residual / np.sum(counts), 1e-3))
    return TaskPrior(weights, covariance, noise)
