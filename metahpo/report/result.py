"""The result of tuning, as the reports need it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from metahpo.catalogue import Learner
from metahpo.metamodel import MetaModel
from metahpo.optimizer import Explanation
from metahpo.space import Config
from metahpo.tables import LabelledTable
from metahpo.transfer import TransferReport


@dataclass(frozen=True)
class Tried:
    """One configuration that was tried.

    Attributes
    ----------
    number : int
        Counting from 1, in the order of the study.
    config : dict
        In the learner's own words.
    score : float
        Mean over the folds, in the metric's unit; NaN where the trial failed.
    seconds : float
        How long it took; NaN where unknown.
    error : str or None
        Why it failed, in one line.
    """

    number: int
    config: Config
    score: float
    seconds: float
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether no score came of it."""
        return math.isnan(self.score)


@dataclass(frozen=True, eq=False)
class TuningResult:
    """Everything that is reported of one study; scores are higher where better.

    Attributes
    ----------
    table : LabelledTable
    learner : Learner
    metric : str
        Name of a scikit-learn scorer.
    n_folds, seed : int
        Of the shuffled cross-validation.
    trials : sequence of Tried
        In the order of their numbers; at least one with a score.
    model : MetaModel
        The experience that the study started from.
    explanation : Explanation
        Of the best configuration.
    transfer : TransferReport
        What of the space the model knew.
    code : str
        The best pipeline as a program.
    default_score : float
        What the learner reaches with its library's own defaults; NaN if that failed.
    baselines : mapping of str to sequence of float, optional
        Best score so far after each trial of other methods at the same budget, where measured.
    command : str, default=""
        What was typed.
    study : str, default=""
        Its name.
    """

    table: LabelledTable
    learner: Learner
    metric: str
    n_folds: int
    seed: int
    trials: Sequence[Tried]
    model: MetaModel
    explanation: Explanation
    transfer: TransferReport
    code: str
    default_score: float
    baselines: Mapping[str, Sequence[float]] = field(default_factory=dict)
    command: str = ""
    study: str = ""

    @cached_property
    def best(self) -> Tried:
        """The first of the trials with the highest score."""
        return max(
            (trial for trial in self.trials if not trial.failed), key=lambda trial: trial.score
        )
