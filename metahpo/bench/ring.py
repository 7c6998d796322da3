"""The ring: one method plays one contest with one seed. Everybody plays by these lines."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from urllib.parse import quote

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from metahpo.bench.contest import Contest, Trial
from metahpo.bench.plan import Budget, Entrant
from metahpo.bench.problem import Tuner
from metahpo.bench.runs import SCHEMA
from metahpo.evaluation import one_line
from metahpo.space import Config


@dataclass(frozen=True, eq=False)
class Unit:
    """The unit of work: a method on a task, a learner and a fold, with a seed.

    Attributes
    ----------
    contest : Contest
    entrant : Entrant
    seed : int
    budget : Budget
    """

    contest: Contest
    entrant: Entrant
    seed: int
    budget: Budget

    @property
    def key(self) -> str:
        """A name that no other unit of the benchmark has, fit for a file."""
        c = self.contest
        parts = (c.learner, c.task_id, f"fold{c.fold}", f"seed{self.seed}", self.entrant.name)
        return "~".join(quote(str(part), safe=" ") for part in parts)


def play(unit: Unit) -> pd.DataFrame:
    """Play a unit to the end.

    A method that raises has crashed: the trials it has left are lost, and are recorded as such.

    Returns
    -------
    DataFrame
        The columns of :data:`metahpo.bench.runs.SCHEMA`, one row a trial.
    """
    # One thread, so that methods do not profit from how many run beside them; and warnings of
    # what is compared are not the reader's.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if unit.entrant.found.warm:
            unit.contest.warm_up()
        rows = list(_Game(unit).rows())
    c, bounds = unit.contest, unit.contest.bounds
    facts = {
        "task": c.task,
        "task_id": c.task_id,
        "learner": c.learner,
        "metric": c.metric,
        "direction": c.direction,
        "method": unit.entrant.name,
        "seed": unit.seed,
        "fold": c.fold,
        "optimum": bounds.optimum,
        "worst": bounds.worst,
    }
    table = pd.DataFrame([{**facts, **asdict(row)} for row in rows], columns=SCHEMA.names)
    return table


@dataclass
class _Row:
    trial: int
    config: str | None
    score: float
    status: str
    error: str | None
    best: float
    test_score: float
    suggest_seconds: float
    evaluate_seconds: float
    elapsed: float


class _Game:
    """One unit while it is played."""

    def __init__(self, unit: Unit) -> None:
        self._unit, self._contest = unit, unit.contest
        self._sign = 1.0 if unit.contest.direction == "maximize" else -1.0
        self._tried: list[Config] = []
        self._best = self._test = math.nan
        self._elapsed = 0.0

    def rows(self) -> Iterator[_Row]:
        """Yield a row a trial, until the budget is used up."""
        unit = self._unit
        problem = self._contest.problem(unit.seed, unit.budget.trials)
        partial = problem.candidates is not None  # a history may lack values that nothing excuses
        tuner: Tuner | None = None
        number = 0
        while not self._is_over(number):
            number += 1
            asked = time.perf_counter()
            try:
                if tuner is None:
                    tuner = unit.entrant.found.make(problem, **unit.entrant.settings)
                wanted = problem.space.validate(tuner.ask(), partial=partial)
            except Exception as error:
                yield from self._lost(number, one_line(error), time.perf_counter() - asked)
                return
            seconds = time.perf_counter() - asked
            if number == 1:
                seconds += problem.seconds_describing
            config = self._contest.admit(wanted, self._tried)
            if config is None:
                return
            trial = self._contest.evaluate(config)
            told = time.perf_counter()
            try:
                tuner.tell(config, trial.score)
            except Exception as error:
                yield self._row(number, config, trial, seconds + time.perf_counter() - told)
                yield from self._lost(number + 1, one_line(error), 0.0)
                return
            yield self._row(number, config, trial, seconds + time.perf_counter() - told)

    def _is_over(self, number: int) -> bool:
        budget = self._unit.budget
        if budget.trials is not None:
            return number >= budget.trials
        assert budget.seconds is not None
        return self._elapsed >= budget.seconds

    def _row(self, number: int, config: Config, trial: Trial, suggest_seconds: float) -> _Row:
        self._tried.append(config)
        if not math.isnan(trial.score) and not self._sign * trial.score <= self._sign * self._best:
            self._best, self._test = trial.score, self._contest.test(config)
        self._elapsed += suggest_seconds + trial.seconds
        return _Row(
            number,
            json.dumps(config),
            trial.score,
            trial.status,
            trial.error,
            self._best,
            self._test,
            suggest_seconds,
            trial.seconds,
            self._elapsed,
        )

    def _lost(self, first: int, error: str, seconds: float) -> Iterator[_Row]:
        """Yield what a crash has cost: all trials that were left, or the one of the crash."""
        last = max(self._unit.budget.trials or first, first)
        for number in range(first, last + 1):
            self._elapsed += seconds
            yield _Row(
                number,
                None,
                math.nan,
                "crashed",
                error,
                self._best,
                self._test,
                seconds,
                0.0,
                self._elapsed,
            )
            seconds = 0.0
