"""What is wrong with a table or a target, said before anything is fitted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets

from metahpo.catalogue import Task


def check_table(X: Any) -> None:
    """Check that a table has rows, and columns that can be told apart.

    Raises
    ------
    ValueError
        If there are no rows or no columns, if two columns have the same name, or for complex
        numbers.
    """
    shape = tuple(X.shape) if hasattr(X, "shape") else (len(X),)
    for size, what in zip(shape, ("sample", "feature"), strict=False):
        if size == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required."
            )
    if np.iscomplexobj(X):
        raise ValueError("Complex data not supported: X holds complex numbers")
    if isinstance(X, pd.DataFrame) and not X.columns.is_unique:
        twice = [str(name) for name in X.columns[X.columns.duplicated()].unique()]
        raise ValueError(f"X has several columns named {', '.join(map(repr, twice))}; rename them")


def check_target(y: Any, task: Task | None) -> None:
    """Check that a target suits the estimator.

    Parameters
    ----------
    y : array-like or None
    task : {"classification", "regression"} or None
        What the estimator does; None is not checked, nor are several targets.

    Raises
    ------
    ValueError
        For no target, for missing or infinite values, for text where a regressor needs numbers,
        and for fractions, a single row or a single class where a classifier needs classes.
    """
    if task is not None and y is None:
        raise ValueError(f"{task} requires y to be passed, but the target y is None")
    values = _single(y)
    if task is None or values is None:
        return
    if missing := int(values.isna().sum()):
        raise ValueError(
            f"Input y contains NaN: {missing} of {len(values)} values are missing; drop these rows"
        )
    if task == "regression":
        values = _numbers(values)
    if values.dtype.kind == "f":
        assert_all_finite(values.to_numpy(), input_name="y")
    if task == "classification":
        check_classification_targets(values.to_numpy())
        if len(values) == 1:
            raise ValueError("there is only one row (n_samples = 1); a classifier needs several")
        if values.nunique() < 2:
            raise ValueError(
                f"y has only one class, {_first(values)!r}; a classifier needs at least two"
            )


def check_folds(y: Any, cv: Any) -> None:
    """Check that every stratified fold can have a member of every class.

    Raises
    ------
    ValueError
        Naming the class that has too few.
    """
    values = _single(y)
    if values is None or not isinstance(cv, StratifiedKFold | StratifiedGroupKFold):
        return
    rarest, count = min(Counter(values).items(), key=lambda item: item[1])
    if count < cv.get_n_splits():
        raise ValueError(
            f"the class {rarest!r} has {count} member{'s' * (count > 1)}, fewer than the "
            f"{cv.get_n_splits()} folds; use fewer folds, or merge or drop the class"
        )


def _single(y: Any) -> pd.Series[Any] | None:
    """Return a target as one column; None where there are several, or none."""
    if y is None or (np.ndim(y) == 2 and np.shape(y)[1] > 1):
        return None
    return pd.Series(np.ravel(np.asarray(y)))


def _first(values: pd.Series[Any]) -> Any:
    """Return the first value as Python's, which prints without numpy's name of its type."""
    return values.tolist()[0]


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return values.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the estimator is a regressor, but y holds {_first(values)!r}; give numbers"
        ) from error
