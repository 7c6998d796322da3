"""Simple meta-features: sizes, column types, missing values, the shape of the target.

Counted on the whole table: one pass over its cells, no cap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metahpo.metafeatures.summary import moments, ratio, summarise
from metahpo.metafeatures.table import Table, column_blocks
from metahpo.metafeatures.target import Target

# skrub's TableVectorizer encodes a text column as one-hot below this many levels.
HIGH_CARDINALITY = 40

Counts = NDArray[np.int64]
NumericCounts = tuple[Counts, Counts, Counts, NDArray[np.bool_]]


@dataclass(frozen=True)
class ColumnCounts:
    """What one pass over a table says of each column, numeric columns first.

    Parameters
    ----------
    missing : ndarray of shape (n_columns,)
        Cells without a value.
    distinct : ndarray of shape (n_columns,)
        Distinct values present: exact for categorical columns, for numeric ones 0, 1, 2, or 3 for
        more than two.
    zeros : ndarray of shape (n_numeric,)
    missing_rows : int
        Rows with at least one missing cell.
    """

    missing: Counts
    distinct: Counts
    zeros: Counts
    missing_rows: int


def simple(table: Table, n_distinct_rows: int) -> dict[str, float]:
    """Return sizes, column types and missing values.

    ``nr_inst`` (rows), ``nr_attr`` (columns), ``nr_num``, ``nr_cat``, ``nr_bin`` (columns of two
    values) and ``*_to_*`` are pymfe's. Shares are of all columns unless the name says cells or
    rows: ``constant_share`` at most one value, ``high_cardinality_share`` categorical with more
    than 40 levels, ``zero_share`` of numeric cells, ``duplicate_row_share`` of rows that repeat
    another, target included. ``symbols.*`` are levels of the categorical columns,
    ``log_nr_onehot`` the logarithm of the columns after one-hot encoding.
    """
    counts = _count(table)
    rows, columns = table.n_rows, table.n_columns
    cells = rows * columns
    binary = int((counts.distinct == 2).sum())
    symbols = counts.distinct[table.n_numeric :]
    width = table.n_numeric + int(symbols.sum())
    return {
        "nr_inst": rows,
        "nr_attr": columns,
        "log_nr_inst": np.log(rows),
        "log_nr_attr": np.log(columns),
        "attr_to_inst": columns / rows,
        "inst_to_attr": rows / columns,
        "nr_num": table.n_numeric,
        "nr_cat": table.n_categorical,
        "nr_bin": binary,
        "cat_share": table.n_categorical / columns,
        "bin_share": binary / columns,
        "cat_to_num": ratio(table.n_categorical, table.n_numeric),
        "num_to_cat": ratio(table.n_numeric, table.n_categorical),
        "constant_share": float((counts.distinct <= 1).mean()),
        "high_cardinality_share": float((symbols > HIGH_CARDINALITY).sum() / columns),
        **summarise("symbols", symbols),
        "log_nr_onehot": np.log(width) if width else np.nan,
        "missing_cell_share": float(counts.missing.sum() / cells),
        "missing_row_share": counts.missing_rows / rows,
        "missing_col_share": float((counts.missing > 0).mean()),
        "zero_share": ratio(counts.zeros.sum(), rows * table.n_numeric),
        "duplicate_row_share": 1 - n_distinct_rows / rows,
    }


def simple_target(target: Target) -> dict[str, float]:
    """Return the number and balance of classes, or the shape of a numeric target.

    ``nr_class`` and ``freq_class.*`` (shares of rows) are pymfe's, ``class_ratio`` is the smallest
    class over the largest, ``target_outlier_share`` the share beyond Tukey's whiskers. What
    belongs to the other task is NaN.
    """
    rows = len(target.values)
    sizes = np.bincount(target.values) if target.is_classification else np.empty(0, np.int64)
    numbers = np.empty(0) if target.is_classification else target.values
    return {
        "nr_class": len(sizes) or np.nan,
        **summarise("freq_class", sizes / rows),
        "class_ratio": ratio(sizes.min(), sizes.max()) if len(sizes) else np.nan,
        **_numeric_target(numbers),
    }


def _numeric_target(numbers: NDArray[np.float64]) -> dict[str, float]:
    names = ("skewness", "kurtosis", "distinct_share", "zero_share", "outlier_share")
    if not numbers.size:
        return {f"target_{name}": np.nan for name in names}
    values = numbers / (np.abs(numbers).max() or 1.0)  # powers of large numbers overflow
    distinct = len(np.unique(values))
    centred = values - values.mean() if distinct > 1 else np.full_like(values, np.nan)
    skewness, kurtosis = moments(np.sort(centred)[:, None], np.array([len(values)]))
    low, high = np.quantile(values, (0.25, 0.75))
    reach = 1.5 * (high - low)
    outside = (values < low - reach) | (values > high + reach)
    found = (
        skewness[0],
        kurtosis[0],
        distinct / len(values),
        (values == 0).mean(),
        outside.mean(),
    )
    return {f"target_{name}": float(value) for name, value in zip(names, found, strict=True)}


def _count(table: Table) -> ColumnCounts:
    numeric, codes_missing = table.numeric, table.codes < 0
    levels = np.array([len(column) for column in table.levels], dtype=np.int64)
    missing, distinct, zeros, incomplete = (
        _count_dense(numeric) if isinstance(numeric, np.ndarray) else _count_sparse(numeric)
    )
    return ColumnCounts(
        np.concatenate([missing, codes_missing.sum(axis=0)]),
        np.concatenate([distinct, levels]),
        zeros,
        int((incomplete | codes_missing.any(axis=1)).sum()),
    )


def _count_dense(numeric: NDArray[np.float64]) -> NumericCounts:
    """Count missing values, distinct values (to 3) and zeros; mark rows with a missing value."""
    n_rows, n_columns = numeric.shape
    missing, distinct, zeros = (np.zeros(n_columns, np.int64) for _ in range(3))
    incomplete = np.zeros(n_rows, bool)
    for block in column_blocks(numeric.shape):
        part = numeric[:, block]
        absent = np.isnan(part)
        missing[block] = absent.sum(axis=0)
        incomplete |= absent.any(axis=1)
        zeros[block] = n_rows - np.count_nonzero(part, axis=0)
        low, high = np.fmin.reduce(part, axis=0), np.fmax.reduce(part, axis=0)
        extreme = np.count_nonzero((part == low) | (part == high), axis=0)
        distinct[block] = _distinct(low, high, extreme + missing[block] == n_rows)
    return missing, distinct, zeros, incomplete


def _count_sparse(numeric: sparse.csc_array) -> NumericCounts:
    """Count as `_count_dense` does; cells that are not stored are zeros."""
    n_rows, n_columns = numeric.shape
    absent = np.isnan(numeric.data)
    column = np.repeat(np.arange(n_columns), np.diff(numeric.indptr))
    missing = np.bincount(column[absent], minlength=n_columns)
    incomplete = np.zeros(n_rows, bool)
    incomplete[numeric.indices[absent]] = True
    zeros = n_rows - np.diff(numeric.indptr).astype(np.int64)
    low = np.where(zeros > 0, 0.0, np.nan)
    high = low.copy()
    np.fmin.at(low, column, numeric.data)
    np.fmax.at(high, column, numeric.data)
    is_extreme = (numeric.data == low[column]) | (numeric.data == high[column])
    extreme = np.bincount(column[is_extreme], minlength=n_columns)
    extreme += np.where((low == 0) | (high == 0), zeros, 0)
    return missing, _distinct(low, high, extreme + missing == n_rows), zeros, incomplete


def _distinct(
    low: NDArray[np.float64], high: NDArray[np.float64], only_extremes: NDArray[np.bool_]
) -> Counts:
    return np.select([np.isnan(low), low == high, only_extremes], [0, 1, 2], default=3)
