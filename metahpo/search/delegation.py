"""What a fitted search does through its best estimator, and when it can."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted


def _offered(method: str) -> Callable[[Any], bool]:
    """Make the check that the refitted estimator, or the one to be fitted, has a method."""

    def check(search: Any) -> bool:
        search._check_refit(method)
        getattr(getattr(search, "best_estimator_", search.estimator), method)
        return True

    return check


def _delegated(method: str, summary: str) -> Any:
    """Make a method that the best estimator answers, available where it can."""

    def call(self: Any, X: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.best_estimator_, method)(X)

    call.__name__, call.__doc__ = method, summary
    return available_if(_offered(method))(call)


class DelegatingSearch(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """A search that predicts, transforms and scores as its refitted ``best_estimator_``."""

    estimator: Any
    refit: Any
    best_estimator_: Any

    def _check_refit(self, what: str) -> None:
        if not self.refit:
            raise AttributeError(
                f"this {type(self).__name__} has refit={self.refit!r}; {what} is available only "
                "after refitting on the best parameters. You can refit an estimator manually "
                "using the best_params_ attribute"
            )

    def __sklearn_tags__(self) -> Tags:
        """Return the tags of the estimator: what it takes, the search takes."""
        tags = deepcopy(get_tags(self.estimator))
        tags.array_api_support = False
        tags.requires_fit = True
        return tags

    @property
    def classes_(self) -> Any:
        """The class labels, where a classifier was refitted."""
        _offered("classes_")(self)
        return self.best_estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """The number of columns seen in ``fit``."""
        if not hasattr(self, "best_estimator_"):
            raise AttributeError(
                f"{type(self).__name__} is not refitted; it has no n_features_in_"
            )
        return int(self.best_estimator_.n_features_in_)

    predict = _delegated("predict", "Predict with the best estimator.")
    predict_proba = _delegated("predict_proba", "Predict class probabilities.")
    predict_log_proba = _delegated("predict_log_proba", "Predict logarithms of probabilities.")
    decision_function = _delegated("decision_function", "Compute the decision function.")
    score_samples = _delegated("score_samples", "Score each row, as outlier detectors do.")
    transform = _delegated("transform", "Transform a table with the best estimator.")
    inverse_transform = _delegated("inverse_transform", "Transform a table back.")
