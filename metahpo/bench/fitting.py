"""Fitting and scoring on prepared tables, in a process of its own, under a hard time limit."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from metahpo.bench.importing import find_learner
from metahpo.collect import Settings
from metahpo.collect.evaluator import Evaluator
from metahpo.collect.tables import read_table
from metahpo.collect.worker import Outcome, Preprocess, Unit
from metahpo.evaluation import Fold, preprocessed_folds

_mine = threading.local()  # a worker of Dask may play in several threads


@dataclass(frozen=True)
class Fitting:
    """A configuration to score on a table.

    Attributes
    ----------
    learner : str
        See :func:`metahpo.bench.importing.find_learner`.
    config : str
        As JSON.
    train : Path
        The table that is cross-validated on, or fitted on.
    test : Path or None
        The table that is scored on; None for the mean of the cross-validation.
    settings : Settings
    share : float
        Of the rows of the cross-validation's folds.
    """

    learner: str
    config: str
    train: Path
    test: Path | None
    settings: Settings
    share: float = 1.0


@dataclass(frozen=True)
class SharedUnit(Unit):
    """Configurations to cross-validate on a share of the rows."""

    share: float

    def folds(self, preprocess: Preprocess) -> list[Fold]:
        """Return the cross-validation's folds, with some of their rows."""
        return _shared_folds(self.table, self.settings, preprocess, self.share)


@lru_cache(maxsize=4)
def _shared_folds(
    table: Path, settings: Settings, preprocess: Preprocess, share: float
) -> list[Fold]:
    X, y = read_table(table)
    return preprocessed_folds(
        X, y, settings.task, preprocess.pipeline, settings.n_folds, settings.seed, share
    )


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
    settings = fitting.settings
    learner = find_learner(fitting.learner, settings.task)
    unit: Unit
    if fitting.test is not None:
        unit = OuterUnit(fitting.train, learner, configs, settings, fitting.test)
    elif fitting.share < 1:
        unit = SharedUnit(fitting.train, learner, configs, settings, fitting.share)
    else:
        unit = Unit(fitting.train, learner, configs, settings)
    (outcome,) = _evaluator().evaluate(unit)
    return outcome


def _evaluator() -> Evaluator:
    if not hasattr(_mine, "evaluator"):
        _mine.evaluator = Evaluator()  # its process ends with this one, however that ends
    evaluator: Evaluator = _mine.evaluator
    return evaluator
