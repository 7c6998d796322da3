"""Folds: the cross-validated scores of one estimator, number for number scikit-learn's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_validate

from metahpo.search.interrupts import heeded_interrupts
from metahpo.search.scoring import Weighted

Split = tuple[NDArray[np.intp], NDArray[np.intp]]
Fold = dict[str, Any]
"""What came out of one fold: ``fit_time``, ``score_time`` (seconds), ``test_<metric>`` and, where
asked for, ``train_<metric>``; ``error`` instead of scores where fitting failed, and beside them
where a metric did."""

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
        with heeded_interrupts():  # while it waits for folds in other processes, too
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
                return_estimator=True,
            )
        except ValueError as error:
            # scikit-learn raises only where every fold failed, and here there is one
            if self.error_score == "raise" or "fits failed" not in str(error):
                raise
            reason = str(error).strip().splitlines()[-1]
            return {"fit_time": time.perf_counter() - start, "score_time": 0.0, "error": reason}
        fitted = FrozenEstimator(scores.pop("estimator")[0])
        if weighted and self.return_train_score:
            # its own call, because the training rows have weights of their own
            again = self._validate(fitted, (train, train), train)
            scores |= {
                k.replace("test_", "train_", 1): v for k, v in again.items() if "test_" in k
            }
        fold: Fold = {name: float(value[0]) for name, value in scores.items()}
        unscored = self._unscored(fitted, split) if _lacks_a_score(fold) else None
        return fold if unscored is None else {**fold, "error": unscored}

    def _unscored(self, fitted: Any, split: Split) -> str | None:
        """Say why a metric failed, which scikit-learn tells by a warning only."""
        if self.params and get_config()["enable_metadata_routing"]:
            return None  # it may have failed by what was routed, which a frozen estimator is not
        try:
            self._validate(fitted, split, split[1], error_score="raise")
        except Exception as error:  # whatever the metric has to say
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    def _validate(
        self, estimator: Any, split: Split, scored: NDArray[np.intp], **options: Any
    ) -> dict[str, Any]:
        with heeded_interrupts():
            result: dict[str, Any] = cross_validate(
                estimator,
                self.X,
                self.y,
                cv=[split],
                scoring=self._scoring(scored),
                verbose=self.verbose,
                **{"error_score": self.error_score, **options},
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


def _lacks_a_score(fold: Fold) -> bool:
    return any(np.isnan(value) for name, value in fold.items() if name.startswith("test_"))


def metrics_of(folds: Sequence[Fold]) -> list[str]:
    """Return the names of the metrics in one or more folds; empty where all failed."""
    names = {n: None for fold in folds for n in fold if n.startswith("test_")}
    return [name.removeprefix("test_") for name in names]


def mean_score(folds: Sequence[Fold], metric: str, error_score: ErrorScore) -> float:
    """Return the mean test score over the folds, failed ones counting as `error_score`."""
    fill = np.nan if error_score == "raise" else error_score
    return float(np.mean([fold.get(f"test_{metric}", fill) for fold in folds]))
