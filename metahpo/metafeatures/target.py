"""The target column: which kind of task it makes, and its values as integer codes or floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.metafeatures.column import DATE_KINDS, as_labels, kind_of, read_numbers

if TYPE_CHECKING:
    from metahpo.metafeatures.column import Column

Task = Literal["classification", "regression"]

# Whole numbers are read as labels while there are few of them and each occurs several times;
# ratings (1 to 10) and digit labels stay on this side, ages and counts on the other.
MAX_INTEGER_CLASSES = 30
MIN_ROWS_PER_INTEGER_CLASS = 5


@dataclass(frozen=True)
class Target:
    """The target of a supervised task, without its missing values.

    Parameters
    ----------
    task : {"classification", "regression"}
    values : ndarray of shape (n_rows,)
        Class codes 0 … k-1 (int64), or numbers (float64).
    """

    task: Task
    values: NDArray[Any]

    @property
    def is_classification(self) -> bool:
        """Whether ``values`` are class codes."""
        return self.task == "classification"

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return int(self.values.max()) + 1 if self.is_classification else 0

    def take(self, rows: NDArray[np.intp]) -> Target:
        """Return the target of some rows; a class keeps its code."""
        return Target(self.task, self.values[rows])


def infer_task(y: Any) -> Task:
    """Judge whether a target column asks for classification or regression.

    Text, categories, booleans and mixed objects are classes. Numbers with a fractional part are
    regression. Whole numbers (of integer or floating dtype) are classes if at most two distinct
    values occur, or if at most 30 occur and each has on average five rows or more. This is
    scikit-learn's ``type_of_target``, except that it calls every column of whole numbers
    multiclass, also a price in full euros.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, 1)
        Missing values are left out of the judgement.

    Returns
    -------
    {"classification", "regression"}

    Raises
    ------
    ValueError
        If ``y`` is empty, all missing, has several columns, or holds dates.
    """
    return _infer(_present(_as_series(y)))


def prepare_target(y: Any, task: str = "auto") -> tuple[Target, NDArray[np.bool_]]:
    """Check ``y`` and turn it into codes or numbers.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, 1)
    task : {"auto", "classification", "regression"}

    Returns
    -------
    target : Target
        Of the rows whose target is present.
    present : ndarray of bool, shape (n_rows,)
        Those rows.

    Raises
    ------
    ValueError
        If ``y`` is empty, all missing, infinite, has several columns, or does not fit ``task``.
    """
    if task not in ("auto", "classification", "regression"):
        raise ValueError(f"task is {task!r}; use 'auto', 'classification' or 'regression'")
    series = _as_series(y)
    values = _present(series)
    present = series.notna().to_numpy()
    chosen = _infer(values) if task == "auto" else task
    numbers = read_numbers(values)
    if numbers is not None and np.isinf(numbers).any():
        rows = np.flatnonzero(present)[np.isinf(numbers)]
        what = "1 infinite value" if len(rows) == 1 else f"{len(rows):,} infinite values"
        raise ValueError(
            f"{_name(series)} has {what} (first in row {rows[0] + 1}); drop or replace such rows"
        )
    if chosen == "classification":
        codes, _ = pd.factorize(as_labels(values))
        return Target("classification", codes.astype(np.int64)), present
    _refuse_dates(values)
    if numbers is None:
        raise ValueError(
            f"{_name(series)} is not numeric (it holds {values.tolist()[0]!r}), "
            "so task='regression' does not fit; use task='classification'"
        )
    return Target("regression", numbers), present


def _as_series(y: Any) -> Column:
    if isinstance(y, pd.Series):
        return y.reset_index(drop=True)
    if isinstance(y, pd.DataFrame):
        if y.shape[1] != 1:
            raise ValueError(f"y has {y.shape[1]} columns; metahpo describes one target")
        return y.iloc[:, 0].reset_index(drop=True)
    if isinstance(y, (pd.Index, pd.api.extensions.ExtensionArray)):
        return pd.Series(y).reset_index(drop=True)
    array = y if isinstance(y, np.ndarray) else _array_of(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"y has shape {array.shape}; metahpo describes one target of shape (n,)")
    return pd.Series(array.astype(object) if array.dtype.kind in "US" else array)


def _array_of(y: Any) -> NDArray[Any]:
    """Read a list without numpy's habit of turning [1, "a"] into text."""
    if isinstance(y, (str, bytes)) or not hasattr(y, "__len__"):
        raise ValueError(f"y is {type(y).__name__}; give one label or number for each row")
    if any(isinstance(value, str) for value in y):
        return np.array(y, dtype=object)
    return np.asarray(y)


def _present(series: Column) -> Column:
    if series.empty:
        raise ValueError(f"{_name(series)} is empty; give one label or number for each row")
    values = series.dropna()
    if values.empty:
        raise ValueError(f"{_name(series)} has only missing values; nothing to learn from")
    return values


def _name(series: Column) -> str:
    return "target y" if series.name is None else f"target column {series.name!r}"


def _infer(values: Column) -> Task:
    _refuse_dates(values)
    numbers = read_numbers(values)
    if numbers is None:
        return "classification"
    if not np.all(numbers == np.floor(numbers)):
        return "regression"
    distinct = len(np.unique(numbers))
    few = distinct <= min(MAX_INTEGER_CLASSES, len(numbers) / MIN_ROWS_PER_INTEGER_CLASS)
    return "classification" if distinct <= 2 or few else "regression"


def _refuse_dates(values: Column) -> None:
    kind = kind_of(values)
    if kind in DATE_KINDS:
        raise ValueError(f"{_name(values)} holds dates or durations ({kind}); make it a number")
