"""How the values of many columns become a few numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def summarise(
    name: str, values: ArrayLike, statistics: str = "mean sd min max"
) -> dict[str, float]:
    """Return ``{name.statistic: value}`` over the finite values; NaN where there is none."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    wanted = statistics.split()
    if not finite.size:
        return {f"{name}.{statistic}": float("nan") for statistic in wanted}
    found = {
        "mean": finite.mean(),
        "sd": finite.std(ddof=1) if finite.size > 1 else np.nan,  # of the columns as a sample
        "min": finite.min(),
        "max": finite.max(),
    }
    return {f"{name}.{statistic}": float(found[statistic]) for statistic in wanted}


def ratio(numerator: float, denominator: float) -> float:
    """Divide; NaN where the quotient is undefined."""
    return float(numerator / denominator) if denominator else float("nan")


def moments(
    centred: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return skewness and excess kurtosis of each column, as pymfe's method 3 defines them.

    Parameters
    ----------
    centred : ndarray of shape (n_rows, n_columns)
        Values less their column's mean; 0 where missing. NaN in constant columns.
    counts : ndarray of shape (n_columns,)
        Values present in each column.

    Returns
    -------
    skewness, kurtosis : ndarray of shape (n_columns,)
        With variance over n - 1 and moments over n: b1 and b2 of Joanes and Gill (1998).
    """
    squares = centred * centred
    second = squares.sum(axis=0) / counts
    third = np.einsum("ij,ij->j", squares, centred) / counts
    fourth = np.einsum("ij,ij->j", squares, squares) / counts
    shrink = 1 - 1 / counts
    return third / second**1.5 * shrink**1.5, fourth / second**2 * shrink**2 - 3
