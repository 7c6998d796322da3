"""Estimators that misbehave, importable by a worker process."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from sklearn.base import BaseEstimator, ClassifierMixin

from metahpo.catalogue import Learner
from metahpo.space import Space

BEHAVIOURS = ("fine", "raises", "stuck", "crashes", "no_predict")


class Troublesome(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the majority class, or does not get that far."""

    def __init__(self, behaviour: str = "fine") -> None:
        self.behaviour = behaviour

    def fit(self, X: Any, y: Any) -> Troublesome:
        print("estimators may print")
        self.classes_, counts = np.unique(y, return_counts=True)
        self.majority_ = self.classes_[counts.argmax()]
        if self.behaviour == "raises":
            raise ValueError("no luck\nwith this one")
        if self.behaviour == "stuck":
            # exponential time in C, without ever letting go of the interpreter's lock
            re.fullmatch(r"(a|a)*b", "a" * 64)
        if self.behaviour == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        return self

    def predict(self, X: Any) -> Any:
        if self.behaviour == "no_predict":
            raise RuntimeError("cannot predict")
        return np.full(len(X), self.majority_)


TROUBLESOME = Learner(
    name="troublesome",
    family="troublesome",
    task="classification",
    estimator="troublesome:Troublesome",
    space=Space({"behaviour": CategoricalDistribution(BEHAVIOURS)}),
    preprocessing="ordinal",
)
