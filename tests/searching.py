"""Small tables and models for the tests of the search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from metahpo import MetaModel, Space, learners
from metahpo.surrogate.features import FeatureNet


def inexperienced(learner: str) -> MetaModel:
    """Make a model that knows a learner's space, but no task: it costs nothing."""
    return knowing(learners[learner].space)


def knowing(space: Space) -> MetaModel:
    numbers = sum(column.choice is None for column in space.columns)
    width = len(space.columns) + numbers
    nothing = FeatureNet((np.zeros((1, width, 0)),), (np.zeros((1, 0)),))
    blank = MetaModel.blank()
    return replace(blank, space=space, experience=replace(blank.experience, features=nothing))


def small_table(
    n_rows: int = 60, n_classes: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(
        n_rows,
        5,
        n_informative=4,
        n_redundant=0,
        n_classes=n_classes,
        flip_y=0.2,
        random_state=seed,
    )


def small_frame() -> tuple[pd.DataFrame, pd.Series]:
    X, y = small_table()
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["f"] = pd.Categorical(np.where(X[:, 0] > 0, "up", "down"))
    return frame, pd.Series(np.where(y == 1, "yes", "no"), name="answer")
