"""Cross-validation of many configurations on the same folds, preprocessed once.

The preprocessing of the catalogue's learners has no hyperparameter that is searched, so fitting it
once a fold gives the scores that fitting whole pipelines would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Status = Literal["ok", "failed", "timeout"]


class Fold(NamedTuple):
    """One split, preprocessed."""

    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]


class Evaluation(NamedTuple):
    """What came of one configuration."""

    score: float
    """Mean of the metric over the folds; NaN unless `status` is "ok"."""
    fit_seconds: float
    """Time spent fitting, summed over the folds."""
    status: Status
    error: str | None = None
    """One line on what went wrong."""
    score_seconds: float = 0.0
    """Time spent predicting and scoring, summed over the folds."""


def preprocessed_folds(
    X: pd.DataFrame,
    y: pd.Series[Any],
    task: Literal["classification", "regression"],
    preprocess: Any,
    n_folds: int,
    seed: int,
    share: float = 1.0,
) -> list[Fold]:
    """Split a table, shuffled and for classification stratified, and preprocess every fold.

    Parameters
    ----------
    X : DataFrame
    y : Series
    task : {"classification", "regression"}
    preprocess : transformer
        Cloned and fitted on each fold's training part.
    n_folds : int
    seed : int
        Of the shuffle.
    share : float, default=1.0
        Of the rows of each fold, of its training and of its test part, that are kept: a draw that
        `seed` decides, as scikit-learn's halving searches make it.
    """
    from sklearn.base import clone
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if task == "classification" else KFold
    splitter = kind(n_folds, shuffle=True, random_state=seed)
    target = y.to_numpy()
    folds = []
    for split in splitter.split(X, target):
        train, test = (_drawn(rows, share, seed) for rows in split) if share < 1 else split
        fitted = clone(preprocess)
        X_train = fitted.fit_transform(X.iloc[train], target[train])
        folds.append(Fold(X_train, target[train], fitted.transform(X.iloc[test]), target[test]))
    return folds


def _drawn(rows: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    from sklearn.utils import resample

    n = max(1, int(share * len(rows)))
    drawn: NDArray[np.int64] = resample(rows, replace=False, n_samples=n, random_state=seed)
    return drawn


def evaluate(estimator: Any, folds: list[Fold], scorer: Callable[..., float]) -> Evaluation:
    """Cross-validate an estimator on preprocessed folds; a failure is an outcome too."""
    from sklearn.base import clone

    scores: list[float] = []
    fit_seconds = score_seconds = 0.0
    for fold in folds:
        fitted = clone(estimator)
        started = time.perf_counter()
        try:
            fitted.fit(fold.X_train, fold.y_train)
        except Exception as error:
            fit_seconds += time.perf_counter() - started
            return Evaluation(np.nan, fit_seconds, "failed", one_line(error))
        fit_seconds += time.perf_counter() - started
        started = time.perf_counter()
        try:
            scores.append(float(scorer(fitted, fold.X_test, fold.y_test)))
        except Exception as error:
            reason = f"the scorer failed: {one_line(error)}"
            return Evaluation(np.nan, fit_seconds, "failed", reason, score_seconds)
        score_seconds += time.perf_counter() - started
    score = float(np.mean(scores))
    if not np.isfinite(score):
        reason = f"the score is {score}"
        return Evaluation(np.nan, fit_seconds, "failed", reason, score_seconds)
    return Evaluation(score, fit_seconds, "ok", score_seconds=score_seconds)


def one_line(error: BaseException, limit: int = 200) -> str:
    """Put an error's type and message on one line of at most `limit` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
