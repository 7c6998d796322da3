"""Boosting: AdaBoost, histogram gradient boosting, and XGBoost and LightGBM where installed.

Learning rates, leaves and leaf sizes follow auto-sklearn; XGBoost's and LightGBM's ranges follow
rbv2 (Kuehn et al. 2018; Binder et al. 2020). Numbers of rounds are searched on a log scale up to
a few hundred, which keeps one fit within seconds on a table of ten thousand rows.
"""

from __future__ import annotations

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metahpo.catalogue.learner import Learner, Task
from metahpo.space import Space

_ROUNDS = IntDistribution(16, 512, log=True)


def _ada_boost(task: Task, name: str, estimator: str, base: str, depth: int) -> Learner:
    losses = {"loss": CategoricalDistribution(["linear", "square", "exponential"])}
    default = {"n_estimators": 50, "learning_rate": 1.0, "estimator__max_depth": depth}
    return Learner(
        name=name,
        family="ada_boost",
        task=task,
        estimator=estimator,
        space=Space(
            {
                "n_estimators": IntDistribution(10, 200, log=True),
                "learning_rate": FloatDistribution(0.01, 2.0, log=True),
                "estimator__max_depth": IntDistribution(1, 10),
                **(losses if task == "regression" else {}),
            },
            default=default | ({"loss": "linear"} if task == "regression" else {}),
        ),
        preprocessing="imputed",
        base=base,
    )


def _hist(task: Task, name: str, estimator: str) -> Learner:
    return Learner(
        name=name,
        family="hist_gradient_boosting",
        task=task,
        estimator=estimator,
        space=Space(
            {
                "learning_rate": FloatDistribution(0.01, 1.0, log=True),
                "max_iter": _ROUNDS,
                "max_leaf_nodes": IntDistribution(3, 255, log=True),
                "min_samples_leaf": IntDistribution(1, 200, log=True),
                "max_features": FloatDistribution(0.1, 1.0),
            },
            default={
                "learning_rate": 0.1,
                "max_iter": 100,
                "max_leaf_nodes": 31,
                "min_samples_leaf": 20,
                "max_features": 1.0,
            },
        ),
        preprocessing="native",
    )


def _xgboost(task: Task, name: str, estimator: str) -> Learner:
    return Learner(
        name=name,
        family="xgboost",
        task=task,
        estimator=f"xgboost:{estimator}",
        space=Space(
            {
                "learning_rate": FloatDistribution(0.005, 1.0, log=True),
                "n_estimators": _ROUNDS,
                "max_depth": IntDistribution(1, 15),
                "min_child_weight": FloatDistribution(1.0, 128.0, log=True),
                "subsample": FloatDistribution(0.2, 1.0),
                "colsample_bytree": FloatDistribution(0.2, 1.0),
                "reg_lambda": FloatDistribution(1e-3, 1e3, log=True),
            },
            default={
                "learning_rate": 0.3,
                "n_estimators": 100,
                "max_depth": 6,
                "min_child_weight": 1.0,
                "subsample": 1.0,
                "colsample_bytree": 1.0,
                "reg_lambda": 1.0,
            },
        ),
        preprocessing="ordinal",
        parallel=True,
        encode_labels=task == "classification",
    )


def _lightgbm(task: Task, name: str, estimator: str) -> Learner:
    return Learner(
        name=name,
        family="lightgbm",
        task=task,
        estimator=f"lightgbm:{estimator}",
        space=Space(
            {
                "learning_rate": FloatDistribution(0.005, 1.0, log=True),
                "n_estimators": _ROUNDS,
                "num_leaves": IntDistribution(3, 255, log=True),
                "min_child_samples": IntDistribution(1, 200, log=True),
                "colsample_bytree": FloatDistribution(0.2, 1.0),
            },
            default={
                "learning_rate": 0.1,
                "n_estimators": 100,
                "num_leaves": 31,
                "min_child_samples": 20,
                "colsample_bytree": 1.0,
            },
        ),
        preprocessing="ordinal",
        fixed={"verbosity": -1},
        parallel=True,
    )


LEARNERS = (
    _ada_boost(
        "classification",
        "ada_boost",
        "sklearn.ensemble:AdaBoostClassifier",
        "sklearn.tree:DecisionTreeClassifier",
        depth=1,
    ),
    _ada_boost(
        "regression",
        "ada_boost_regressor",
        "sklearn.ensemble:AdaBoostRegressor",
        "sklearn.tree:DecisionTreeRegressor",
        depth=3,
    ),
    _hist(
        "classification",
        "hist_gradient_boosting",
        "sklearn.ensemble:HistGradientBoostingClassifier",
    ),
    _hist(
        "regression",
        "hist_gradient_boosting_regressor",
        "sklearn.ensemble:HistGradientBoostingRegressor",
    ),
    _xgboost("classification", "xgboost", "XGBClassifier"),
    _xgboost("regression", "xgboost_regressor", "XGBRegressor"),
    _lightgbm("classification", "lightgbm", "LGBMClassifier"),
    _lightgbm("regression", "lightgbm_regressor", "LGBMRegressor"),
)
