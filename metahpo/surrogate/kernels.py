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
    scale = math.sqrt(5) / length[..., None, :]
    a, b = A * scale, B * scale
    a2, b2 = a.square().sum(-1, keepdim=True), b.square().sum(-1, keepdim=True)
    # |a|^2 + |b|^2 - 2 a·b as one product: passes over (n, m) are what takes the time
    one = torch.ones_like
    a = torch.cat([-2 * a, a2, one(a2)], dim=-1)
    b = torch.cat([b, one(b2), b2], dim=-1)
    r = (a @ b.mT).clamp(min=1e-12).sqrt()  # at 0 the root's slope is infinite, the kernel's not
    kernel: Tensor = torch.addcmul(1 + r, r, r, value=1 / 3) * torch.exp(-r)
    return kernel


def mean_length(d: int) -> float:
    """Return the length scale that is neither short nor long among `d` columns in [0, 1]."""
    return 0.5 * math.sqrt(max(d, 1))
