"""Source: where few-shot tasks come from, with any number of shots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from metahpo.engine import Episodes, TaskSource

Split = Literal["train", "val", "test"]


class Source(ABC):
    """Settings of a family of tasks; implemented by frozen dataclasses.

    Nothing is read or fetched before tasks are asked for.

    Attributes
    ----------
    kind : str
        What a task file calls it.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def classes(self) -> int | None:
        """Classes a task; None for regression."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    @abstractmethod
    def tasks(self, split: Split, *, shots: int, queries: int) -> TaskSource:
        """Return the tasks of a split.

        Parameters
        ----------
        split : {"train", "val", "test"}
            Where tasks are cut from data, no two splits share any.
        shots, queries : int
            Examples in the support and in the query set: of each class in classification.
        """

    @property
    def has_labels(self) -> bool:
        """Whether :meth:`labelled` can be asked."""
        return False

    def labelled(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return all examples of a split with labels that mean the same in every task.

        Returns
        -------
        (Tensor, Tensor)
            x (n, …) and y (n,), counted from 0.
        """
        raise NotImplementedError(f"{self.kind} tasks share no labels")

    @property
    def has_oracle(self) -> bool:
        """Whether :meth:`oracle` can be asked."""
        return False

    def oracle(self, episodes: Episodes) -> Tensor:
        """Predict the queries knowing what no learner is told: the form of the functions.

        Returns
        -------
        Tensor
            Shaped as ``episodes.query_y``.
        """
        raise NotImplementedError(f"{self.kind} tasks have no oracle")
