"""One column of a DataFrame, read as numbers or as categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    Column = pd.Series[Any]

NUMBER_KINDS = ("integer", "floating", "mixed-integer-float", "decimal")
DATE_KINDS = ("datetime", "datetime64", "date", "timedelta", "timedelta64", "period", "time")


def kind_of(column: Column) -> str:
    """Return pandas' word for what the present values are ("string", "integer", "date", …)."""
    return str(pd.api.types.infer_dtype(column, skipna=True))


def read_numbers(column: Column) -> NDArray[np.float64] | None:
    """Return a column as float64 with NaN for missing, or None if it is categorical.

    Dates become seconds since 1970, durations seconds. A column of objects is numeric if all its
    present values are; text is never parsed. A column without any value is numeric.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return read_numbers(pd.Series(np.asarray(column)))
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
        return None
    if pd.api.types.is_numeric_dtype(dtype):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    if isinstance(dtype, pd.ArrowDtype):  # dates, decimals, text; numbers have gone above
        return _read_objects(column.astype(object))
    if isinstance(dtype, pd.PeriodDtype):
        return _seconds(column.dt.start_time)
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return _seconds(column)
    return _read_objects(column) if pd.api.types.is_object_dtype(dtype) else None


def _seconds(column: Column) -> NDArray[np.float64]:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = column - pd.Timestamp(0, tz=column.dt.tz)
    return np.asarray(column.dt.total_seconds(), dtype=np.float64)


def _read_objects(column: Column) -> NDArray[np.float64] | None:
    kind = kind_of(column)
    if kind in NUMBER_KINDS:
        return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    if kind in ("datetime", "datetime64", "date"):
        return _seconds(pd.to_datetime(column, errors="coerce", utc=True))
    if kind in ("timedelta", "timedelta64"):
        return _seconds(pd.to_timedelta(column, errors="coerce"))
    # All missing: nothing says that it is a category.
    return np.full(len(column), np.nan) if kind == "empty" else None


def read_categories(column: Column) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the code of each cell (-1 is missing) and a 64-bit hash of each level's text."""
    codes, levels = pd.factorize(as_labels(column))
    text = np.array([str(level) for level in levels], dtype=object)
    return codes.astype(np.int32), pd.util.hash_array(text, categorize=False)


def as_labels(column: Column) -> Column:
    """Replace values of mixed types by their text; or they may not hash, or 1 equal True."""
    if pd.api.types.is_object_dtype(column.dtype) and kind_of(column) != "string":
        return column.where(column.isna(), column.map(str))
    return column
