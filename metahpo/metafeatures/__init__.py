"""Meta-features: what a table looks like, in numbers that any two tables can be compared by."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from metahpo.metafeatures.canonical import CanonicalOrder, canonical_order
from metahpo.metafeatures.information import information
from metahpo.metafeatures.landmarkers import MAX_ROWS as MAX_LANDMARK_ROWS
from metahpo.metafeatures.landmarkers import landmarkers
from metahpo.metafeatures.simple import simple, simple_target
from metahpo.metafeatures.statistical import Columns, statistical
from metahpo.metafeatures.table import Table, align, prepare_table
from metahpo.metafeatures.target import Target, Task, infer_task, prepare_target

__all__ = ["FEATURE_NAMES", "VERSION", "MetaFeatures", "describe", "infer_task"]

# Raised whenever a definition changes: values of different versions must not be compared.
VERSION = 1

MAX_SAMPLE_CELLS = 1_000_000
MIN_SAMPLE_ROWS = 1_000
MAX_SAMPLE_COLUMNS = 1_000  # numeric, and as many categorical


class MetaFeatures(Mapping[str, float]):
    """The meta-features of one table, a read-only mapping from name to value.

    Every table has the same names in the same order; what is undefined for it is NaN.

    Parameters
    ----------
    values : Mapping[str, float]
    task : {"classification", "regression"}
    seconds : float
        Wall-clock time that describing took.
    version : int
        Version of the definitions.
    """

    __slots__ = ("_values", "seconds", "task", "version")

    def __init__(
        self, values: Mapping[str, float], task: Task, seconds: float = 0.0, version: int = VERSION
    ) -> None:
        self._values = dict(values)
        self.task = task
        self.seconds = seconds
        self.version = version

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        rows = "\n".join(f"  {name:<24}{value:.6g}" for name, value in self.items())
        return f"MetaFeatures(task={self.task!r}, version={self.version})\n{rows}"


def describe(X: Any, y: Any, task: str = "auto", *, seed: int = 0) -> MetaFeatures:
    """Describe a supervised task by its meta-features.

    The values depend on what the table holds, not on how it is laid out: shuffled rows, moved or
    renamed columns and renamed classes give the same values up to rounding.

    Parameters
    ----------
    X : DataFrame, ndarray or scipy sparse matrix of shape (n_rows, n_columns)
        Any dtypes, with missing values. Booleans, text, categories and mixed objects are
        categorical; dates and durations numeric; infinite values count as missing.
    y : array-like of shape (n_rows,)
        Labels or numbers. Rows without a target are left out.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" asks `infer_task`.
    seed : int, default=0
        Picks the rows of the samples.

    Returns
    -------
    MetaFeatures

    Raises
    ------
    ValueError
        If ``X`` is no table, is empty or does not match ``y`` in length, or if ``y`` is missing
        altogether, infinite, or does not fit ``task``.

    Notes
    -----
    Sizes, types, missing values and the target are counted on the whole table. Statistical and
    information-theoretic features are exact up to a million cells (1,000 numeric and 1,000
    categorical columns, of a longer table the rows that fit, 1,000 at least; ``sample_rows`` says
    how many), principal components use up to 300 columns, landmarkers up to 1,000 rows
    (``lm_rows``). Samples are stratified by class.

    Where pymfe (Alcobaça et al. 2020) defines a feature, name and value are pymfe's; columns for
    which it is undefined are left out of its summaries.
    """
    start = time.perf_counter()
    target, present = prepare_target(y, task)
    # One thread: on a table of this size, more cost processor time and save none.
    with np.errstate(all="ignore"), threadpool_limits(1):
        values = _compute(prepare_table(align(X, present)), target, seed)
    return MetaFeatures(values, target.task, time.perf_counter() - start)


def _compute(table: Table, target: Target, seed: int) -> dict[str, float]:
    order = canonical_order(table, target, seed)
    sample, sample_target = _sample(table, order, _sample_rows(table), MAX_SAMPLE_COLUMNS)
    columns = Columns.of(sample)
    few, few_target = _sample(table, order, MAX_LANDMARK_ROWS, MAX_SAMPLE_COLUMNS)
    return {
        name: float(value)
        for name, value in {
            **simple(table, order.n_distinct),
            **simple_target(order.target),
            **statistical(sample, columns, sample_target),
            **information(sample, columns, sample_target),
            **landmarkers(few, few_target),
            "sample_rows": sample.n_rows,
        }.items()
    }


def _sample_rows(table: Table) -> int:
    width = min(table.n_numeric, MAX_SAMPLE_COLUMNS) + min(table.n_categorical, MAX_SAMPLE_COLUMNS)
    return max(MIN_SAMPLE_ROWS, MAX_SAMPLE_CELLS // width)


def _sample(
    table: Table, order: CanonicalOrder, n_rows: int, n_columns: int
) -> tuple[Table, Target]:
    rows = order.rows[:n_rows]
    part = table.take(rows, order.numeric[:n_columns], order.categorical[:n_columns])
    return part, order.target.take(rows)


def _names() -> tuple[str, ...]:
    """Read the names off a table of two rows; every table has the same."""
    table = Table(np.zeros((2, 1)), np.zeros((2, 0), np.int32), ())
    with np.errstate(all="ignore"):
        return tuple(_compute(table, Target("classification", np.array([0, 1])), 0))


FEATURE_NAMES: tuple[str, ...] = _names()
