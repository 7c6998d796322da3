"""Few-shot classification tasks cut from labelled tables.

A task is a few rows of one table: some of its classes, some of its columns, both drawn anew. So
a column means something else in every task, and what can be learned across them is how to learn
from a handful of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from metahpo.engine import Episodes, LabelledTasks
from metahpo.fewshot.source import Source, Split


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """A table as numbers.

    Parameters
    ----------
    name : str
    x : ndarray of float32, shape (rows, columns)
        Standardised.
    y : ndarray of int64, shape (rows,)
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Tabular(Source):
    """Tasks cut from OpenML tables; the splits have tables of their own.

    Parameters
    ----------
    train, val, test : tuple of int
        OpenML ids of classification tasks. Tables that are alike belong into one split.
    ways : int, default=2
        Classes a task.
    features : int, default=8
        Columns a task is shown; see :class:`TabularTasks`.
    max_rows : int, default=1000
        A larger table is cut to a stratified sample.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    ways: int = 2
    features: int = 8
    max_rows: int = 1000

    kind: ClassVar[str] = "tabular"

    def __post_init__(self) -> None:
        shared = set(self.train) & {*self.val, *self.test} | set(self.val) & set(self.test)
        if shared:
            raise ValueError(f"task {min(shared)} is in several splits")
        for split in get_args(Split):
            if not getattr(self, split):
                raise ValueError(f"{split} names no OpenML task")

    @property
    def classes(self) -> int:
        """The ways."""
        return self.ways

    @property
    def shape(self) -> tuple[int, ...]:
        """The features."""
        return (self.features,)

    def tasks(self, split: Split, *, shots: int, queries: int) -> TabularTasks:
        """Return the tasks cut from a split's tables, which are fetched if need be.

        Raises
        ------
        OpenMLError
            If a table cannot be fetched.
        ValueError
            Naming the table that is too small, or no classification task.
        """
        tables = [read_openml_rows(one, self.max_rows) for one in getattr(self, split)]
        return TabularTasks(
            tables, features=self.features, ways=self.ways, shots=shots, queries=queries
        )


@cache
def read_openml_rows(task_id: int, max_rows: int) -> LabelledRows:
    """Fetch an OpenML classification task and make it numbers.

    Categories become one-hot, missing values are imputed, columns standardised: on the whole
    table, without its labels.

    Parameters
    ----------
    task_id : int
    max_rows : int
        A larger table is cut to a stratified sample, the same every time.

    Raises
    ------
    OpenMLError
        If the task cannot be fetched.
    ValueError
        If it is a regression task.
    """
    from metahpo.catalogue.preprocessing import preprocessor
    from metahpo.collect import Settings, openml_tasks
    from metahpo.collect.tables import cap

    task = openml_tasks([task_id])[str(task_id)]()
    if task.task != "classification":
        raise ValueError(f"task {task_id} ({task.name}) is a {task.task} task; it has no classes")
    X, y = cap(task, Settings("classification", "accuracy", n_folds=2, max_rows=max_rows))
    x = np.asarray(preprocessor("scaled").fit_transform(X), dtype=np.float32)
    return LabelledRows(task.name, x, np.array(y, dtype=np.int64))


class TabularTasks:
    """N-way K-shot tasks, each from one of several tables.

    Parameters
    ----------
    tables : sequence of LabelledRows
    features : int
        Columns a task is shown, drawn from its table's; where the table has fewer, the rest is 0.
    ways, shots, queries : int
        Classes, and rows a class in the support and in the query set.

    Raises
    ------
    ValueError
        Naming the table that has too few classes or rows.
    """

    def __init__(
        self,
        tables: Sequence[LabelledRows],
        *,
        features: int,
        ways: int,
        shots: int,
        queries: int,
    ) -> None:
        self._features = features
        self._tables = []
        for table in tables:
            x, y = torch.from_numpy(table.x), torch.from_numpy(table.y)
            try:
                one = LabelledTasks(x, y, ways=ways, shots=shots, queries=queries)
            except ValueError as error:
                raise ValueError(f"the table {table.name!r}: {error}") from error
            self._tables.append(one)

    def sample(self, tasks: int, generator: Generator) -> Episodes:
        """Draw a batch of tasks: x (B, ways·shots, features)."""
        drawn = [self._one(generator) for _ in range(tasks)]
        return Episodes(
            torch.cat([one.support_x for one in drawn]),
            torch.cat([one.support_y for one in drawn]),
            torch.cat([one.query_x for one in drawn]),
            torch.cat([one.query_y for one in drawn]),
        )

    def _one(self, generator: Generator) -> Episodes:
        table = self._tables[int(torch.randint(len(self._tables), (), generator=generator))]
        rows = table.sample(1, generator)
        columns = torch.randperm(rows.support_x.shape[-1], generator=generator)
        return Episodes(
            self._shown(rows.support_x, columns),
            rows.support_y,
            self._shown(rows.query_x, columns),
            rows.query_y,
        )

    def _shown(self, x: Tensor, columns: Tensor) -> Tensor:
        shown = x[..., columns[: self._features]]
        missing = self._features - shown.shape[-1]
        return torch.nn.functional.pad(shown, (0, missing)) if missing else shown
