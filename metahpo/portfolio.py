"""Portfolio: the configurations that together serve most tasks best."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def greedy_portfolio(
    utilities: Array,
    weights: Array,
    n: int,
    chosen: Iterable[int] = (),
    banned: Iterable[int] = (),
    cost: Array | None = None,
) -> list[int]:
    """Pick rows greedily so that the weighted mean of every task's best pick grows most.

    Before the first pick, every task's best is 0.

    Parameters
    ----------
    utilities : ndarray, shape (m, T)
        Higher is better; 0 is the worst.
    weights : ndarray, shape (T,)
    n : int
        How many rows.
    chosen : iterable of int, optional
        Rows that are taken already.
    banned : iterable of int, optional
        Rows that may not be picked, and that count for nothing.
    cost : ndarray, shape (m,), optional
        What each row costs: what grows most is then the gain per cost.

    Returns
    -------
    list of int
        The new rows, in order.

    References
    ----------
    Feurer et al., "Auto-Sklearn 2.0", JMLR 2022, section 3.
    """
    taken = list(chosen)
    best = utilities[taken].max(0) if taken else np.zeros(utilities.shape[1])
    allowed = np.ones(len(utilities), dtype=bool)
    allowed[[*taken, *banned]] = False
    picks = []
    for _ in range(n):
        gain = np.maximum(utilities, best) @ weights - best @ weights
        gain = gain if cost is None else gain / cost
        picks.append(int(np.where(allowed, gain, -np.inf).argmax()))
        allowed[picks[-1]] = False
        best = np.maximum(best, utilities[picks[-1]])
    return picks
