"""The task-local kernel: Matérn 5/2 on encoded configurations."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def matern52(A: Tensor, B: Tensor, length: Tensor) -> Tensor:
    """Matérn 5/2 with unit variance and a length scale a column.

    Parameters
    ----------
    A : Tensor, shape (..., n, d)
    B : Tensor, shape (..., m, d)
    length : Tensor, shape (..., d)

    Returns
    -------
    Tensor, shape (..., n, m)

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 4.17.
    """
    a, b = A / length[..., None, :], B / length[..., None, :]
    squared = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
    squared = (squared - 2 * a @ b.mT).clamp(min=0.0)
    r = (5 * squared + 1e-12).sqrt()  # the root's slope at 0 is infinite, the kernel's is not
    kernel: Tensor = (1 + r + r.square() / 3) * torch.exp(-r)
    return kernel


def mean_length(d: int) -> float:
    """Return the length scale that is neither short nor long among `d` columns in [0, 1]."""
    return 0.5 * math.sqrt(max(d, 1))
