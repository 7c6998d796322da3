"""Tables cut along their outer folds, prepared once and kept in the results folder.

So an interrupted benchmark goes on without OpenML, and every process sees the same rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from metahpo.bench.plan import Plan
from metahpo.bench.sources import Source
from metahpo.catalogue import Task as Kind
from metahpo.collect import Settings, Task, UnusableTaskError
from metahpo.collect.plan import DEFAULT_METRIC
from metahpo.collect.tables import TARGET, clean, sample_rows
from metahpo.files import replace_file
from metahpo.fingerprint import fingerprint
from metahpo.openml import Rows


@dataclass(frozen=True)
class Part:
    """What one outer fold tunes on, and what it tests on.

    Attributes
    ----------
    fold : int
    train : Path
        In the format of a collection's tables.
    test : Path or None
        None where the whole table is tuned on.
    """

    fold: int
    train: Path
    test: Path | None


@dataclass(frozen=True)
class Prepared:
    """A task whose tables are on disk.

    Attributes
    ----------
    task_id : str
    info : dict
        name, task (its kind), dataset_id, rows, columns, and the fingerprint of the whole table.
    parts : tuple of Part
    """

    task_id: str
    info: dict[str, Any]
    parts: tuple[Part, ...]

    @property
    def kind(self) -> Kind:
        """Classification or regression."""
        kind: Kind = self.info["task"]
        return kind


class Preparation:
    """Brings one source's tables onto disk, as far as they are not there yet.

    Parameters
    ----------
    source : Source
    plan : Plan
    folder : Path
        Where tables are kept.
    """

    def __init__(self, source: Source, plan: Plan, folder: Path) -> None:
        self._source, self._plan = source, plan
        self._stem = folder / quote(source.task_id, safe="")

    def run(self) -> Prepared:
        """Return the prepared task; its source is asked only for what is missing.

        Raises
        ------
        UnusableTaskError
            If there is too little in it to be cross-validated.
        OpenMLError
            If it cannot be had.
        """
        folds = self._plan.folds if self._plan.nested else (0,)
        parts = tuple(self._part(fold) for fold in folds)
        info_path = self._stem.with_suffix(".json")
        if not info_path.exists():
            with replace_file(info_path) as temporary:
                temporary.write_text(json.dumps(self._info(), indent=1))
        return Prepared(self._source.task_id, json.loads(info_path.read_text()), parts)

    @cached_property
    def _task(self) -> Task:
        return self._source.load()

    def _info(self) -> dict[str, Any]:
        task = self._task
        return {
            "name": task.name,
            "task": task.task,
            "dataset_id": task.dataset_id,
            "rows": len(task.X),
            "columns": task.X.shape[1],
            "fingerprint": fingerprint(task.X, task.y).to_json(),
        }

    def _part(self, fold: int) -> Part:
        kind = f"fold{fold}" if self._plan.nested else "all"
        train, test = (
            self._stem.with_name(f"{self._stem.name}~{kind}.{part}.parquet")
            for part in ("train", "test")
        )
        if not train.exists():
            cut = self._cut(fold) if self._plan.nested else self._whole()
            # the training part last: where it is there, the fold is complete
            for path, (X, y) in reversed(list(zip((train, test), cut, strict=False))):
                with replace_file(path) as temporary:
                    X.assign(**{TARGET: y}).to_parquet(temporary, compression="zstd")
        return Part(fold, train, test if self._plan.nested else None)

    def _whole(self) -> list[_Table]:
        task = self._task
        everything = np.arange(len(task.y))
        return self._capped(everything, everything[:0])[:1]

    def _cut(self, fold: int) -> list[_Table]:
        train, test = self._source.split(self._task, fold)
        return self._capped(train, test)

    def _capped(self, train: Rows, test: Rows) -> list[_Table]:
        """Return the table to tune on under the plan's caps, and the one to test on, uncapped.

        Classes with fewer members among the rows to tune on than there are inner folds are left
        out, there and in the test part: an inner fold would lack them.
        """
        task = self._task
        settings = self._plan.settings(task.task, DEFAULT_METRIC[task.task])
        X, y = clean(task.X), task.y.reset_index(drop=True)
        known = y.notna().to_numpy()
        train, test = train[known[train]], test[known[test]]
        train = train[sample_rows(y.iloc[train].reset_index(drop=True), settings)]
        if task.task == "classification":
            y = y.astype(str)
            members = y.iloc[train].value_counts()
            kept = np.sort(members.index[members >= settings.n_folds].to_numpy(dtype=str))
            train, test = (rows[y.iloc[rows].isin(kept).to_numpy()] for rows in (train, test))
            y = pd.Series(np.searchsorted(kept, y.to_numpy(dtype=str)))
        else:
            y = y.astype(float)
        self._refuse_unusable(y.iloc[train], settings)
        if X.shape[1] > settings.max_columns:
            rng = np.random.default_rng(settings.seed)
            X = X.iloc[:, np.sort(rng.choice(X.shape[1], settings.max_columns, replace=False))]
        return [
            (X.iloc[rows].reset_index(drop=True), y.iloc[rows].reset_index(drop=True))
            for rows in (train, test)
        ]

    def _refuse_unusable(self, y: pd.Series[Any], settings: Settings) -> None:
        if len(y) < 2 * settings.n_folds or y.nunique() < 2:
            raise UnusableTaskError(
                f"task {self._source.task_id} ({self._task.name}) has {len(y)} usable rows and "
                f"{y.nunique()} different targets: too little to cross-validate"
            )


_Table = tuple[pd.DataFrame, "pd.Series[Any]"]
