"""Fitting and scoring on prepared tables, in a process of its own, under a hard time limit."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from metahpo.catalogue import learners
from metahpo.collect import Settings
from metahpo.collect.evaluator import Evaluator
from metahpo.collect.tables import read_table
from metahpo.collect.worker import Outcome, Preprocess, Unit
from metahpo.evaluation import Fold

_mine = threading.local()  # a worker of Dask may play in several threads


@dataclass(frozen=True)
class Fitting:
    """A configuration to score on a table.

    Attributes
    ----------
    learner : str
    config : str
        As JSON.
    train : Path
        The table that is cross-validated on, or fitted on.
    test : Path or None
        The table that is scored on; None for the mean of the cross-validation.
    settings : Settings
    """

    learner: str
    config: str
    train: Path
    test: Path | None
    settings: Settings


@dataclass(frozen=True)
class OuterUnit(Unit):
    """Configurations to fit on the whole table and to score on another."""

    test: Path

    def folds(self, preprocess: Preprocess) -> list[Fold]:
        """Return the one fold that the two tables are."""
        return [_outer_fold(self.table, self.test, preprocess)]


@lru_cache(maxsize=4)
def _outer_fold(train: Path, test: Path, preprocess: Preprocess) -> Fold:
    (X, y), (X_test, y_test) = read_table(train), read_table(test)
    fitted, target = preprocess.pipeline, y.to_numpy()
    X_train = fitted.fit_transform(X, target)
    return Fold(X_train, target, fitted.transform(X_test), y_test.to_numpy())


@lru_cache(maxsize=100_000)
def fit(fitting: Fitting) -> Outcome:
    """Score a configuration; the same one is not fitted twice in a process.

    Methods and seeds meet on the same configurations (the default is in nearly everybody's
    study). What the first fit took is what it counts for all of them.
    """
    configs = ((0, json.loads(fitting.config)),)
    learner, settings = learners[fitting.learner], fitting.settings
    if fitting.test is None:
        unit = Unit(fitting.train, learner, configs, settings)
    else:
        unit = OuterUnit(fitting.train, learner, configs, settings, fitting.test)
    (outcome,) = _evaluator().evaluate(unit)
    return outcome


def _evaluator() -> Evaluator:
    if not hasattr(_mine, "evaluator"):
        _mine.evaluator = Evaluator()  # its process ends with this one, however that ends
    evaluator: Evaluator = _mine.evaluator
    return evaluator
