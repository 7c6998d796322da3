"""Optuna's samplers, each in a study of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from metahpo.bench.problem import Problem
from metahpo.search.stored import suggest
from metahpo.space import Config


class StudyTuner:
    """An Optuna study behind ask and tell.

    Parameters
    ----------
    problem : Problem
    sampler : optuna.samplers.BaseSampler
    first : sequence of dict, optional
        Configurations to try before the sampler is asked.
    """

    def __init__(
        self, problem: Problem, sampler: optuna.samplers.BaseSampler, first: Sequence[Config] = ()
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = problem.space
        self._study = optuna.create_study(direction=problem.direction, sampler=sampler)
        for config in first:
            self._study.enqueue_trial(config, skip_if_exists=True)
        self._asked: tuple[optuna.Trial, Config] | None = None

    def ask(self) -> Config:
        """Begin a trial and let it suggest a whole configuration."""
        trial = self._study.ask()
        config = suggest(trial, self._space)
        self._asked = trial, config
        return dict(config)

    def tell(self, config: Config, score: float) -> None:
        """End the trial; where another configuration was evaluated, it becomes a trial itself."""
        failed = math.isnan(score)
        state = TrialState.FAIL if failed else TrialState.COMPLETE
        value = None if failed else score
        if self._asked is not None:
            trial, asked = self._asked
            self._asked = None
            if asked == config:
                self._study.tell(trial, value, state=state)
                return
            self._study.tell(trial, state=TrialState.FAIL)
        distributions: Any = {name: self._space.distributions[name] for name in config}
        self._study.add_trial(
            create_trial(params=config, distributions=distributions, value=value, state=state)
        )


def tpe(problem: Problem, **settings: Any) -> StudyTuner:
    """Return Optuna's TPE; settings are the sampler's own."""
    return StudyTuner(problem, optuna.samplers.TPESampler(seed=problem.seed, **settings))


def tpe_default(problem: Problem, **settings: Any) -> StudyTuner:
    """Return Optuna's TPE, its first trial the library's default."""
    sampler = optuna.samplers.TPESampler(seed=problem.seed, **settings)
    return StudyTuner(problem, sampler, first=[problem.space.default])


def gp(problem: Problem, **settings: Any) -> StudyTuner:
    """Return Optuna's Gaussian process; settings are the sampler's own."""
    return StudyTuner(problem, optuna.samplers.GPSampler(seed=problem.seed, **settings))


def gp_default(problem: Problem, **settings: Any) -> StudyTuner:
    """Return Optuna's Gaussian process, its first trial the library's default."""
    sampler = optuna.samplers.GPSampler(seed=problem.seed, **settings)
    return StudyTuner(problem, sampler, first=[problem.space.default])


def cmaes(problem: Problem, **settings: Any) -> StudyTuner:
    """Return CMA-ES on the numbers that are always active; the rest is drawn at random."""
    sampler = optuna.samplers.CmaEsSampler(seed=problem.seed, **settings)
    return StudyTuner(problem, sampler, first=[problem.space.default])
