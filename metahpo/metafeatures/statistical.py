"""Statistical meta-features: shape, outliers and correlation of the columns, and their variance.

All are free of scale. Names with a dot or ``nr_`` are pymfe's definitions; where a value is
missing, each column uses those it has, and correlations see the column's mean in its place.

Notation: Z (n_rows, n_numeric) standardised columns, 0 where missing, constant columns left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metahpo.metafeatures.summary import moments, ratio, summarise
from metahpo.metafeatures.table import Table
from metahpo.metafeatures.target import Target

FloatArray = NDArray[np.float64]

WHISKER = 1.5  # Tukey's, in interquartile ranges
STRONG = 0.5  # correlation of a pair that nr_cor_attr counts, as a share of all pairs
SAME_SHARE = 1e-6  # of variance: two components nearer than this have no direction of their own
# An eigendecomposition is cubic in the columns: 300 take about 20 ms.
MAX_PCA_COLUMNS = 300


@dataclass(frozen=True)
class Columns:
    """Numeric columns, sorted and standardised once for all groups.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_numeric)
    ordered : ndarray of shape (n_rows, n_numeric)
        Each column sorted, missing values last.
    counts : ndarray of shape (n_numeric,)
        Values present in each column.
    standard : ndarray of shape (n_rows, n_varying)
        Z of the columns that vary.
    varying : ndarray of bool, shape (n_numeric,)
    """

    values: FloatArray
    ordered: FloatArray
    counts: NDArray[np.int64]
    standard: FloatArray
    varying: NDArray[np.bool_]

    @classmethod
    def of(cls, table: Table) -> Columns:
        """Sort and standardise the numeric columns of a dense table."""
        values = np.asarray(table.numeric)
        ordered = np.sort(values, axis=0)
        absent = np.isnan(values)
        counts = len(values) - absent.sum(axis=0)
        # Scaled by the largest value first, so that the squares of 1e200 do not overflow.
        largest = np.fmax.reduce(np.abs(ordered), axis=0)
        scaled = np.where(absent, 0.0, values / np.where(largest > 0, largest, 1.0))
        centred = scaled - scaled.sum(axis=0) / np.maximum(counts, 1)
        centred[absent] = 0.0
        deviation = np.sqrt((centred**2).sum(axis=0) / np.maximum(counts, 1))
        # Below rounding error a constant column has a deviation too (as scipy.stats.skew judges).
        mean_size = np.abs(scaled).max(axis=0, initial=0.0)
        varying = (ordered[0] != np.fmax.reduce(ordered, axis=0)) & (counts > 1)
        varying &= deviation > np.finfo(np.float64).eps * mean_size
        standard = centred[:, varying] / deviation[varying]
        return cls(values, ordered, counts, standard, varying)

    def quantiles(self, levels: FloatArray) -> FloatArray:
        """Return (n_levels, n_numeric) quantiles of the values present; NaN where none is.

        Rounds as ``numpy.quantile`` does (method "linear"), so that a value that equals a quantile
        falls on the same side of it.
        """
        last = np.maximum(self.counts - 1, 0)
        position = levels[:, None] * last  # (n_levels, n_numeric)
        below = np.floor(position).astype(np.intp)
        share = position - below
        low = np.take_along_axis(self.ordered, below, axis=0)
        high = np.take_along_axis(self.ordered, np.minimum(below + 1, last), axis=0)
        step = high - low
        quantiles: FloatArray = np.where(
            share >= 0.5, high - step * (1 - share), low + step * share
        )
        return quantiles


def statistical(table: Table, columns: Columns, target: Target) -> dict[str, float]:
    """Return the statistical meta-features of a (sampled) table.

    ``cor.*`` are absolute correlations of pairs, ``nr_cor_attr`` the share of pairs from 0.5 on,
    ``nr_outliers`` the columns with a value beyond Tukey's whiskers, ``outlier_share`` the cells,
    ``sparsity.*`` how often values repeat: 0 all differ, 1 constant.
    ``target_cor.*`` is the absolute correlation of the numeric columns with the target: Pearson's
    for regression, the correlation ratio (root of the share of variance between classes) for
    classification.
    """
    skewness, kurtosis = moments(columns.standard, columns.counts[columns.varying])
    correlation = _correlation(columns.standard)
    pairs = np.abs(correlation[np.tril_indices_from(correlation, k=-1)])
    width = table.n_numeric
    return {
        **summarise("skewness", skewness),
        **summarise("kurtosis", kurtosis),
        **summarise("cor", pairs, "mean sd max"),
        "nr_cor_attr": ratio((pairs >= STRONG).sum(), width * (width - 1) / 2),
        **_outliers(columns),
        **summarise("sparsity", _sparsity(table, columns), "mean sd"),
        **summarise("target_cor", _target_correlation(columns, target), "mean max"),
        **_principal_components(columns, correlation),
    }


def _correlation(standard: FloatArray) -> FloatArray:
    return np.asarray(standard.T @ standard) / max(len(standard), 1)


def _outliers(columns: Columns) -> dict[str, float]:
    if not columns.values.shape[1]:
        return {"nr_outliers": 0.0, "outlier_share": np.nan}
    first, third = columns.quantiles(np.array([0.25, 0.75]))
    reach = WHISKER * (third - first)
    outside = (columns.values < first - reach) | (columns.values > third + reach)
    present = columns.counts.sum()
    return {
        "nr_outliers": float(outside.any(axis=0).sum()),
        "outlier_share": float(outside.sum() / present) if present else np.nan,
    }


def _sparsity(table: Table, columns: Columns) -> FloatArray:
    """Return how often the values of each column repeat: 0 all differ, 1 constant (pymfe's)."""
    changes = np.diff(columns.ordered, axis=0) > 0  # False beside a missing value
    numeric = changes.sum(axis=0) + (columns.counts > 0)
    categorical = [len(np.unique(codes[codes >= 0])) for codes in table.codes.T]
    distinct = np.concatenate([numeric, np.array(categorical, dtype=np.int64)])
    return (table.n_rows / distinct - 1) / np.float64(table.n_rows - 1)


def _target_correlation(columns: Columns, target: Target) -> FloatArray:
    standard = columns.standard
    if not target.is_classification:
        centred = target.values / (np.abs(target.values).max() or 1.0)
        centred = centred - centred.mean()
        norm = np.sqrt(len(centred) * (centred**2).sum())
        return np.asarray(np.abs(centred @ standard) / norm)
    order = np.argsort(target.values, kind="stable")
    sizes = np.bincount(target.values)
    sizes = sizes[sizes > 0]
    if len(sizes) < 2:
        return np.empty(0)
    sums = np.add.reduceat(standard[order], np.cumsum(sizes) - sizes, axis=0)
    return np.asarray(np.sqrt((sums**2 / sizes[:, None]).sum(axis=0) / len(standard)))


def _principal_components(columns: Columns, correlation: FloatArray) -> dict[str, float]:
    """Return shares of variance and the shape of the first component (after auto-sklearn).

    Its sign is arbitrary, so its skewness is given without sign. At most 300 columns are used.
    """
    names = ("pca_95_share", "pca_1_share", "pca_1_skewness", "pca_1_kurtosis")
    width = min(len(correlation), MAX_PCA_COLUMNS)
    if width == 0:
        return dict.fromkeys(names, np.nan)
    variance, directions = np.linalg.eigh(correlation[:width, :width])
    shares = np.maximum(variance[::-1], 0) / np.maximum(variance, 0).sum()
    needed = int(np.searchsorted(np.cumsum(shares), 0.95 - 1e-9)) + 1
    scores = columns.standard[:, :width] @ directions[:, -1:]
    skewness, kurtosis = moments(scores - scores.mean(), np.array([len(scores)]))
    if width > 1 and shares[0] - shares[1] < SAME_SHARE:
        skewness, kurtosis = np.full((2, 1), np.nan)  # any direction of the plane would do
    found = (needed / width, shares[0], abs(skewness[0]), kurtosis[0])
    return {name: float(value) for name, value in zip(names, found, strict=True)}
