"""Support vector machines.

C and gamma as in van Rijn and Hutter (2018): 2^-5 to 2^15 and 2^-15 to 2^3; C ends at 2^10 here,
above which only the time to fit still grows.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metahpo.catalogue.learner import VALUE, Learner, by_rule
from metahpo.space import Space

_GAMMA = ("scale",)
_KERNEL: dict[str, BaseDistribution] = {
    "C": FloatDistribution(2**-5, 2**10, log=True),
    "kernel": CategoricalDistribution(["rbf", "poly", "sigmoid", "linear"]),
    **by_rule("gamma", _GAMMA, FloatDistribution(2**-15, 2**3, log=True)),
    "degree": IntDistribution(2, 5),
    "coef0": FloatDistribution(-1.0, 1.0),
}
_CONDITIONS = {
    "gamma_rule": ("kernel", ["rbf", "poly", "sigmoid"]),
    "gamma": ("gamma_rule", [VALUE]),
    "degree": ("kernel", ["poly"]),
    "coef0": ("kernel", ["poly", "sigmoid"]),
}
_DEFAULT: dict[str, Any] = {"C": 1.0, "kernel": "rbf", "gamma_rule": "scale"}

LEARNERS = (
    Learner(
        name="svc",
        family="svc",
        task="classification",
        estimator="sklearn.svm:SVC",
        space=Space(
            {**_KERNEL, "class_weight": CategoricalDistribution([None, "balanced"])},
            _CONDITIONS,
            {**_DEFAULT, "class_weight": None},
        ),
        preprocessing="scaled",
        symbols={"gamma": _GAMMA},
    ),
    Learner(
        name="svr",
        family="svc",
        task="regression",
        estimator="sklearn.svm:SVR",
        space=Space(
            {**_KERNEL, "epsilon": FloatDistribution(1e-3, 1.0, log=True)},
            _CONDITIONS,
            {**_DEFAULT, "epsilon": 0.1},
        ),
        preprocessing="scaled",
        symbols={"gamma": _GAMMA},
        scale_target=True,
    ),
)
