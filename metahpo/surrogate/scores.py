"""What is learned from a task's scores: their order, made Gaussian, and their scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

KNOTS = np.linspace(0.0, 1.0, 33)  # the quantiles at which a task's scores are remembered

JUNK = 5.0  # a task's scores this many (best - median) below the best are told apart no more
_WINSOR = 4.0  # a study's scores this many (best - median) below the median are cut there
_ROUNDING = 1e-13  # relative to the scores: what differs by less is the same


def told(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a study's scores as a belief can use them: junk cut off, failures at the worst.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Higher is better; NaN for a failed trial; one at least is a number.
    """
    finite = scores[~np.isnan(scores)]
    floor = -np.inf
    if len(finite) > 3:
        best, middle = float(finite.max()), float(np.median(finite))
        worse = finite[finite < best - rounding(finite)]
        if 2 * len(worse) <= len(finite):  # half of all score best: what do the others?
            middle = float(np.median(worse)) if len(worse) else best
        floor = middle - _WINSOR * (best - middle)
    cut = np.maximum(scores, floor)  # NaN stays
    return np.where(np.isnan(cut), np.nanmin(cut), cut)


def rounding(scores: NDArray[np.float64]) -> float:
    """Return by how much equal scores may differ: as means over folds in another order do."""
    return float(_ROUNDING * np.abs(scores).max())


def gaussian_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank one task's scores and map the ranks to normal quantiles (a Gaussian copula).

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Higher is better. A failed trial (NaN) ranks with the worst.

    Returns
    -------
    ndarray of float, shape (n,)
        Ties share their average rank; without ties the mean is zero.

    References
    ----------
    Salinas, Shen and Perrone, "A quantile-based approach for hyperparameter transfer learning",
    ICML 2020.
    """
    ranks = rankdata(np.where(np.isnan(scores), -np.inf, scores))
    return ndtri((ranks - 0.5) / len(scores))


def junk_floor(scores: NDArray[np.float64]) -> float:
    """Return where one task's scale ends, with what lies below it junk (a diverged R², say).

    The worst score stands there unless it is more than ``JUNK`` times as far from the best as the
    median is; one such score would push all others together at the top.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        Higher is better; NaN for a failed trial.

    Returns
    -------
    float
        NaN where all have failed.
    """
    finite = scores[~np.isnan(scores)]
    if not len(finite):
        return float("nan")
    high = finite.max()
    low = max(finite.min(), high - JUNK * (high - np.median(finite)))
    if low >= high:  # the better half is constant
        low = finite.min()
    return float(low)


def profile(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one task's scores at the quantiles ``KNOTS``, scaled to 0 (worst) … 1 (best).

    Junk counts as 0 without stretching the scale, see :func:`junk_floor`.
    """
    finite = scores[~np.isnan(scores)]
    high, low = finite.max(), junk_floor(scores)
    knots = np.clip(np.quantile(finite, KNOTS), low, None)
    return (knots - low) / (high - low) if high > low else np.ones_like(knots)


def spread(scores: NDArray[np.float64]) -> float:
    """Return one task's score per unit of Gaussian rank, from the better half of its trials.

    The better half, because that is where a study spends its trials; failures and junk would
    stretch the scale. In the scores' own unit; 0 where the better half is constant.
    """
    finite = np.sort(scores[~np.isnan(scores)])
    upper = finite[len(finite) // 2 :]
    z = gaussian_ranks(finite)[len(finite) // 2 :]
    return float(np.polyfit(z, upper, 1)[0]) if np.ptp(z) > 0 else 0.0
