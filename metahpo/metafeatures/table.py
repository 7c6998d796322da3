"""One preparation for any table: a numeric matrix and a matrix of category codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

FloatMatrix = NDArray[np.float64]


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

    numeric: FloatMatrix | sparse.csc_array
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
        part = self.numeric[:, numeric]
        part = part[rows]
        dense = part.toarray() if sparse.issparse(part) else part
        return Table(
            np.asfortranarray(dense),
            np.asfortranarray(self.codes[:, categorical][rows]),
            tuple(self.levels[column] for column in categorical),
        )


def prepare_table(X: Any) -> Table:
    """Read a DataFrame, an array (numbers, text or objects), or a scipy sparse matrix.

    Booleans, categories, text and objects of mixed types become categorical columns; numbers,
    dates, durations and objects that hold only numbers become numeric ones.

    Raises
    ------
    ValueError
        If ``X`` is not a table of two dimensions or has no row or no column.
    """
    if isinstance(X, pd.DataFrame):
        table = _from_frame
    elif sparse.issparse(X):
        table = _from_sparse
    elif isinstance(X, np.ndarray) or _is_nested(X):
        X = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)
        table = _from_array
    else:
        raise ValueError(f"X is {type(X).__name__}, not a table; give a DataFrame or 2-D array")
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; a table has two dimensions (rows, columns)")
    if 0 in X.shape:
        what = "rows" if X.shape[0] == 0 else "columns"
        raise ValueError(f"X has no {what} (its shape is {X.shape})")
    return table(X)


def _is_nested(X: Any) -> bool:
    return isinstance(X, (list, tuple)) and bool(X) and isinstance(X[0], (list, tuple, np.ndarray))


def _from_sparse(X: Any) -> Table:
    numeric = sparse.csc_array(X, dtype=np.float64, copy=True)
    numeric.sum_duplicates()
    numeric.data[np.isinf(numeric.data)] = np.nan
    numeric.eliminate_zeros()
    return Table(numeric, np.empty((X.shape[0], 0), np.int32), ())


def _from_array(X: NDArray[Any]) -> Table:
    if X.dtype.kind not in "iuf":
        return _from_frame(pd.DataFrame(X.astype(object) if X.dtype.kind in "US" else X))
    return Table(_finite(np.array(X, dtype=np.float64, order="F")), _no_codes(len(X)), ())


def _no_codes(n_rows: int) -> NDArray[np.int32]:
    return np.empty((n_rows, 0), np.int32, order="F")


def _finite(numeric: FloatMatrix) -> FloatMatrix:
    """Mark infinite values as missing, in place: no moment or quantile is defined with them."""
    numeric[np.isinf(numeric)] = np.nan
    return numeric


def _from_frame(X: pd.DataFrame) -> Table:
    numbers, codes, levels = [], [], []
    for position in range(X.shape[1]):  # by position: names may repeat
        column = X.iloc[:, position]
        values = _as_numbers(column)
        if values is not None:
            numbers.append(values)
        else:
            column_codes, column_levels = _as_categories(column)
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


def _as_numbers(column: pd.Series[Any]) -> NDArray[np.float64] | None:
    """Return a column as float64 with NaN for missing, or None if it is categorical."""
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
        dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        column = column.dt.start_time
        dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
        return None
    if pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        epoch = pd.Timestamp(0, tz=getattr(column.dt, "tz", None))
        return (column - epoch).dt.total_seconds().to_numpy(dtype=np.float64)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return column.dt.total_seconds().to_numpy(dtype=np.float64)
    return _objects_as_numbers(column) if pd.api.types.is_object_dtype(dtype) else None


def _objects_as_numbers(column: pd.Series[Any]) -> NDArray[np.float64] | None:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if kind in ("datetime", "datetime64", "date"):
        return _as_numbers(pd.to_datetime(column, errors="coerce", utc=True))
    if kind in ("timedelta", "timedelta64"):
        return _as_numbers(pd.to_timedelta(column, errors="coerce"))
    if kind == "empty":  # every value missing: nothing says that it is a category
        return np.full(len(column), np.nan)
    return None


def _as_categories(column: pd.Series[Any]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the code of each cell and the hash of each level's text."""
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) != "string":
        # Values of mixed types may be unhashable, or equal with different texts (1 and True).
        column = column.where(column.isna(), column.map(str))
    codes, levels = pd.factorize(column)
    text = np.array([str(level) for level in levels], dtype=object)
    return codes.astype(np.int32), pd.util.hash_array(text, categorize=False)
