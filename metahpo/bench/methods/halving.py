"""scikit-learn's halving random search, played a round at a time.

The search itself is :class:`sklearn.model_selection.HalvingRandomSearchCV` with its own defaults.
It wants to fit and to score, and in the ring others do. So it is run over a stand-in for the
learner, with a scorer that says what the ring has told so far; where that ends, the search is
stopped, and what it would have scored is asked for next. As a round depends on nothing but the
scores of those before it, the search can be run from its beginning as often as there are rounds.

References
----------
Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from metahpo.bench.problem import Glimpse, Problem
from metahpo.space import Config, Space


class Halving:
    """Halving random searches, one after the other, each with draws of its own.

    A search draws configurations, scores all of them on a few rows, and the best third each time
    on three times as many, as far as the rows reach; how many and how few, scikit-learn chooses.
    What it ends with is then evaluated on all rows: that is what its user gets, and the only
    score of the problem that a search comes to.

    Parameters
    ----------
    problem : Problem
        With a table.
    **settings
        The search's own, such as ``factor``, ``n_candidates`` and ``min_resources``.
    """

    def __init__(self, problem: Problem, **settings: Any) -> None:
        self._space, self._settings = problem.space, settings
        self._table, self._sign = problem.table, 1 if problem.direction == "maximize" else -1
        regression = problem.learner is not None and problem.learner.task == "regression"
        self._stand_in = _Regressor() if regression else _Classifier()
        self._rng = np.random.default_rng(problem.seed)
        self._begin()

    def ask(self) -> Config | Glimpse:
        """Return the next of a round, on its share of the rows, or a search's winner."""
        if not self._waiting:
            self._advance()
        config = self._waiting.pop(0)
        return config if self._share == 1 else Glimpse(config, self._share)

    def tell(self, config: Config, score: float) -> None:
        """Take note of the score."""
        self._scores.append(self._sign * score)

    def _begin(self) -> None:
        self._seed = int(self._rng.integers(2**31))
        self._scores: list[float] = []
        self._waiting: list[Config] = []
        self._share = 1.0
        self._over = False

    def _advance(self) -> None:
        """Run the search from its beginning as far as scores are known, and take what is next."""
        if self._over:
            self._begin()
        n_rows = len(self._table.y)
        scorer = _Known(self._scores, self._table.n_folds)
        scorer.search = self._search(scorer)
        try:
            scorer.search.fit(np.arange(n_rows)[:, None], self._table.y.to_numpy())
        except _RoundEndError:
            self._waiting = scorer.missing
            self._share = scorer.search.n_resources_[-1] / n_rows
            return
        self._over = True
        if self._share == 1:  # the last round was on all rows already
            self._advance()
        else:
            self._waiting, self._share = [scorer.search.best_params_["config"]], 1.0

    def _search(self, scorer: _Known) -> Any:
        from sklearn.experimental import enable_halving_search_cv  # noqa: F401
        from sklearn.model_selection import HalvingRandomSearchCV

        return HalvingRandomSearchCV(
            self._stand_in,
            {"config": _Draws(self._space)},
            scoring=scorer,
            cv=self._table.n_folds,
            refit=False,
            error_score="raise",
            return_train_score=False,
            random_state=self._seed,
            **self._settings,
        )


class _RoundEndError(Exception):
    """All that a round wants to know has been noted."""


class _Known:
    """A scorer that knows the first scores of a search, and ends it where they end.

    It is called once a fold, and says the mean each time, of which the search takes the mean.
    """

    search: Any

    def __init__(self, scores: Sequence[float], n_folds: int) -> None:
        self._scores, self._n_folds = scores, n_folds
        self._calls = 0
        self.missing: list[Config] = []

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        number, fold = divmod(self._calls, self._n_folds)
        self._calls += 1
        if number < len(self._scores):
            return self._scores[number]
        if fold == 0:
            self.missing.append(estimator.config)
        if fold == self._n_folds - 1 and len(self.missing) == self.search.n_candidates_[-1]:
            raise _RoundEndError
        return math.nan


class _Draws:
    """A distribution of whole configurations, which respects a space's conditions."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def rvs(self, random_state: np.random.RandomState) -> Config:
        seed = int(random_state.randint(2**31 - 1))
        return self._space.sample(1, seed=seed, method="random")[0]


class _StandIn(BaseEstimator):  # type: ignore[misc]
    def __init__(self, config: Config | None = None) -> None:
        self.config = config

    def fit(self, X: Any, y: Any) -> _StandIn:
        return self


class _Classifier(ClassifierMixin, _StandIn):  # type: ignore[misc]
    pass


class _Regressor(RegressorMixin, _StandIn):  # type: ignore[misc]
    pass
