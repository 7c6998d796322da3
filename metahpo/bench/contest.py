"""Contests: where methods meet. A contest is one task with one learner and one outer fold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

from metahpo.bench.problem import Problem
from metahpo.metadataset import Direction
from metahpo.space import Config

Status = Literal["ok", "failed", "timeout", "crashed"]


class Trial(NamedTuple):
    """What came of one configuration."""

    score: float
    """NaN unless `status` is "ok"."""
    seconds: float = 0.0
    """What it took when it was evaluated."""
    status: Status = "ok"
    error: str | None = None


class Bounds(NamedTuple):
    """The best and the worst score that there is; NaN where nobody knows."""

    optimum: float = math.nan
    worst: float = math.nan


@dataclass(frozen=True)
class Contest(ABC):
    """A tuning problem that can be posed again and again, in any process.

    It is pickled to where it is played, so it holds names and paths; what those stand for is
    loaded there, once a process.

    Attributes
    ----------
    task, task_id : str
        What people call the dataset, and its number.
    learner : str
    metric : str
    direction : {"maximize", "minimize"}
    fold : int
    """

    task: str
    task_id: str
    learner: str
    metric: str
    direction: Direction
    fold: int

    @abstractmethod
    def problem(self, seed: int, n_trials: int | None) -> Problem:
        """Pose the problem."""

    @abstractmethod
    def evaluate(self, config: Config) -> Trial:
        """Score a configuration: the same one always comes to the same score."""

    def glimpse(self, config: Config, share: float) -> Trial:
        """Score a configuration on a share of the rows, the same ones for every configuration.

        Asked for only where the problem has a table.
        """
        raise NotImplementedError

    def admit(self, config: Config, tried: list[Config]) -> Config | None:
        """Return the configuration that is evaluated when a method asks for `config`.

        None where all that can be evaluated has been.
        """
        return config

    def test(self, config: Config) -> float:
        """Score a configuration on data that tuning has not seen; NaN where there is none."""
        return math.nan

    def warm_up(self) -> None:  # noqa: B027  # many have nothing to load
        """Load what does not belong to any method's time."""

    @property
    def own_model(self) -> str | None:
        """Folder of the meta-model that the benchmark trains for this contest; None for none.

        It is trained on what the problem's ``evaluations`` are.
        """
        return None

    @property
    def recorded(self) -> bool:
        """Whether evaluations were made, and timed, at another time and place."""
        return False

    @property
    def bounds(self) -> Bounds:
        """The best and the worst score that there is."""
        return Bounds()
