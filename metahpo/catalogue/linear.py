"""Linear models: logistic regression, ridge regression."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from metahpo.catalogue.learner import Learner
from metahpo.space import Space

LEARNERS = (
    Learner(
        name="logistic_regression",
        family="logistic_regression",
        task="classification",
        estimator="sklearn.linear_model:LogisticRegression",
        # C as wide as in hyperopt-sklearn; class weights because default metrics differ on them
        space=Space(
            {
                "C": FloatDistribution(1e-4, 1e4, log=True),
                "class_weight": CategoricalDistribution([None, "balanced"]),
                "fit_intercept": CategoricalDistribution([True, False]),
            },
            default={"C": 1.0, "class_weight": None, "fit_intercept": True},
        ),
        preprocessing="scaled",
        # the library's 100 iterations often stop short of convergence at large C
        fixed={"max_iter": 500},
    ),
    Learner(
        name="ridge",
        family="logistic_regression",
        task="regression",
        estimator="sklearn.linear_model:Ridge",
        space=Space(
            {
                "alpha": FloatDistribution(1e-4, 1e4, log=True),
                "fit_intercept": CategoricalDistribution([True, False]),
            },
            default={"alpha": 1.0, "fit_intercept": True},
        ),
        preprocessing="scaled",
    ),
)
