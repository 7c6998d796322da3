"""Where tables come from: OpenML's tasks with their own folds, and what scikit-learn brings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from metahpo.catalogue import Task as Kind
from metahpo.collect import Task
from metahpo.openml import Rows, fetch_split, fetch_task

N_OUTER = 10  # outer folds of a dataset that has none of its own, as OpenML's tasks mostly have


class Source(ABC):
    """A dataset that can be fetched, and its outer folds.

    Attributes
    ----------
    task_id : str
    """

    task_id: str

    @abstractmethod
    def load(self) -> Task:
        """Fetch the table."""

    @abstractmethod
    def split(self, task: Task, fold: int) -> tuple[Rows, Rows]:
        """Return the rows of an outer fold's training part and of its test part."""


class OpenMLSource(Source):
    """A task of OpenML, with its own folds."""

    def __init__(self, task_id: int) -> None:
        self.task_id = str(task_id)

    def load(self) -> Task:
        """Fetch the table through the openml client.

        Raises
        ------
        OpenMLError
            If it cannot be had.
        """
        found = fetch_task(int(self.task_id))
        return Task(found.name, found.task, found.X, found.y, found.dataset_id)

    def split(self, task: Task, fold: int) -> tuple[Rows, Rows]:
        """Fetch the fold's rows through the openml client."""
        return fetch_split(int(self.task_id), fold)


BUNDLED: Mapping[str, Kind] = {
    "breast_cancer": "classification",
    "diabetes": "regression",
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
}


class BundledSource(Source):
    """A dataset that comes with scikit-learn, in ten folds, shuffled and stratified.

    Raises
    ------
    ValueError
        If there is none of this name.
    """

    def __init__(self, name: str) -> None:
        if name not in BUNDLED:
            raise ValueError(f"datasets holds {name!r}; scikit-learn's are {', '.join(BUNDLED)}")
        self.task_id = name

    def load(self) -> Task:
        """Read the table."""
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{self.task_id}")(return_X_y=True, as_frame=True)
        return Task(self.task_id, BUNDLED[self.task_id], X, y)

    def split(self, task: Task, fold: int) -> tuple[Rows, Rows]:
        """Return a fold of a shuffled cross-validation of seed 0."""
        from sklearn.model_selection import KFold, StratifiedKFold

        kind = StratifiedKFold if task.task == "classification" else KFold
        if not 0 <= fold < N_OUTER:
            raise ValueError(f"folds holds {fold}; {self.task_id} has folds 0 to {N_OUTER - 1}")
        parts = list(kind(N_OUTER, shuffle=True, random_state=0).split(task.X, task.y))
        train, test = parts[fold]
        return train, test
