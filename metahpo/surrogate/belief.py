"""Belief: what a study's trials leave of the prior, in closed form.

The new task's response is z(x) = w·phi(x) + g(x) + noise, and its raw score y = a + b·z with
unknown a and b > 0. The prior over w is a mixture with one component a training task, mean w_i
and shared covariance tau·C; g is a Gaussian process with a Matérn kernel. Beside it stands a null
component that knows no earlier task: w = 0. For a given setting of (tau, kernel, noise) all
components share one Cholesky factor; a is integrated out under a flat prior, b and the setting
over a grid, and the mixture is weighted by its evidence.

Notation
--------
======= =============== =====================================================================
name    shape           meaning
======= =============== =====================================================================
S, B, T                 settings, scales b, training tasks (the null component is number T)
n, m                    trials, candidates
K       (S, n, n)       covariance of z at the trials, noise included; L its Cholesky factor
M       (n, T + 1)      prior means of z, one column a component
y1, o1  (S, n)          L^-1 y, L^-1 1
M1      (S, n, T + 1)   L^-1 M
======= =============== =====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp, ndtr

from metahpo.surrogate.kernels import distances, matern52
from metahpo.surrogate.tasks import TaskPrior

Array = NDArray[np.float64]

_DEVIATIONS = np.linspace(-2.5, 2.5, 11)  # of log b from its centre, in units of its scale
_FREEDOM = 3.0  # degrees of freedom of the prior of log b
_VAGUE_SCALE = (float(np.log(0.05)), 2.0)  # of log b where no task has shown its spread
_LEAST_SPREAD = 1e-6  # a score's smallest unit that is taken seriously
_LEAST_SD = 0.5  # of log b: however alike the training tasks are, a new one may differ
_TRUSTED = 2.0  # trials' worth of trust that the training tasks begin with
_KEPT = 64  # components of the posterior mixture that are evaluated at candidates
_NULL_PRIOR = 0.1  # prior probability that no earlier task helps


@dataclass(frozen=True)
class Setting:
    """One hypothesis about the new task's deviation from the training tasks."""

    deep: float
    """tau: weight of the shared covariance C; None of it in the null component."""
    local: float
    """Variance of the task-local process."""
    length: float
    """Its length scale, in units of sqrt(d) for d encoded columns."""
    noise: float
    """Variance of the noise, in units of z."""
    null: bool = False
    """Whether the setting belongs to the null component."""


SETTINGS: tuple[Setting, ...] = (
    *(
        Setting(deep, local, length, noise)
        for deep, local, length, noise in product(
            (0.1, 0.5, 1.5), (0.05, 0.3, 1.0), (0.3, 1.5), (0.01, 0.1)
        )
    ),
    *(
        Setting(0.0, 1.0, length, noise, null=True)
        for length, noise in product((0.3, 1.0, 3.0), (0.01, 0.1))
    ),
)


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
        log = self.mean + self.sd * _DEVIATIONS
        spread = float(np.std(y))
        if spread > 0:
            log = np.union1d(log, np.log(spread) + _DEVIATIONS)
        density = -0.5 * (_FREEDOM + 1) * np.log1p(((log - self.mean) / self.sd) ** 2 / _FREEDOM)
        weights: Array = density + np.log(np.gradient(log))
        return np.exp(log), weights - logsumexp(weights)


@dataclass(frozen=True)
class Posterior:
    """The belief after n >= 1 trials: the heaviest components of the mixture, in their order."""

    prior: TaskPrior
    X: Array
    best: float
    deep_at_trials: Array  # (n, F): phi C
    setting: NDArray[np.int64]  # (k,) index into SETTINGS of each component
    task: NDArray[np.int64]  # (k,)
    scale: Array  # (k,) b
    offset: Array  # (k,) a
    weight: Array  # (k,)
    factor: Array  # (S, n, n) L
    ones: Array  # (S, n) o1
    residual: Array  # (k, n): L^-1 (y - a - b M)
    task_weight: Array  # (T + 1,) of the whole mixture

    foretold: float
    """Share of the scores' variation over the trials that the training tasks tell, in [0, 1]."""

    @property
    def trust(self) -> float:
        """How far the training tasks can be relied on here, in [0, 1].

        The posterior probability that one of them is like this task at all, times the share of
        the scores' variation that they foretell; that share counts as one until there are trials
        to judge it by.
        """
        judged = len(self.X) - 1  # the first trial only tells the level
        share = (_TRUSTED + judged * self.foretold) / (_TRUSTED + judged)
        return float((1.0 - self.task_weight[-1]) * share)

    def heaviest(self, n: int) -> Posterior:
        """Return the mixture's `n` heaviest components alone: quicker, and nearly the same."""
        weight = self.weight[:n]
        return replace(
            self,
            setting=self.setting[:n],
            task=self.task[:n],
            scale=self.scale[:n],
            offset=self.offset[:n],
            weight=weight / weight.sum(),
            residual=self.residual[:n],
        )

    def components(self, phi: Array, X: Array) -> tuple[Array, Array]:
        """Predict the noise-free raw score at candidates, one column a component.

        Parameters
        ----------
        phi : ndarray, shape (m, F)
        X : ndarray, shape (m, d)

        Returns
        -------
        mean, sd : ndarray, shape (m, k)
        """
        means, sds = (np.empty((len(X), len(self.weight))) for _ in range(2))
        prior_mean = np.concatenate([self.prior.particles(phi), np.zeros((len(X), 1))], axis=1)
        deep = phi @ self.deep_at_trials.T  # (m, n)
        own = np.einsum("mi,ij,mj->m", phi, self.prior.covariance, phi, optimize=True)
        away = distances(X, self.X)
        local: dict[float, Array] = {}
        for s in np.unique(self.setting):
            setting, k = SETTINGS[s], np.flatnonzero(self.setting == s)
            if setting.length not in local:
                local[setting.length] = matern52(away, _length(setting, X))
            cross = setting.deep * deep + setting.local * local[setting.length]  # (m, n)
            white = solve_triangular(self.factor[s], cross.T, lower=True)  # (n, m)
            norm = self.ones[s] @ self.ones[s]
            variance = setting.deep * own + setting.local - (white**2).sum(0)
            variance = variance + (1.0 - white.T @ self.ones[s]) ** 2 / norm
            means[:, k] = (
                self.offset[k]
                + self.scale[k] * prior_mean[:, self.task[k]]
                + white.T @ self.residual[k].T
            )
            sds[:, k] = self.scale[k] * np.sqrt(np.maximum(variance, 1e-12))[:, None]
        return means, sds

    def predict(self, phi: Array, X: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the mixture at candidates: two of shape (m,)."""
        means, sds = self.components(phi, X)
        mean = means @ self.weight
        second = (means**2 + sds**2) @ self.weight
        return mean, np.sqrt(np.maximum(second - mean**2, 0.0))

    def expected_improvement(self, phi: Array, X: Array) -> Array:
        """Return the expected improvement on the best score so far at candidates: (m,)."""
        means, sds = self.components(phi, X)
        u = (means - self.best) / sds
        density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
        gain: Array = (sds * (u * ndtr(u) + density)) @ self.weight
        return gain


def condition(
    prior: TaskPrior,
    scale: ScalePrior,
    log_relevance: Array,
    phi: Array,
    X: Array,
    y: Array,
) -> Posterior:
    """Condition the prior on a study's trials.

    Parameters
    ----------
    prior : TaskPrior
    scale : ScalePrior
    log_relevance : ndarray, shape (T,)
        Log prior probability of being like each training task.
    phi : ndarray, shape (n, F)
        Features of the trials' configurations.
    X : ndarray, shape (n, d)
        The configurations in the study's own encoding, for the local kernel.
    y : ndarray, shape (n,)
        Raw scores, higher is better, none missing.
    """
    n = len(y)
    M = np.concatenate([prior.particles(phi), np.zeros((n, 1))], axis=1)
    deep = phi @ prior.covariance
    factor = np.linalg.cholesky(_covariances(deep @ phi.T, X)).astype(float)
    white: Array = np.linalg.solve(
        factor,
        np.broadcast_to(np.column_stack([np.ones(n), y, M]), (len(SETTINGS), n, M.shape[1] + 2)),
    )
    o1, y1, M1 = white[..., 0], white[..., 1], white[..., 2:]
    grid, log_scale = scale.grid(y)
    log = _log_evidence(factor, o1, y1, M1, grid)  # (S, B, T + 1)
    log = log + _log_prior(log_relevance)[:, None, :] + log_scale[None, :, None]
    weight = np.exp(log - logsumexp(log))
    kept = np.argsort(weight, axis=None)[::-1][:_KEPT]
    s, b, t = np.unravel_index(kept, weight.shape)
    scales = grid[b]
    deviation = y1[s] - scales[:, None] * M1[s, :, t]  # (k, n)
    offset = (o1[s] * deviation).sum(1) / (o1[s] ** 2).sum(1)
    return Posterior(
        prior=prior,
        X=X,
        best=float(y.max()),
        deep_at_trials=deep,
        setting=s,
        task=t,
        scale=scales,
        offset=offset,
        weight=weight[s, b, t] / weight[s, b, t].sum(),
        factor=factor,
        ones=o1,
        residual=deviation - offset[:, None] * o1[s],
        task_weight=weight.sum((0, 1)),
        foretold=_foretold(y, M[:, t] * scales, weight[s, b, t] * (t < M.shape[1] - 1)),
    )


def _foretold(y: Array, means: Array, weight: Array) -> float:
    """Return the share of y's variation that means of weighted components tell."""
    total = float(((y - y.mean()) ** 2).sum())
    if total == 0.0 or weight.sum() == 0.0:
        return 0.0
    rest = y[:, None] - means  # (n, k)
    missed = ((rest - rest.mean(0)) ** 2).sum(0) / total
    return float(1.0 - np.minimum(missed, 1.0) @ weight / weight.sum())


def _length(setting: Setting, X: Array) -> float:
    return setting.length * float(np.sqrt(X.shape[1]))


def _covariances(deep: Array, X: Array) -> Array:
    away = distances(X, X)
    local = {
        length: matern52(away, length * float(np.sqrt(X.shape[1])))
        for length in {setting.length for setting in SETTINGS}
    }
    eye = np.eye(len(X))
    return np.stack(
        [s.deep * deep + s.local * local[s.length] + (s.noise + 1e-6) * eye for s in SETTINGS]
    )


def _log_evidence(factor: Array, o1: Array, y1: Array, M1: Array, grid: Array) -> Array:
    """Log evidence of the trials, a integrated out: shape (S, B, T + 1)."""
    n = y1.shape[1]
    norm = (o1**2).sum(1)  # (S,)
    unit = o1 / np.sqrt(norm)[:, None]
    y_flat = y1 - unit * (unit * y1).sum(1, keepdims=True)
    M_flat = M1 - unit[..., None] * np.einsum("sn,snt->st", unit, M1)[:, None]
    yy = (y_flat**2).sum(1)[:, None, None]
    yM = np.einsum("sn,snt->st", y_flat, M_flat)[:, None]
    MM = (M_flat**2).sum(1)[:, None]
    b = grid[None, :, None]
    log_det = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1) + np.log(norm)
    misfit = yy / b**2 - 2 * yM / b + MM
    evidence: Array = -0.5 * misfit - (n - 1) * np.log(b) - 0.5 * log_det[:, None, None]
    return evidence


def _log_prior(log_relevance: Array) -> Array:
    """Log prior of (setting, component): shape (S, T + 1)."""
    null = np.array([setting.null for setting in SETTINGS])
    log = np.full((len(SETTINGS), len(log_relevance) + 1), -np.inf)
    log[~null, :-1] = np.log((1 - _NULL_PRIOR) / (~null).sum()) + log_relevance
    log[null, -1] = np.log(_NULL_PRIOR / null.sum())
    return log
