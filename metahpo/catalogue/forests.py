"""A single decision tree, and forests of them.

The number of trees in a forest is not searched: more never hurts (Probst and Boulesteix 2018), so
it stays at the library's 100. Leaf sizes and the share of features as in van Rijn and Hutter
(2018) and auto-sklearn; a tree's depth as in rbv2_rpart.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metahpo.catalogue.learner import VALUE, Learner, Task, by_rule
from metahpo.space import Space

_DEPTH = (None,)
_GINI = ["gini", "entropy"]


def _tree(task: Task, name: str, estimator: str) -> Learner:
    distributions: dict[str, BaseDistribution] = {
        **by_rule("max_depth", _DEPTH, IntDistribution(1, 30, log=True)),
        "min_samples_split": IntDistribution(2, 60, log=True),
        "min_samples_leaf": IntDistribution(1, 60, log=True),
    }
    default: dict[str, Any] = {
        "max_depth_rule": "none",
        "min_samples_split": 2,
        "min_samples_leaf": 1,
    }
    if task == "classification":  # a regression tree's other criteria take quadratic time
        distributions["criterion"] = CategoricalDistribution(_GINI)
        default["criterion"] = "gini"
    space = Space(distributions, {"max_depth": ("max_depth_rule", [VALUE])}, default)
    return Learner(name, "decision_tree", task, estimator, space, "ordinal", {"max_depth": _DEPTH})


def _forest(task: Task, family: str, estimator: str, *, bootstrap: bool) -> Learner:
    name = family if task == "classification" else f"{family}_regressor"
    where = f"sklearn.ensemble:{estimator}"
    shared: dict[str, BaseDistribution] = {
        "min_samples_leaf": IntDistribution(1, 20, log=True),
        "min_samples_split": IntDistribution(2, 20, log=True),
        "bootstrap": CategoricalDistribution([True, False]),
    }
    default: dict[str, Any] = {
        "min_samples_leaf": 1,
        "min_samples_split": 2,
        "bootstrap": bootstrap,
    }
    features = FloatDistribution(0.05, 1.0)
    if task == "regression":  # whose default is a number: all features
        space = Space({"max_features": features, **shared}, {}, {"max_features": 1.0, **default})
        return Learner(name, family, task, where, space, "ordinal", parallel=True)
    symbols = ("sqrt",)
    space = Space(
        {
            "criterion": CategoricalDistribution(_GINI),
            **by_rule("max_features", symbols, features),
            **shared,
        },
        {"max_features": ("max_features_rule", [VALUE])},
        {"criterion": "gini", "max_features_rule": "sqrt", **default},
    )
    return Learner(
        name, family, task, where, space, "ordinal", {"max_features": symbols}, parallel=True
    )


LEARNERS = (
    _tree("classification", "decision_tree", "sklearn.tree:DecisionTreeClassifier"),
    _tree("regression", "decision_tree_regressor", "sklearn.tree:DecisionTreeRegressor"),
    _forest("classification", "random_forest", "RandomForestClassifier", bootstrap=True),
    _forest("regression", "random_forest", "RandomForestRegressor", bootstrap=True),
    _forest("classification", "extra_trees", "ExtraTreesClassifier", bootstrap=False),
    _forest("regression", "extra_trees", "ExtraTreesRegressor", bootstrap=False),
)
