"""Null hypotheses: that no training task helps, and what that makes of a study's trials.

Gaussian processes whose length scales and noise are a sample of what these may be, weighed by the
trials. Nothing is learned of them, so that experience which misleads does not mislead them, too;
and since they stay the same, a study's factors are extended by each new trial, not computed anew.
The notation is that of :mod:`.hypotheses`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from metahpo.surrogate.hypotheses import (
    NULL_PRIOR,
    Hypotheses,
    Told,
    Weighed,
    evidence,
    inverse_factor,
    local_covariance,
    noise_variance,
    whitening,
)
from metahpo.surrogate.kernels import mean_length

_MOST = 64  # hypotheses: a power of two, for Sobol's sequence
_CELLS = _MOST * 200**2  # of covariances: with many trials there are fewer hypotheses
_NOISE = (0.01, 1.0)  # median of the variance, and deviation of its logarithm
_LENGTH = (1.0, 0.7)  # the same of a length scale, in mean lengths


def null_hypotheses(d: int, n: int) -> Hypotheses:
    """Return the null hypotheses for `d` encoded columns and `n` trials.

    A quasi-random sample of length scales, each column its own, and of noise. Weighed by their
    evidence they stand for one Gaussian process with all of that integrated out, as Snoek,
    Larochelle and Adams, "Practical Bayesian optimization of machine learning algorithms", 2012,
    do by Markov chains. The variance is that of z, which is known: one.

    Returns
    -------
    dict of Tensor
        Without the dimension of the studies.
    """
    normal = _sample(d + 1)[: max(1, min(_MOST, _CELLS // max(n, 1) ** 2))]
    (noise, noise_sd), (length, length_sd) = _NOISE, _LENGTH
    local = torch.zeros(len(normal), dtype=torch.float64)
    return {
        "deep": torch.full_like(local, -torch.inf),
        "local": local,
        "noise": math.log(noise) + noise_sd * normal[:, d],
        "length": math.log(length * mean_length(d)) + length_sd * normal[:, :d],
    }


@cache
def _sample(d: int) -> Tensor:
    """Return quasi-random normal deviates, the same ever: (nulls, d)."""
    return torch.from_numpy(ndtri(qmc.Sobol(d, rng=np.random.default_rng(0)).random(_MOST)))


class NullFactors:
    """The null hypotheses' whitening of one study's trials, kept from one look to the next."""

    def __init__(self) -> None:
        self._known: tuple[Tensor, Tensor] | None = None  # X and its whitening

    def __getstate__(self) -> dict[str, None]:
        return {"_known": None}  # large, and soon made again

    def at(self, X: Tensor) -> Tensor:
        """Return the whitening: trials that were there before, in this order, cost nothing.

        Each one behind them takes O(n^2) for a hypothesis.

        Parameters
        ----------
        X : Tensor, shape (1, n, d)

        Returns
        -------
        Tensor, shape (1, H, n, n)
        """
        hypotheses = _side_by_side(X)
        H = hypotheses["noise"].shape[1]
        nothing = X[:, :0], X.new_empty(1, H, 0, 0)
        old, whiten = self._known or nothing
        if whiten.shape[1] < H:  # after more trials than these some hypotheses were given up
            old, whiten = nothing
        n = _common(old[0], X[0])
        whiten = whiten[:, :H, :n, :n]
        if n < X.shape[1]:
            whiten = _extended(whiten, hypotheses, X[:, :n], X[:, n:])
        self._known = X, whiten
        return whiten


def weigh_null(told: Told, whiten: Tensor | None = None) -> Weighed:
    """Compute how well the null hypotheses explain trials: as one task that says nothing.

    Parameters
    ----------
    told : Told
    whiten : Tensor, shape (B, H, n, n), optional
        From :class:`NullFactors`, if the study has been looked at before.
    """
    B, n, _ = told.at.X.shape
    hypotheses = _side_by_side(told.at.X)
    if whiten is None:
        K = local_covariance(hypotheses, told.at.X, told.at.X)
        whiten = whitening(hypotheses, K, told.there)
    log_prior = math.log(NULL_PRIOR / whiten.shape[1])
    nothing, alone = told.y.new_zeros(B, n, 1), told.y.new_full((B, 1), log_prior)
    behind_all = torch.full((1,), told.at.mean.shape[-1], device=told.y.device)
    return evidence(hypotheses, told, whiten, nothing, alone, behind_all)


def _side_by_side(X: Tensor) -> Hypotheses:
    B, n, d = X.shape
    return {
        name: value.to(X).expand(B, *value.shape) for name, value in null_hypotheses(d, n).items()
    }


def _common(a: Tensor, b: Tensor) -> int:
    """Count the rows that two lists begin with alike."""
    n = min(len(a), len(b))
    return int((a[:n] == b[:n]).all(1).cumprod(0).sum())


def _extended(whiten: Tensor, hypotheses: Hypotheses, old: Tensor, new: Tensor) -> Tensor:
    """Extend inverse Cholesky factors by new trials: (B, H, n, n) to (B, H, n + m, n + m)."""
    across = local_covariance(hypotheses, new, old) @ whiten.mT  # (B, H, m, n)
    own = local_covariance(hypotheses, new, new) - across @ across.mT
    noise = noise_variance(hypotheses)[..., None].expand(-1, -1, new.shape[1])
    corner = inverse_factor(own + torch.diag_embed(noise))
    bottom = torch.cat([-corner @ across @ whiten, corner], dim=-1)
    return torch.cat([torch.nn.functional.pad(whiten, (0, new.shape[1])), bottom], dim=-2)
