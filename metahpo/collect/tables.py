"""The table of a task as it is evaluated: cleaned, capped in rows and columns, kept on disk.

A collection works on these small tables: they make its memory independent of the size of the
datasets, give every worker the same rows, and let an interrupted collection go on offline. They
hold raw data, so they are a working cache beside the MetaDataset and no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pandas as pd

from metahpo.collect.plan import Settings
from metahpo.files import replace_file
from metahpo.fingerprint import fingerprint

TARGET = "__target__"
TaskKind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Task:
    """A dataset with something to predict.

    Attributes
    ----------
    name : str
        What people call it.
    task : {"classification", "regression"}
        Kind of the task.
    X : DataFrame
        The columns to predict from.
    y : Series
        The target; rows without one are left out.
    dataset_id : int or None, default=None
        OpenML's number, where it has one.
    """

    name: str
    task: TaskKind
    X: pd.DataFrame
    y: pd.Series[Any]
    dataset_id: int | None = None


Loader = Callable[[], Task]
"""Loads a task when it is its turn; only one is in memory at a time."""


class UnusableTaskError(ValueError):
    """A task that a collection cannot evaluate on."""


@dataclass(frozen=True)
class Table:
    """A task's table on disk, and what is known of where it came from.

    Attributes
    ----------
    path : Path
        Parquet file of the capped table, the target as its last column.
    info : dict
        name, dataset_id, rows and columns of the full table, used_rows, used_columns, n_classes,
        and the full table's fingerprint as JSON text.
    """

    path: Path
    info: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, task_id: str) -> Table:
        """Find a prepared table.

        Raises
        ------
        ValueError
            If it is not there.
        """
        path = folder / f"{quote(task_id, safe='')}.parquet"
        try:
            return cls(path, json.loads(path.with_suffix(".json").read_text()))
        except FileNotFoundError:
            raise ValueError(
                f"the table of task {task_id} is not in {folder}; collect on that task again, "
                "which makes it without repeating an evaluation"
            ) from None


def prepare(folder: Path, task_id: str, load: Loader, settings: Settings) -> Table:
    """Return the task's table, made from its source only if it is not on disk yet.

    Raises
    ------
    UnusableTaskError
        If the task is of another kind than the collection, or nothing is left to learn from.
    """
    path = folder / f"{quote(task_id, safe='')}.parquet"
    if not path.with_suffix(".json").exists():
        task = load()
        if task.task != settings.task:
            raise UnusableTaskError(
                f"task {task_id} ({task.name}) is a {task.task} task; "
                f"this collection is of {settings.task} tasks"
            )
        X, y = cap(task, settings)
        if len(y) < 2 * settings.n_folds or y.nunique() < 2:
            raise UnusableTaskError(
                f"task {task_id} ({task.name}) has {len(y)} usable rows and {y.nunique()} "
                "different targets: too little to cross-validate"
            )
        with replace_file(path) as temporary:
            X.assign(**{TARGET: y}).to_parquet(temporary, compression="zstd")
        with replace_file(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(describe_source(task, X, y), indent=1))
    return Table.read(folder, task_id)


def read_table(path: Path) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Read a prepared table: X and y."""
    frame = pd.read_parquet(path)
    return frame.drop(columns=TARGET), frame[TARGET]


def describe_source(task: Task, X: pd.DataFrame, y: pd.Series[Any]) -> dict[str, Any]:
    """Say where a table came from and how much of it is used."""
    return {
        "name": task.name,
        "dataset_id": task.dataset_id,
        "rows": len(task.X),
        "columns": task.X.shape[1],
        "used_rows": len(X),
        "used_columns": X.shape[1],
        "n_classes": int(y.nunique()) if task.task == "classification" else 0,
        "fingerprint": json.dumps(fingerprint(task.X, task.y).to_json()),
    }


def cap(task: Task, settings: Settings) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Cut a task down to the collection's caps.

    Rows are a seeded sample, stratified by class; columns a seeded choice in their own order.
    Classes with fewer members than folds are left out, since a fold would lack them. Labels
    become 0, 1, … in sorted order.
    """
    rng = np.random.default_rng(settings.seed)
    X, y = clean(task.X), task.y.reset_index(drop=True)
    known = y.notna().to_numpy()
    X, y = X[known], y[known]
    if X.shape[1] > settings.max_columns:
        kept = np.sort(rng.choice(X.shape[1], settings.max_columns, replace=False))
        X = X.iloc[:, kept]
    rows = sample_rows(y, settings)
    X, y = X.iloc[rows], y.iloc[rows]
    if task.task == "classification":
        members = y.astype(str).map(y.astype(str).value_counts())
        X, y = X[members >= settings.n_folds], y[members >= settings.n_folds]
        y = pd.Series(np.unique(y.astype(str), return_inverse=True)[1], index=y.index)
    else:
        y = y.astype(float)
    return X.reset_index(drop=True), y.reset_index(drop=True)


def sample_rows(y: pd.Series[Any], settings: Settings) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose at most ``settings.max_rows`` rows, in their own order, stratified by class."""
    from sklearn.utils import resample

    rows = np.arange(len(y))
    if len(rows) <= settings.max_rows:
        return rows
    kept = resample(
        rows,
        replace=False,
        n_samples=settings.max_rows,
        stratify=y.astype(str) if settings.task == "classification" else None,
        random_state=settings.seed,
    )
    return np.sort(np.asarray(kept))


def clean(X: pd.DataFrame) -> pd.DataFrame:
    """Give the columns unique string names and types that a Parquet file can hold."""
    names = pd.Series([str(name) for name in X.columns])
    repeated = names.duplicated(keep=False)
    names[repeated] = names[repeated] + "_" + repeated[repeated].index.astype(str)
    X = X.set_axis(list(names), axis=1).reset_index(drop=True)
    for name, dtype in X.dtypes.items():
        if isinstance(dtype, pd.SparseDtype):
            X[name] = X[name].astype(dtype.subtype)
        elif pd.api.types.is_object_dtype(dtype):  # mixed values: read as text, gaps kept
            X[name] = X[name].map(str, na_action="ignore")
    return X
