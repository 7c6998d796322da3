"""What a method is given, and what is asked of it: the whole interface between ring and tuner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pandas as pd

from metahpo.catalogue import Learner
from metahpo.metadataset import Direction, MetaDataset
from metahpo.metafeatures import MetaFeatures
from metahpo.metamodel import MetaModel
from metahpo.space import Config, Space


@dataclass(frozen=True)
class Glimpse:
    """A configuration that a method wants to see on a share of the rows.

    It costs that share of a trial, and is no score of the problem: nobody's best comes of it.

    Attributes
    ----------
    config : dict
    share : float
        Of the rows of every inner fold, of those that are fitted on and of those that are scored
        on; between 0 and 1.
    """

    config: Config
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"the share of a glimpse is {self.share}; it must be between 0 and 1")


class Tuner(Protocol):
    """A method at work on one problem: ask and tell."""

    def ask(self) -> Config | Glimpse:
        """Return the configuration to evaluate next: a whole one, of the problem's space."""

    def tell(self, config: Config, score: float) -> None:
        """Take note of the score of what was asked for; NaN where it failed.

        On a problem with candidates it may be another configuration than was asked for: the
        nearest candidate that was free.
        """


@runtime_checkable
class Timed(Protocol):
    """What a tuner has, too, if it learns from what evaluations take."""

    def took(self, seconds: float) -> None:
        """Take note of what the evaluation took whose score is told next."""


class Table(NamedTuple):
    """What a configuration is cross-validated on.

    Attributes
    ----------
    X : DataFrame
    y : Series
        Of a classification: the classes' numbers.
    n_folds : int
        Of the cross-validation.
    """

    X: pd.DataFrame
    y: pd.Series[Any]
    n_folds: int


@dataclass(frozen=True)
class Knowledge:
    """What is known before the first trial; each part is made when it is first asked for.

    Attributes
    ----------
    model : callable
        Returns a meta-model that was not trained on the task.
    evaluations : callable
        Returns what such a model is trained on: earlier tasks' evaluations.
    describe : callable
        Returns the task's meta-features.
    table : callable or None
        Returns the rows that are tuned on; None where there are none, as in a history.
    """

    model: Callable[[], MetaModel]
    evaluations: Callable[[], MetaDataset]
    describe: Callable[[], Mapping[str, float]]
    table: Callable[[], Table] | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """A tuning problem as a method sees it.

    Attributes
    ----------
    space : Space
        What may be suggested. Its ``default`` is the library's default configuration.
    direction : {"maximize", "minimize"}
    metric : str
    seed : int
    n_trials : int or None
        The budget; None where it is in seconds.
    learner : Learner or None
        What is tuned; None for a history.
    candidates : DataFrame or None
        Of a history: the configurations whose score is known, a column a parameter.
    knowledge : Knowledge
    """

    space: Space
    direction: Direction
    metric: str
    seed: int
    n_trials: int | None
    knowledge: Knowledge
    learner: Learner | None = None
    candidates: pd.DataFrame | None = None

    @property
    def model(self) -> MetaModel:
        """A meta-model that was not trained on this task."""
        return self.knowledge.model()

    @property
    def evaluations(self) -> MetaDataset:
        """The evaluations of earlier tasks that such a model is trained on."""
        return self.knowledge.evaluations()

    @cached_property
    def meta_features(self) -> Mapping[str, float]:
        """The task's meta-features, of the part of the table that is tuned on."""
        return self.knowledge.describe()

    @property
    def table(self) -> Table:
        """The rows that are tuned on, without the outer fold's.

        Raises
        ------
        ValueError
            If there are none: all that is known of the task are scores.
        """
        if self.knowledge.table is None:
            raise ValueError("this problem has no table: all that is known of it are scores")
        return self.knowledge.table()

    @property
    def seconds_describing(self) -> float:
        """What the meta-features cost; 0 where nobody asked for them."""
        described = self.__dict__.get("meta_features")
        return described.seconds if isinstance(described, MetaFeatures) else 0.0

    def configs(self) -> list[Config]:
        """Return the candidates as configurations.

        Raises
        ------
        ValueError
            If there are none: any configuration of the space may be tried.
        """
        if self.candidates is None:
            raise ValueError("this problem has no candidates; its whole space can be tried")
        return self.space.from_frame(self.candidates)

    def options(self) -> dict[str, Any]:
        """Return what :class:`metahpo.MetaOptimizer` wants to know beside the model."""
        return {
            "space": self.space,
            "candidates": self.candidates,
            "seed": self.seed,
            "direction": self.direction,
        }
