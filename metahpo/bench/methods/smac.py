"""SMAC: Bayesian optimization with random forests, by its own ask and tell.

References
----------
Lindauer et al., "SMAC3: a versatile Bayesian optimization package for hyperparameter
optimization", JMLR 2022.
"""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution

from metahpo.bench.problem import Problem
from metahpo.parameter import Distribution, identity
from metahpo.space import Config, Space

_N_TRIALS = 100  # SMAC's own guess; a budget in seconds tells it nothing better
_SEED = 0  # of every trial, as SMAC numbers them where a score depends on nothing else


class Smac:
    """SMAC's facade for hyperparameter optimization; the first trial is the library's default.

    Parameters
    ----------
    problem : Problem
    retrain_after : int, default=8
        How many configurations it takes from one fit of its forest; the default is SMAC's own.
    """

    def __init__(self, problem: Problem, *, retrain_after: int = 8) -> None:
        from smac import HyperparameterOptimizationFacade, Scenario

        self._space, self._sign = problem.space, 1 if problem.direction == "maximize" else -1
        self._translated = to_configspace(problem.space)
        with TemporaryDirectory() as folder:  # it writes its settings down as it starts
            scenario = Scenario(
                self._translated,
                deterministic=True,
                n_trials=problem.n_trials or _N_TRIALS,
                seed=problem.seed,
                output_directory=Path(folder),
            )
            selector = HyperparameterOptimizationFacade.get_config_selector(
                scenario, retrain_after=retrain_after
            )
            self._facade = HyperparameterOptimizationFacade(
                scenario, config_selector=selector, logging_level=False
            )
        self._asked: Any = None
        self._failed: list[Any] = []
        self._worst = -math.inf  # cost

    def ask(self) -> Config:
        """Return the default, then what SMAC asks for."""
        if self._asked is None:
            from smac.runhistory import TrialInfo

            self._asked = TrialInfo(self._translated.get_default_configuration(), seed=_SEED)
            return dict(self._space.default)
        self._asked = self._facade.ask()
        return self._config(self._asked.config)

    def tell(self, config: Config, score: float) -> None:
        """Hand the score on; what failed costs as much as the worst, once there is a score."""
        from smac.runhistory import StatusType, TrialValue

        if math.isnan(score):
            self._failed.append(self._asked)
        else:
            cost = -self._sign * score
            self._worst = max(self._worst, cost)
            self._facade.tell(self._asked, TrialValue(cost), save=False)
        while self._failed and math.isfinite(self._worst):
            crash = TrialValue(self._worst, status=StatusType.CRASHED)
            self._facade.tell(self._failed.pop(0), crash, save=False)

    def _config(self, found: Any) -> Config:
        values = dict(found)
        for name, distribution in self._space.distributions.items():
            if isinstance(distribution, CategoricalDistribution) and name in values:
                values[name] = distribution.choices[values[name]]
        return self._space.nearest(pd.DataFrame([values]))[0]


def to_configspace(space: Space) -> Any:
    """Translate a space; choices become their numbers, as ConfigSpace cannot hold all values."""
    from ConfigSpace import ConfigurationSpace, InCondition

    translated = ConfigurationSpace()
    translated.add([_hyperparameter(space, name) for name in space.names])
    for child, (parent, values) in space.conditions.items():
        numbers = [_number(space.distributions[parent], value) for value in values]
        translated.add(InCondition(translated[child], translated[parent], numbers))
    return translated


def _hyperparameter(space: Space, name: str) -> Any:
    from ConfigSpace import Categorical, Constant, Float, Integer

    distribution = space.distributions[name]
    default = {}
    if name in space.default:
        default = {"default": _number(distribution, space.default[name])}
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(name, list(range(len(distribution.choices))), **default)
    if distribution.single():
        return Constant(name, distribution.low)
    kind = Float if isinstance(distribution, FloatDistribution) else Integer
    bounds = (distribution.low, distribution.high)
    return kind(name, bounds, log=distribution.log, **default)


def _number(distribution: Distribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return list(map(identity, distribution.choices)).index(identity(value))
    return value
