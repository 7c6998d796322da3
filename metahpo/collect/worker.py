"""The process in which configurations are evaluated, one at a time, under a hard time limit.

Started by :class:`metahpo.collect.evaluator.Evaluator` with one end of a socket pair: it reads
pickled :class:`Unit` objects and answers with an :class:`Outcome` for every configuration as soon
as it has one.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import joblib
import numpy as np

from metahpo.collect.plan import Settings
from metahpo.collect.tables import read_table
from metahpo.evaluation import Fold, Status, evaluate, one_line, preprocessed_folds
from metahpo.space import Config

if TYPE_CHECKING:
    from metahpo.catalogue import Learner

READY = "ready"
TIMED_OUT = 1  # the exit status of faulthandler's watchdog
BROKEN = 70  # any other end of the process that Python sees (EX_SOFTWARE)


@dataclass(frozen=True)
class Unit:
    """Some configurations of one learner to evaluate on one task.

    Attributes
    ----------
    table : Path
        The task's prepared table.
    learner : Learner
        What to fit.
    configs : tuple of (int, dict)
        Configurations with their number in the learner's list.
    settings : Settings
        The rules of the collection.
    """

    table: Path
    learner: Learner
    configs: tuple[tuple[int, Config], ...]
    settings: Settings

    def folds(self, preprocess: Preprocess) -> list[Fold]:
        """Return what configurations are fitted and scored on: a cross-validation's folds."""
        return _folds(self.table, self.settings, preprocess)


@dataclass(frozen=True)
class Outcome:
    """What came of one configuration.

    Attributes
    ----------
    index : int
        Its number in the learner's list.
    score : float
        Mean of the metric over the folds; NaN unless `status` is "ok".
    fit_seconds : float
        Time spent fitting, summed over the folds.
    status : {"ok", "failed", "timeout"}
        How it ended.
    error : str or None
        One line on what went wrong.
    score_seconds : float
        Time spent predicting and scoring, summed over the folds.
    """

    index: int
    score: float
    fit_seconds: float
    status: Status
    error: str | None = None
    score_seconds: float = 0.0


def evaluate_unit(unit: Unit) -> Iterator[Outcome]:
    """Evaluate the unit's configurations in order.

    A configuration that outlives the time limit ends the process with :data:`TIMED_OUT`.
    """
    from sklearn.metrics import get_scorer

    scorer = get_scorer(unit.settings.metric)
    with Path(os.devnull).open("w") as nowhere:
        for index, config in unit.configs:
            try:
                pipeline = unit.learner.make(config, random_state=unit.settings.seed)
                folds = unit.folds(Preprocess(pipeline[:-1]))
                # The watchdog is a C thread: it needs neither the interpreter's lock nor the
                # parent, so it also stops a fit that never returns from C, and one whose parent
                # was killed.
                faulthandler.dump_traceback_later(
                    unit.settings.time_limit, exit=True, file=nowhere
                )
                outcome = Outcome(index, *evaluate(pipeline[-1], folds, scorer))
            except Exception as error:
                outcome = Outcome(index, np.nan, 0.0, "failed", one_line(error))
            finally:
                faulthandler.cancel_dump_traceback_later()
            yield outcome


class Preprocess:
    """An unfitted preprocessing, equal to every other that would be fitted to the same result."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._key = joblib.hash(pipeline)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preprocess) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=4)
def _folds(table: Path, settings: Settings, preprocess: Preprocess) -> list[Fold]:
    """Split a table and preprocess its folds, once for all configurations that share them."""
    X, y = read_table(table)
    return preprocessed_folds(
        X, y, settings.task, preprocess.pipeline, settings.n_folds, settings.seed
    )


def serve(file_descriptor: int) -> None:
    """Evaluate the units that arrive on a socket until its other end is closed."""
    try:
        with socket.socket(fileno=file_descriptor) as channel, channel.makefile("rwb") as stream:
            _serve(cast(IO[bytes], stream))
    except Exception as error:
        print(one_line(error, limit=1000), file=sys.stderr)
        os._exit(BROKEN)


def _serve(stream: IO[bytes]) -> None:
    def answer(message: object) -> None:
        pickle.dump(message, stream)
        stream.flush()

    answer(READY)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):  # learners print progress and warnings, from C too
        os.dup2(nowhere, standard)
    while True:
        try:
            unit = pickle.load(stream)
        except EOFError:
            return
        for outcome in evaluate_unit(unit):
            answer(outcome)
