"""The task-local kernel: Matérn 5/2 on encoded configurations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def distances(A: Array, B: Array) -> Array:
    """Euclidean distances between rows: (n, d), (m, d) to (n, m)."""
    squared = (A**2).sum(1)[:, None] + (B**2).sum(1)[None] - 2 * A @ B.T
    distance: Array = np.sqrt(np.maximum(squared, 0.0))
    return distance


def matern52(distance: Array, length: float) -> Array:
    """Matérn 5/2 with unit variance and one length scale, of distances.

    Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 4.17.
    """
    r = distance * (np.sqrt(5) / length)
    kernel: Array = (1 + r + r**2 / 3) * np.exp(-r)
    return kernel
