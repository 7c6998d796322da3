"""metahpo itself, and its parts."""

from __future__ import annotations

import numpy as np

from metahpo.bench.problem import Problem
from metahpo.metamodel import MetaModel
from metahpo.optimizer import MetaOptimizer
from metahpo.portfolio import greedy_portfolio
from metahpo.space import Config


class Metahpo:
    """metahpo, or what is left of it without one of its parts.

    Parameters
    ----------
    problem : Problem
    meta_features : bool, default=True
        Whether it knows the task's meta-features.
    prior : bool, default=True
        Whether it knows earlier tasks at all; without, the study's own trials are all it has.
    cost_aware : bool, default=False
        Whether it asks for the largest expected improvement per second.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        meta_features: bool = True,
        prior: bool = True,
        cost_aware: bool = False,
    ) -> None:
        model = problem.model if prior else MetaModel.blank(problem.direction, problem.metric)
        known = problem.meta_features if meta_features and prior else None
        self._optimizer = MetaOptimizer(model, known, cost_aware=cost_aware, **problem.options())
        self._seconds: float | None = None

    def ask(self) -> Config:
        """Return what the optimizer asks for."""
        return self._optimizer.ask()

    def took(self, seconds: float) -> None:
        """Keep the seconds until the score is there."""
        self._seconds = seconds

    def tell(self, config: Config, score: float) -> None:
        """Hand the score on, and what it took to get."""
        self._optimizer.tell(config, score, seconds=self._seconds)


class ZeroShot:
    """The model's suggestions for the task in their order, whatever the trials say.

    Parameters
    ----------
    problem : Problem
    meta_features : bool, default=True
        Whether the suggestions are for tasks like this one, or for any.
    """

    def __init__(self, problem: Problem, *, meta_features: bool = True) -> None:
        model = problem.model
        known = problem.meta_features if meta_features else None
        if problem.candidates is None:
            pool, n = model.pool, problem.n_trials or len(model.pool)
            suggested = model.space.to_frame(model.suggest(known, n))
            self._queue = iter(problem.space.nearest(suggested))
        else:
            pool = problem.configs()
            n = min(problem.n_trials or len(pool), len(pool))
            weights = np.exp(model.relevance.log_weights(known))
            picks = greedy_portfolio(model.utilities(model.encode(pool)), weights, n)
            self._queue = iter([pool[i] for i in picks])
        self._space, self._seed = problem.space, problem.seed

    def ask(self) -> Config:
        """Return the next suggestion; a random configuration once they are used up."""
        try:
            return next(self._queue)
        except StopIteration:
            self._seed += 1
            return self._space.sample(1, seed=self._seed, method="random")[0]

    def tell(self, config: Config, score: float) -> None:
        """Learn nothing."""
