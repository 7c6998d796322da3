"""The task-local kernel: Matérn 5/2 on encoded configurations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def matern52(A: Array, B: Array, length: float) -> Array:
    """Matérn 5/2 with unit variance and one length scale: (n, d), (m, d) to (n, m).

    Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 4.17.
    """
    squared = (A**2).sum(1)[:, None] + (B**2).sum(1)[None] - 2 * A @ B.T
    r = np.sqrt(5 * np.maximum(squared, 0.0)) / length
    kernel: Array = (1 + r + r**2 / 3) * np.exp(-r)
    return kernel
