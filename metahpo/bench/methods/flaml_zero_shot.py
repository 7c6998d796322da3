"""FLAML's zero-shot: the portfolio that it has mined for a learner, in the order for the table.

References
----------
Wang et al., "FLAML: a fast and lightweight AutoML library", MLSys 2021; its module ``default``.
"""

from __future__ import annotations

import json

import pandas as pd

from metahpo.bench.methods.simple import RandomSearch
from metahpo.bench.problem import Problem
from metahpo.space import Config

PORTFOLIOS = {  # by the learner's family
    "lightgbm": "lgbm",
    "xgboost": "xgb_limitdepth",
    "random_forest": "rf",
    "extra_trees": "extra_tree",
}


class FlamlZeroShot:
    """FLAML's suggestions for the table, in its order, then random search.

    Parameters
    ----------
    problem : Problem
        With a table, and a learner for which FLAML has a portfolio.

    Raises
    ------
    ValueError
        If FLAML has none.
    """

    def __init__(self, problem: Problem) -> None:
        self._queue = iter(suggestions(problem))
        self._then = RandomSearch(problem)

    def ask(self) -> Config:
        """Return the next suggestion; a random configuration once they are used up."""
        return next(self._queue, None) or self._then.ask()

    def tell(self, config: Config, score: float) -> None:
        """Learn nothing."""


def suggestions(problem: Problem) -> list[Config]:
    """Return what FLAML suggests for a table: one configuration or some, the best guess first.

    Parameters that the space lacks are dropped; numbers outside its ranges move to their end;
    what FLAML leaves open is as in the default configuration.

    Raises
    ------
    ValueError
        If FLAML has no portfolio for the learner.
    """
    from flaml.default import suggest_config

    learner = problem.learner
    if learner is None or learner.family not in PORTFOLIOS:
        name = "histories" if learner is None else repr(learner.name)
        raise ValueError(f"FLAML has no portfolio for {name}; it has {', '.join(PORTFOLIOS)}")
    table = problem.table
    found = suggest_config(learner.task, table.X, table.y, PORTFOLIOS[learner.family])
    configs = [learner.config_of(choice["hyperparameters"]) for choice in found]
    frame = pd.DataFrame(configs, index=range(len(configs)))
    distinct = {json.dumps(config): config for config in problem.space.nearest(frame)}
    return list(distinct.values())
