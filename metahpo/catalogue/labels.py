"""Labels as integers, for classifiers that take no others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.preprocessing import LabelEncoder


class LabelEncodedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fit a classifier on labels 0 to K - 1, and speak the user's labels outside.

    XGBoost takes no other labels. scikit-learn has this for regression only
    (``TransformedTargetRegressor``).

    Parameters
    ----------
    estimator : classifier

    Attributes
    ----------
    estimator_ : classifier
        The fitted one.
    classes_ : ndarray
        The labels.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, **params: Any) -> LabelEncodedClassifier:
        """Encode the labels and fit; `params` are the classifier's own, as ``sample_weight``."""
        encoder = LabelEncoder().fit(y)
        self.classes_: NDArray[Any] = encoder.classes_
        self.estimator_ = clone(self.estimator).fit(X, encoder.transform(y), **params)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict labels."""
        labels: NDArray[Any] = self.classes_[self.estimator_.predict(X)]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probability of each label, in the order of ``classes_``."""
        probabilities: NDArray[np.float64] = self.estimator_.predict_proba(X)
        return probabilities
