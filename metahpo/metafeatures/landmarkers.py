"""Landmarkers: how well learners do that cost next to nothing (Pfahringer et al. 2000).

Each is cross-validated in three folds on at most 1,000 rows and 500 columns. Scores are 0 for a
guess and 1 for a perfect prediction in both tasks: balanced accuracy rescaled so that chance is 0,
and R² clipped to [-1, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metahpo.metafeatures.statistical import Columns
from metahpo.metafeatures.table import Table
from metahpo.metafeatures.target import Target

N_FOLDS = 3
MAX_ROWS = 1_000
MAX_COLUMNS = 500
MAX_LEVELS = 10  # of a categorical column, the most frequent ones, each a 0/1 column
NAMES = ("lm_stump", "lm_one_nn", "lm_naive_bayes", "lm_linear")

FloatArray = NDArray[np.float64]


def landmarkers(table: Table, target: Target) -> dict[str, float]:
    """Return the score of a stump, 1-NN, naive Bayes and a linear model on a (sampled) table.

    Naive Bayes has no regression counterpart in common use; there it predicts which third of the
    target a row falls into. Classes with fewer rows than folds are left out. NaN where fewer than
    two classes, a constant target, or no varying column remains.
    """
    design = _design(table)
    rows = _usable(target)
    values = target.values[rows]
    if design.shape[1] == 0 or len(np.unique(values)) < 2 or len(values) < N_FOLDS * 2:
        return {**dict.fromkeys(NAMES, np.nan), "lm_rows": 0.0}
    design = design[rows]
    score = _classify if target.is_classification else _regress
    return {**score(design, values), "lm_rows": float(len(rows))}


def _usable(target: Target) -> NDArray[np.intp]:
    if not target.is_classification:
        return np.arange(len(target.values))
    sizes = np.bincount(target.values)
    return np.flatnonzero(sizes[target.values] >= N_FOLDS)


def _design(table: Table) -> FloatArray:
    """Return standardised numeric columns and the 0/1 columns of the frequent levels."""
    columns = [Columns.of(table).standard]
    for codes in table.codes.T:
        sizes = np.bincount(codes[codes >= 0], minlength=1)
        # Levels of one size are told apart by where they first stand in the canonical order.
        levels, first = np.unique(codes, return_index=True)
        by_size = sorted(zip(-sizes[levels], first, levels, strict=True))
        frequent = [level for _, _, level in by_size if level >= 0][:MAX_LEVELS]
        columns.append((codes[:, None] == np.array(frequent, dtype=np.int32)).astype(np.float64))
    return np.hstack(columns)[:, :MAX_COLUMNS]


def _classify(X: FloatArray, y: NDArray[np.int64]) -> dict[str, float]:
    models = (
        DecisionTreeClassifier(max_depth=1, random_state=0),
        KNeighborsClassifier(1, algorithm="brute"),
        GaussianNB(var_smoothing=1e-3),
        RidgeClassifier(),
    )
    folds = _folds(y)
    return {
        name: _balanced_accuracy(y, _predict(model, X, y, folds))
        for name, model in zip(NAMES, models, strict=True)
    }


def _regress(X: FloatArray, y: FloatArray) -> dict[str, float]:
    y = y / np.abs(y).max()
    y = (y - y.mean()) / y.std()
    # Consecutive rows of the sorted target go to different folds, as strata of a class do.
    folds = np.empty(len(y), np.int64)
    folds[np.argsort(y, kind="stable")] = np.arange(len(y)) % N_FOLDS
    thirds = np.searchsorted(np.quantile(y, (1 / 3, 2 / 3)), y, side="left")
    models = {
        "lm_stump": DecisionTreeRegressor(max_depth=1, random_state=0),
        "lm_one_nn": KNeighborsRegressor(1, algorithm="brute"),
        "lm_linear": Ridge(),
    }
    scores = {name: _r2(y, _predict(model, X, y, folds)) for name, model in models.items()}
    bayes = np.nan
    if np.bincount(thirds).min() >= N_FOLDS and len(np.unique(thirds)) > 1:
        predicted = _predict(GaussianNB(var_smoothing=1e-3), X, thirds, _folds(thirds))
        bayes = _balanced_accuracy(thirds, predicted)
    return {name: bayes if name == "lm_naive_bayes" else scores[name] for name in NAMES}


def _folds(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deal the rows of each class to the folds in their canonical order."""
    order = np.argsort(classes, kind="stable")
    folds = np.empty(len(classes), np.int64)
    folds[order] = np.arange(len(classes)) % N_FOLDS
    return folds


def _predict(model: Any, X: FloatArray, y: NDArray[Any], folds: NDArray[np.int64]) -> NDArray[Any]:
    predicted = np.empty_like(y)
    for fold in range(N_FOLDS):
        held_out = folds == fold
        predicted[held_out] = model.fit(X[~held_out], y[~held_out]).predict(X[held_out])
    return predicted


def _balanced_accuracy(y: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    sizes = np.bincount(y)
    hits = np.bincount(y[y == predicted], minlength=len(sizes))
    recall = hits[sizes > 0] / sizes[sizes > 0]
    chance = 1 / len(recall)
    return float((recall.mean() - chance) / (1 - chance))


def _r2(y: FloatArray, predicted: FloatArray) -> float:
    return float(np.clip(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum(), -1, 1))
