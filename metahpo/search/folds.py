"""Folds: the cross-validated scores of one estimator, number for number scikit-learn's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_validate

from metahpo.search.scoring import Weighted

Split = tuple[NDArray[np.intp], NDArray[np.intp]]
Fold = dict[str, Any]
"""What came out of one fold: ``fit_time``, ``score_time`` (seconds), ``test_<metric>`` and, where
asked for, ``train_<metric>``; ``error`` instead of scores where fitting failed."""

ErrorScore = float | Literal["raise"]


@dataclass(frozen=True)
class CrossValidation:
    """How estimators are scored: on the same folds of the same rows, every one of them."""

    X: Any
    y: Any
    splits: list[Split]
    scoring: Any
    """One scorer, or several by name."""
    params: dict[str, Any] = field(default_factory=dict)
    """Goes to ``fit`` (and where metadata routing is enabled, to wherever it was requested)."""
    weights: Any = None
    """Weights of the rows for scoring."""
    weighted: frozenset[str] = frozenset()
    """The scorers that take weights, by name; "score" where there is only one."""
    error_score: ErrorScore = np.nan
    return_train_score: bool = False
    n_jobs: int | None = 1
    verbose: int = 0

    def __call__(self, estimator: Any) -> list[Fold]:
        """Fit and score clones of the estimator, one a fold."""
        folds: list[Fold] = Parallel(n_jobs=self.n_jobs)(
            delayed(self._fold)(clone(estimator), split) for split in self.splits
        )
        return folds

    def _fold(self, estimator: Any, split: Split) -> Fold:
        train, test = split
        weighted = self.weights is not None
        start = time.perf_counter()
        try:
            scores = self._validate(
                estimator,
                split,
                test,
                params=self.params,
                return_train_score=self.return_train_score and not weighted,
                return_estimator=weighted,
            )
        except ValueError as error:
            # scikit-learn raises only where every fold failed, and here there is one
            if self.error_score == "raise" or "fits failed" not in str(error):
                raise
            reason = str(error).strip().splitlines()[-1]
            return {"fit_time": time.perf_counter() - start, "score_time": 0.0, "error": reason}
        if weighted and self.return_train_score:
            # its own call, because the training rows have weights of their own
            fitted = FrozenEstimator(scores["estimator"][0])
            again = self._validate(fitted, (train, train), train)
            scores |= {
                k.replace("test_", "train_", 1): v for k, v in again.items() if "test_" in k
            }
        return {name: float(v[0]) for name, v in scores.items() if name != "estimator"}

    def _validate(
        self, estimator: Any, split: Split, scored: NDArray[np.intp], **options: Any
    ) -> dict[str, Any]:
        result: dict[str, Any] = cross_validate(
            estimator,
            self.X,
            self.y,
            cv=[split],
            scoring=self._scoring(scored),
            error_score=self.error_score,
            verbose=self.verbose,
            **options,
        )
        return result

    def _scoring(self, rows: NDArray[np.intp]) -> Any:
        if self.weights is None:
            return self.scoring
        weights = np.asarray(self.weights)[rows]
        if not isinstance(self.scoring, dict):
            return Weighted(self.scoring, weights) if self.weighted else self.scoring
        return {
            name: Weighted(scorer, weights) if name in self.weighted else scorer
            for name, scorer in self.scoring.items()
        }


def metrics_of(folds: Sequence[Fold]) -> list[str]:
    """Return the names of the metrics in one or more folds; empty where all failed."""
    names = {n: None for fold in folds for n in fold if n.startswith("test_")}
    return [name.removeprefix("test_") for name in names]


def mean_score(folds: Sequence[Fold], metric: str, error_score: ErrorScore) -> float:
    """Return the mean test score over the folds, failed ones counting as `error_score`."""
    fill = np.nan if error_score == "raise" else error_score
    return float(np.mean([fold.get(f"test_{metric}", fill) for fold in folds]))
