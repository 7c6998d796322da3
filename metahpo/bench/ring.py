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
from metahpo.bench.problem import Glimpse, Problem, Timed, Tuner
from metahpo.bench.runs import PARTIAL, SCHEMA
from metahpo.evaluation import one_line
from metahpo.space import Config

_DIGITS = 9  # of sums of shares


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


@dataclass
class _Open:
    """A row in the making: what it holds so far."""

    config: Config | None = None
    trial: Trial | None = None  # of the one configuration that was seen on all rows
    evaluations: int = 0
    suggest_seconds: float = 0.0
    evaluate_seconds: float = 0.0


class _Game:
    """One unit while it is played.

    A row is a trial's worth of evaluations. Most methods ask for whole trials, each a row of its
    own; a method that asks for glimpses finds in a row what was finished within it.
    """

    def __init__(self, unit: Unit) -> None:
        self._unit, self._contest = unit, unit.contest
        self._sign = 1.0 if unit.contest.direction == "maximize" else -1.0
        self._tried: list[Config] = []
        self._best = self._test = math.nan
        self._elapsed = 0.0
        self._number = 0  # rows so far
        self._spent = 0.0  # trials' worth of evaluations so far
        self._open = _Open()

    def rows(self) -> Iterator[_Row]:
        """Yield a row a trial, until the budget is used up."""
        unit = self._unit
        problem = self._contest.problem(unit.seed, unit.budget.trials)
        tuner: Tuner | None = None
        while not self._is_over(problem):
            started = time.perf_counter()
            try:
                if tuner is None:
                    tuner = unit.entrant.found.make(problem, **unit.entrant.settings)
                wanted, share = _request(tuner.ask(), problem)
            except Exception as error:
                yield from self._ending()
                yield from self._lost(one_line(error), time.perf_counter() - started)
                return
            described = problem.seconds_describing if self._spent == 0 else 0.0
            self._suggested(time.perf_counter() - started + described)
            config = self._contest.admit(wanted, self._tried)
            if config is None:
                return
            yield from self._ended_before(self._spent + share)
            if self._number == unit.budget.trials:
                return
            trial = self._evaluate(config, share)
            started = time.perf_counter()
            try:
                if isinstance(tuner, Timed):
                    tuner.took(trial.seconds)
                tuner.tell(config, trial.score)
            except Exception as error:
                self._suggested(time.perf_counter() - started)
                yield from self._ending()
                yield from self._lost(one_line(error), 0.0)
                return
            self._suggested(time.perf_counter() - started)
            if round(self._spent - self._number, _DIGITS) >= 1:
                yield self._close()
        yield from self._ending()

    def _is_over(self, problem: Problem) -> bool:
        if problem.candidates is not None and len(self._tried) >= len(problem.candidates):
            return True  # nothing is left to ask for, however much of the budget is
        budget = self._unit.budget
        if budget.trials is not None:
            return self._number >= budget.trials
        assert budget.seconds is not None
        return self._elapsed >= budget.seconds

    def _suggested(self, seconds: float) -> None:
        self._open.suggest_seconds += seconds
        # what this machine takes to suggest does not add to what another took to evaluate
        self._elapsed += 0.0 if self._contest.recorded else seconds

    def _evaluate(self, config: Config, share: float) -> Trial:
        if share < 1:
            trial = self._contest.glimpse(config, share)
        else:
            trial = self._contest.evaluate(config)
            self._tried.append(config)
            self._open.config, self._open.trial = config, trial
            if not (
                math.isnan(trial.score) or self._sign * trial.score <= self._sign * self._best
            ):
                self._best, self._test = trial.score, self._contest.test(config)
        self._spent += share
        self._open.evaluations += 1
        self._open.evaluate_seconds += trial.seconds
        self._elapsed += trial.seconds
        return trial

    def _ended_before(self, spent: float) -> Iterator[_Row]:
        """Close the rows that are over before so many trials' worth are spent."""
        while round(spent - self._number, _DIGITS) > 1:
            yield self._close()

    def _ending(self) -> Iterator[_Row]:
        if self._open.evaluations:
            yield self._close()

    def _close(self) -> _Row:
        row, self._open = self._open, _Open()
        self._number += 1
        known = row.trial is not None
        trial = row.trial or Trial(math.nan)
        return _Row(
            self._number,
            json.dumps(row.config) if known else None,
            trial.score,
            trial.status if known else PARTIAL,
            trial.error,
            self._best,
            self._test,
            row.suggest_seconds,
            row.evaluate_seconds,
            self._elapsed,
        )

    def _lost(self, error: str, seconds: float) -> Iterator[_Row]:
        """Yield what a crash has cost: all trials that were left, or the one of the crash."""
        first = self._number + 1
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


def _request(asked: Config | Glimpse, problem: Problem) -> tuple[Config, float]:
    """Return the configuration that is asked for, and on which share of the rows."""
    config, share = (asked.config, asked.share) if isinstance(asked, Glimpse) else (asked, 1.0)
    if share < 1 and problem.knowledge.table is None:
        raise ValueError("there are no rows of which a method could ask for a share")
    partial = problem.candidates is not None  # a history may lack values that nothing excuses
    return problem.space.validate(config, partial=partial), share
