"""scikit-learn's own checks of an estimator, on searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from metahpo import MetaModel, MetaSearchCV

OPTIONS: dict[str, Any] = {
    "n_trials": 2,
    "cv": 2,
    "error_score": "raise",
    "model": MetaModel.blank(),
}
RANGE = FloatDistribution(0.1, 10, log=True)
SEARCHES = [
    MetaSearchCV(LogisticRegression(), {"C": RANGE}, **OPTIONS),
    MetaSearchCV(Ridge(), {"alpha": RANGE}, **OPTIONS),
    MetaSearchCV(PCA(), {"whiten": CategoricalDistribution([True, False])}, **OPTIONS),
]
FIT_TRANSFORM = "like scikit-learn's own searches it has no fit_transform"


EVERY = {"check_estimators_overwrite_params": "a MetaModel remembers what it has computed"}
TRANSFORMER = {
    "check_transformer_data_not_an_array": FIT_TRANSFORM,
    "check_transformer_general": FIT_TRANSFORM,
    "check_transformer_preserve_dtypes": FIT_TRANSFORM,
    "check_estimator_sparse_tag": "PCA(whiten=False) takes sparse tables by arpack only",
}


def expected_failures(search: MetaSearchCV) -> dict[str, str]:
    return EVERY | (TRANSFORMER if isinstance(search.estimator, PCA) else {})


@parametrize_with_checks(SEARCHES, expected_failed_checks=expected_failures)
def test_conforms(estimator: MetaSearchCV, check: Callable[[Any], None]) -> None:
    check(estimator)
