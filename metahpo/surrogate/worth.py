"""Worth: what a response is worth on a task, from 0, the task's worst score, to 1, its best.

z is a Gaussian rank, and a step of it is not worth the same everywhere: among a task's best
configurations it may be worth nothing, on another task everything. Improvement is judged by worth,
a piecewise linear function of z on every training task.

Notation
--------
======= ============ ============================================================================
name    shape        meaning
======= ============ ============================================================================
T, J                 training tasks, knots
u       function     worth: u(z) = bend_0 z + sum_j bend_j max(z - knot_j, 0), up to a constant
bends   (T + 1, 1+J) slope below all knots, then its change at each; the last row is the tasks'
                     mean, for a task that is like none of them
======= ============ ============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from metahpo.surrogate.scores import KNOTS

Array = NDArray[np.float64]

_AT = (-1.5, -0.5, 0.25, 1.0, 1.75, 2.5)  # knots of z, the upper half of a task closer
_ROOT = math.sqrt(2 * math.pi)
_LEAST = 0.03  # slope that is added everywhere: better is better even where all score alike


def bends(profiles: Array) -> Array:
    """Return the bends of all tasks' worth.

    Parameters
    ----------
    profiles : ndarray, shape (T, knots)
        Each training task's scores by quantile, see :func:`metahpo.surrogate.scores.profile`.
    """
    at = np.array([np.interp(ndtr(_AT), KNOTS, scores) for scores in profiles])
    at = at.reshape(len(profiles), len(_AT))
    best = np.ones((len(profiles), 1))
    rise = np.diff(at, axis=1, append=best) / np.diff(_AT, append=_AT[-1] + 1.0)
    slopes = np.pad(rise, ((0, 0), (1, 0))) + _LEAST
    straight = rise[:, :-1].mean() if len(rise) else 1.0
    slopes = np.concatenate([slopes, np.full((1, slopes.shape[1]), straight)])
    return np.diff(slopes, axis=1, prepend=0.0)


def gain(z: Tensor, best: Tensor, bends: Tensor) -> Tensor:
    """Return max(u(z) - u(best), 0).

    Parameters
    ----------
    z : Tensor, shape (B, m, k)
    best : Tensor, shape (B, k)
    bends : Tensor, shape (B, k, 1 + J)
    """
    return _bent(lambda level: (z - level[:, None]).clamp(min=0.0), best, bends)


def expected_gain(mean: Tensor, sd: Tensor, best: Tensor, bends: Tensor) -> Tensor:
    """Return the expectation of max(u(z) - u(best), 0) for normal z, in closed form.

    With u linear this is the expected improvement of Jones et al., "Efficient Global
    Optimization", 1998, eq. 15; each bend adds another, over its knot.

    Parameters
    ----------
    mean, sd : Tensor, shape (B, m, k)
    best : Tensor, shape (B, k)
    bends : Tensor, shape (B, k, 1 + J)
    """

    def above(level: Tensor) -> Tensor:
        u = (mean - level[:, None]) / sd
        expected: Tensor = sd * (u * torch.special.ndtr(u) + torch.exp(-0.5 * u.square()) / _ROOT)
        return expected

    return _bent(above, best, bends)


def _bent(above: Callable[[Tensor], Tensor], best: Tensor, bends: Tensor) -> Tensor:
    """Sum what is gained above the best, and above each knot beyond it."""
    passed = sum(bool((best >= knot).all()) for knot in _AT)  # these only change the slope at best
    total = bends[:, None, :, : 1 + passed].sum(-1) * above(best)
    for j, knot in enumerate(_AT[passed:], start=1 + passed):
        total = total + bends[:, None, :, j] * above(best.clamp(min=knot))
    return total
