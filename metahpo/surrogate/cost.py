"""Cost: what an evaluation takes, learned over all tasks and conditioned on a study's own.

Log seconds are linear in features that are learned for them, c = w·phi(x) + noise, with one
weight vector a task. Meta-features foretell it, w = b + B m + u with u ~ N(0, C): more rows slow
some configurations down more than others. B is a ridge regression over the training tasks whose
penalty is chosen by leave-one-out, an infinite one included, which leaves the mean b alone; C is
what remains of the tasks' weights when each is foretold from the others. The seconds that a
study's trials took condition w in closed form. (Gelman et al., Bayesian Data Analysis, ch. 14
and 15; expected improvement per second: Snoek et al., "Practical Bayesian optimization of machine
learning algorithms", NIPS 2012, section 3.2.)

Notation
--------
====== =========== ==========================================================================
name   shape       meaning
====== =========== ==========================================================================
T, F   scalars     training tasks, features
p      scalar      meta-features
c      (n,)        log seconds
phi    (n, F)      features, the constant last
W      (T, F)      the tasks' weights
V      (F, F)      how uncertain those are, the mean over tasks
G      (F, F)      mean of phi' phi: w' G w is the mean square of what weights w foretell
M      (T, p)      meta-features as normal quantiles of their ranks, centred; M = U s V'
B      (p, F)      what the weights gain by each meta-feature
====== =========== ==========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metahpo.surrogate.features import FeatureNet, FeatureOptions, Floats, train_features
from metahpo.surrogate.relevance import given_values, ranked
from metahpo.surrogate.tasks import fit_task_prior

Array = NDArray[np.float64]

_NETWORK = FeatureOptions(members=1, width=64, features=24, steps=1000)
_PENALTIES = np.append(np.geomspace(1e-3, 10.0, 9), np.inf)  # of the ridge, a training task
_ELSEWHERE = 2.0  # sd of the level of c between one machine, or validation, and another
_LEAST = 1e-9  # what keeps a division or a Cholesky factor from zero


@dataclass(frozen=True)
class CostBelief:
    """What is believed of a task's weights: a Gaussian."""

    mean: Array
    """(F,)"""
    covariance: Array
    """(F, F)"""
    noise: float
    """Variance of c around what the features say."""

    def given(self, phi: Floats, seconds: Array) -> CostBelief:
        """Condition on what trials took.

        Parameters
        ----------
        phi : ndarray, shape (n, F)
        seconds : ndarray, shape (n,)
            Trials without a positive number are left out.
        """
        known = seconds > 0
        phi, c = phi[known], np.log(seconds[known])
        eye = np.eye(len(self.mean))
        L = np.linalg.cholesky(self.covariance + _LEAST * eye)
        # with w = mean + L v and v ~ N(0, 1): v's precision is A, which is never singular
        A = eye + L.T @ phi.T @ phi @ L / self.noise
        mean = self.mean + L @ np.linalg.solve(A, L.T @ phi.T @ (c - phi @ self.mean) / self.noise)
        covariance = np.asarray(L @ np.linalg.solve(A, L.T), dtype=np.float64)
        return replace(self, mean=mean, covariance=covariance)

    def log_seconds(self, phi: Floats) -> tuple[Array, Array]:
        """Predict c of an evaluation: mean and standard deviation, two of shape (n,)."""
        variance = np.einsum("nf,fg,ng->n", phi, self.covariance, phi, optimize=True)
        return phi @ self.mean, np.sqrt(np.maximum(variance, 0.0) + self.noise)

    def seconds(self, phi: Floats) -> Array:
        """Predict what evaluations take, in seconds: the medians, shape (n,)."""
        # the median lies between the expected seconds and the inverse of the expected speed
        typical: Array = np.exp(phi @ self.mean)
        return typical


@dataclass(frozen=True)
class CostPrior:
    """What the training tasks, and a new one's meta-features, say of its weights."""

    reference: Array
    """(T, p): the training tasks' meta-features."""
    names: tuple[str, ...]
    intercept: Array
    """(F,): the weights of a task whose meta-features are all middling."""
    slopes: Array
    """(p, F): B."""
    covariance: Array
    """(F, F): C."""
    noise: float

    def belief(self, meta_features: Mapping[str, float] | None) -> CostBelief:
        """Return what is believed of a new task before its first trial.

        Parameters
        ----------
        meta_features : mapping of str to float or None
            Names that are unknown are ignored; names that are missing, None and NaN count as
            ordinary.
        """
        raw = given_values(meta_features, self.names)[None]
        mean = self.intercept + (ranked(raw, self.reference) @ self.slopes)[0]
        covariance = self.covariance.copy()
        covariance[-1, -1] += _ELSEWHERE**2
        return CostBelief(mean, covariance, self.noise)


@dataclass(frozen=True, eq=False)
class CostHead:
    """What the training tasks' seconds left behind."""

    features: FeatureNet
    weights: Array
    """(T, F): W; NaN where a task's seconds are not known."""
    uncertainty: Array
    """(F, F): V."""
    gram: Array
    """(F, F): G."""
    noise: float

    def prior(self, reference: Array, names: tuple[str, ...]) -> CostPrior:
        """Regress the tasks' weights on their meta-features.

        Parameters
        ----------
        reference : ndarray, shape (T, p)
            The tasks' meta-features; NaN where one is not defined.
        names : tuple of str
        """
        known = ~np.isnan(self.weights[:, 0])
        W, M = self.weights[known], ranked(reference, reference)[known]
        mean, middle = W.mean(0), M.mean(0)
        U, s, Vt = np.linalg.svd(M - middle, full_matrices=False)
        moment = U.T @ (W - mean)
        fits = []
        for penalty in _PENALTIES * len(W):
            shrink = s**2 / (s**2 + penalty)
            leverage = 1 / len(W) + U**2 @ shrink
            rest = W - mean - U @ (shrink[:, None] * moment)
            missed = rest / np.maximum(1 - leverage, _LEAST)[:, None]  # each by the others
            error = np.einsum("tf,fg,tg->", missed, self.gram, missed)
            fits.append((float(error), penalty, missed))
        _, penalty, missed = min(fits, key=lambda fit: fit[0])
        slopes = Vt.T @ ((s / (s**2 + penalty))[:, None] * moment)
        return CostPrior(
            reference,
            names,
            intercept=mean - middle @ slopes,
            slopes=slopes,
            covariance=self.uncertainty + missed.T @ missed / len(W),
            noise=self.noise,
        )

    def with_task(self, belief: CostBelief, phi: Floats, seconds: Array) -> CostHead:
        """Add a task: what a study's trials took.

        Parameters
        ----------
        belief : CostBelief
            Of the task, before its trials.
        phi : ndarray, shape (n, F)
        seconds : ndarray, shape (n,)
            NaN where it is not known.
        """
        known = (seconds > 0).any()
        row = belief.given(phi, seconds).mean if known else np.full(len(belief.mean), np.nan)
        return replace(self, weights=np.vstack([self.weights, row]))

    def tensors(self) -> dict[str, Array]:
        """Return the head as named arrays, for storage."""
        return {f"cost_{name}": value for name, value in self.features.tensors().items()} | {
            "cost_task_weights": self.weights,
            "cost_uncertainty": self.uncertainty,
            "cost_gram": self.gram,
            "cost_noise": np.array([self.noise]),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Array]) -> CostHead | None:
        """Rebuild the head from :meth:`tensors`'s value; None where there is none of it."""
        own = {
            name.removeprefix("cost_"): value
            for name, value in tensors.items()
            if name.startswith("cost_")
        }
        if not own:
            return None
        return cls(
            FeatureNet.from_tensors(own),
            own["task_weights"],
            own["uncertainty"],
            own["gram"],
            float(own["noise"][0]),
        )


def fit_cost(
    X: Array,
    task: NDArray[np.int64],
    seconds: Array,
    *,
    options: FeatureOptions | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> CostHead | None:
    """Learn what evaluations take.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
        Encoded configurations of the trials of all tasks.
    task : ndarray of int, shape (n,)
        The task of each trial, counted from 0, in ascending order.
    seconds : ndarray of float, shape (n,)
        What each took; not a positive number where that is not known.
    options : FeatureOptions, optional
    device : str, default="cpu"
        Where torch trains.
    seed : int, default=0

    Returns
    -------
    CostHead or None
        None where no trial's seconds are known.
    """
    known = seconds > 0
    if not known.any():
        return None
    n_tasks = int(task.max()) + 1
    X, task, c = X[known], task[known], np.log(seconds[known])
    counts = np.bincount(task, minlength=n_tasks)
    level = np.bincount(task, c, n_tasks) / np.maximum(counts, 1)
    centred = c - level[task]
    features = train_features(
        X,
        task,
        centred / max(float(centred.std()), _LEAST),
        options=options or _NETWORK,
        device=device,
        seed=seed,
    )
    phi = features(X).astype(float)
    ends = np.cumsum(counts[counts > 0])[:-1]
    prior = fit_task_prior(zip(np.split(phi, ends), np.split(c, ends), strict=True))
    weights = np.full((n_tasks, phi.shape[1]), np.nan)
    weights[counts > 0] = prior.weights
    scatter = np.cov(prior.weights, rowvar=False, bias=True)
    return CostHead(
        features,
        weights,
        # the prior's covariance is that of the weights over tasks, and how uncertain each is
        uncertainty=prior.covariance - scatter,
        gram=phi.T @ phi / len(phi),
        noise=prior.noise,
    )
