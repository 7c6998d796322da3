"""k nearest neighbours: the ranges of auto-sklearn, ending at 50 neighbours instead of 100."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, IntDistribution

from metahpo.catalogue.learner import Learner
from metahpo.space import Space

_SPACE = Space(
    {
        "n_neighbors": IntDistribution(1, 50, log=True),
        "weights": CategoricalDistribution(["uniform", "distance"]),
        "p": IntDistribution(1, 2),
    },
    default={"n_neighbors": 5, "weights": "uniform", "p": 2},
)

LEARNERS = (
    Learner(
        name="k_neighbors",
        family="k_neighbors",
        task="classification",
        estimator="sklearn.neighbors:KNeighborsClassifier",
        space=_SPACE,
        preprocessing="scaled",
        parallel=True,
    ),
    Learner(
        name="k_neighbors_regressor",
        family="k_neighbors",
        task="regression",
        estimator="sklearn.neighbors:KNeighborsRegressor",
        space=_SPACE,
        preprocessing="scaled",
        parallel=True,
    ),
)
