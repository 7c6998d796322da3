"""One preparation for any table: a numeric matrix and a matrix of category codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from metahpo.metafeatures.column import read_categories, read_numbers

# Full-table passes work on so many cells at a time, so that their temporaries stay in cache.
BLOCK_CELLS = 1 << 16


@dataclass(frozen=True)
class Table:
    """A table of mixed columns in the form that every group of meta-features reads.

    Parameters
    ----------
    numeric : ndarray or csc_array of shape (n_rows, n_numeric), float64
        NaN is missing. Infinite values count as missing. Dates are seconds since 1970, durations
        are seconds.
    codes : ndarray of shape (n_rows, n_categorical), int32
        Category of each cell, 0 … n_levels - 1; -1 is missing.
    levels : tuple of ndarray of uint64
        For each categorical column a 64-bit hash of the text of each of its levels.
    """

    numeric: NDArray[np.float64] | sparse.csc_array
    codes: NDArray[np.int32]
    levels: tuple[NDArray[np.uint64], ...]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.codes.shape[0])

    @property
    def n_numeric(self) -> int:
        """Number of numeric columns (dates and durations among them)."""
        return int(self.numeric.shape[1])

    @property
    def n_categorical(self) -> int:
        """Number of categorical columns (text and booleans among them)."""
        return int(self.codes.shape[1])

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.n_numeric + self.n_categorical

    def take(
        self, rows: NDArray[np.intp], numeric: NDArray[np.intp], categorical: NDArray[np.intp]
    ) -> Table:
        """Return some rows and columns as a dense table, in the order given."""
        part = self.numeric[:, numeric][rows]
        dense = part if isinstance(part, np.ndarray) else part.toarray()
        return Table(
            np.asfortranarray(dense),
            np.asfortranarray(self.codes[:, categorical][rows]),
            tuple(self.levels[column] for column in categorical),
        )


def column_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of columns that together hold about `BLOCK_CELLS` cells."""
    n_rows, n_columns = shape
    width = max(1, BLOCK_CELLS // n_rows)
    for start in range(0, n_columns, width):
        yield slice(start, min(start + width, n_columns))


def align(X: Any, present: NDArray[np.bool_]) -> Any:
    """Check a table and return its rows that have a target.

    Parameters
    ----------
    X : DataFrame, ndarray, nested list or scipy sparse matrix of shape (n_rows, n_columns)
    present : ndarray of bool, shape (n_rows,)

    Returns
    -------
    DataFrame, ndarray or scipy sparse matrix

    Raises
    ------
    ValueError
        If ``X`` is not a table of two dimensions, has no row or no column, or not as many rows as
        the target.
    """
    if isinstance(X, (list, tuple)):
        X = np.array(X, dtype=object)
    is_sparse: bool = sparse.issparse(X)
    if not (is_sparse or isinstance(X, (pd.DataFrame, np.ndarray))):
        raise ValueError(f"X is {type(X).__name__}, not a table; give a DataFrame or 2-D array")
    _check_shape(X.shape, len(present))
    if present.all():
        return X
    if isinstance(X, pd.DataFrame):
        return X.loc[present]
    return X.tocsr()[present] if is_sparse else X[present]  # some sparse formats have no rows


def _check_shape(shape: tuple[int, ...], n_targets: int) -> None:
    if len(shape) != 2:
        raise ValueError(f"X has shape {shape}; a table has two dimensions (rows, columns)")
    if 0 in shape:
        what = "rows" if shape[0] == 0 else "columns"
        raise ValueError(f"X has no {what} (its shape is {shape})")
    if shape[0] != n_targets:
        raise ValueError(f"X has {shape[0]} rows but y has {n_targets} values")


def prepare_table(X: Any) -> Table:
    """Read a table that `align` has checked into numbers and categories.

    Booleans, categories, text and objects of mixed types become categorical columns; numbers,
    dates, durations and objects that hold only numbers become numeric ones.
    """
    if isinstance(X, pd.DataFrame):
        return _from_frame(X)
    if not isinstance(X, np.ndarray):
        return _from_sparse(X)
    if X.dtype.kind in "iuf":
        numeric = _finite(np.array(X, dtype=np.float64, order="F"))
        return Table(numeric, np.empty((len(X), 0), np.int32), ())
    return _from_frame(pd.DataFrame(X.astype(object) if X.dtype.kind in "SU" else X))


def _from_sparse(X: Any) -> Table:
    numeric = sparse.csc_array(X, dtype=np.float64, copy=True)
    numeric.sum_duplicates()
    numeric.eliminate_zeros()
    _finite(numeric.data)
    return Table(numeric, np.empty((X.shape[0], 0), np.int32), ())


def _from_frame(X: pd.DataFrame) -> Table:
    numbers, codes, levels = [], [], []
    for position in range(X.shape[1]):  # by position: names may repeat
        column = X.iloc[:, position]
        values = read_numbers(column)
        if values is not None:
            numbers.append(values)
        else:
            column_codes, column_levels = read_categories(column)
            codes.append(column_codes)
            levels.append(column_levels)
    return Table(
        _finite(_stack(numbers, len(X), np.float64)),
        _stack(codes, len(X), np.int32),
        tuple(levels),
    )


def _stack(columns: list[NDArray[Any]], n_rows: int, dtype: Any) -> NDArray[Any]:
    matrix = np.empty((n_rows, len(columns)), dtype, order="F")
    for position, column in enumerate(columns):
        matrix[:, position] = column
    return matrix


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mark infinite values as missing, in place: no moment or quantile is defined with them."""
    values[np.isinf(values)] = np.nan
    return values
