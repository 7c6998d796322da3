"""What a search measures, which of it is tuned, and whether it fits estimator and target."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from metahpo.catalogue import Task

Scorer = Callable[..., Any]

SINGLE = "score"  # what scikit-learn calls the only metric
_RESPONSES = ("predict_proba", "decision_function")


def scorers_of(estimator: Any, scoring: Any) -> Scorer | dict[str, Scorer]:
    """Turn a search's `scoring` into what its ``scorer_`` is: one scorer, or several by name.

    Parameters
    ----------
    estimator : scikit-learn estimator
    scoring : str, callable, list, tuple, set, dict or None
        As scikit-learn's searches take it.

    Raises
    ------
    ValueError
        If a name is not one of scikit-learn's metrics; the message names near ones.
    """
    if isinstance(scoring, Mapping):
        if not scoring:
            raise ValueError("scoring is empty; name at least one metric")
        return {str(name): _scorer(estimator, metric) for name, metric in scoring.items()}
    if isinstance(scoring, list | tuple | set):
        return scorers_of(estimator, {name: name for name in scoring})
    return _scorer(estimator, scoring)


def _scorer(estimator: Any, metric: Any) -> Scorer:
    if isinstance(metric, str) and metric not in get_scorer_names():
        close = difflib.get_close_matches(metric, get_scorer_names(), cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(map(repr, close))}?"
            if close
            else ("sklearn.metrics.get_scorer_names() lists them")
        )
        raise ValueError(f"unknown metric {metric!r}; {hint}")
    if callable(metric) and not isinstance(metric, type):
        return cast(Scorer, metric)
    return cast(Scorer, check_scoring(estimator, scoring=metric))


def tuned_metric(refit: Any, names: list[str]) -> str:
    """Return the name of the metric that is tuned.

    Parameters
    ----------
    refit : bool, str or callable
        As in scikit-learn's searches: of several metrics, the name of one. Where it does not
        name one, because nothing is refitted or a callable selects, the first is tuned.
    names : list of str
        The metrics that are measured.

    Raises
    ------
    ValueError
        If there are several metrics and `refit` is True or names none of them.
    """
    if names == [SINGLE] or refit is False or callable(refit):
        return names[0]
    if refit not in names:
        raise ValueError(
            f"refit={refit!r} with several metrics; it must name the one to tune and to refit "
            f"by: {', '.join(map(repr, names))}"
        )
    return str(refit)


# ---------------------------------------------------------------------- does it fit?


class _StandIn(DummyClassifier):  # type: ignore[misc]
    """A classifier with the same methods as the user's, fitted in no time."""

    def __init__(self, methods: tuple[str, ...] = ()) -> None:
        super().__init__(strategy="prior")
        self.methods = methods

    # scorers go by the names of the methods
    @available_if(lambda self: "predict_proba" in self.methods)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(X)

    @available_if(lambda self: "decision_function" in self.methods)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        probability = super().predict_proba(X)
        return probability[:, 1] if probability.shape[1] == 2 else probability


def check_fit(estimator: Any, scoring: Any, task: Task | None, y: Any) -> None:
    """Check that scikit-learn's metrics by name suit what the estimator does and the target is.

    A metric of the wrong kind would fail, or mislead, on every fold of every trial.

    Raises
    ------
    ValueError
        Naming the metric and the reason.
    """
    if task is None or y is None:
        return
    metrics = scoring.values() if isinstance(scoring, Mapping) else scoring
    for metric in [metrics] if isinstance(metrics, str | None) or callable(metrics) else metrics:
        if isinstance(metric, str):
            _check_one(estimator, metric, task, y)


def is_measurable(estimator: Any, scoring: Any, task: Task | None, y: Any) -> bool:
    """Tell whether the metrics suit what the estimator does, as :func:`check_fit` says."""
    try:
        check_fit(estimator, scoring, task, y)
    except ValueError:
        return False
    return True


def _check_one(estimator: Any, metric: str, task: Task, y: Any) -> None:
    name = type(estimator[-1] if isinstance(estimator, Pipeline) else estimator).__name__
    scorer = check_scoring(estimator, scoring=metric)
    if task == "classification" and _measures_numbers(scorer):
        raise ValueError(
            f"the metric {metric!r} measures regression, but {name} is a classifier; "
            "use for example 'accuracy' or 'roc_auc'"
        )
    try:
        _probe(scorer, _stand_in(estimator, task), y)
    except Exception as error:  # whatever the metric has to say against this target
        reason = str(error).replace(_StandIn.__name__, name).replace("DummyRegressor", name)
        raise ValueError(
            f"the metric {metric!r} does not fit {name} on this target: {reason}"
            + _fitting_variants(estimator, metric, task, y)
        ) from error


def _fitting_variants(estimator: Any, metric: str, task: Task, y: Any) -> str:
    """Name the variants of a metric that do fit, such as "roc_auc_ovr" of "roc_auc"."""
    variants = []
    for name in (name for name in get_scorer_names() if name.startswith(f"{metric}_")):
        with suppress(Exception):
            _probe(check_scoring(estimator, scoring=name), _stand_in(estimator, task), y)
            variants.append(repr(name))
    return f"; use {' or '.join(variants)}" if variants else ""


def _stand_in(estimator: Any, task: Task) -> BaseEstimator:
    if task == "regression":
        return DummyRegressor()
    return _StandIn(tuple(method for method in _RESPONSES if hasattr(estimator, method)))


def _probe(scorer: Scorer, stand_in: Any, y: Any, **params: Any) -> None:
    X = np.zeros((len(y), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer(stand_in.fit(X, y), X, y, **params)


def _measures_numbers(scorer: Scorer) -> bool:
    y = np.array([0.5, 1.5, 2.5, 4.0])
    X = np.zeros((4, 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # metrics of clusterings only warn of numbers
            scorer(DummyRegressor().fit(X, y), X, y)
    except Exception:
        return False
    return True


# ---------------------------------------------------------------------- sample weights


@dataclass(frozen=True)
class Weighted:
    """A scorer together with the weights of the rows it will be given."""

    scorer: Scorer
    sample_weight: Any

    def __call__(self, estimator: Any, X: Any, y: Any) -> Any:
        """Score the estimator on weighted rows."""
        return self.scorer(estimator, X, y, sample_weight=self.sample_weight)


def takes_weights(scorer: Scorer, estimator: Any, scoring: Any, task: Task | None, y: Any) -> bool:
    """Say whether a scorer can weight rows."""
    if scoring is None:
        return "sample_weight" in inspect.signature(estimator.score).parameters
    if "sample_weight" not in inspect.signature(scorer).parameters:
        return False
    if inspect.isfunction(scorer) or task is None:
        return True
    try:  # scorers made of a metric take anything, and pass it on to a metric that may not
        _probe(scorer, _stand_in(estimator, task), y, sample_weight=np.ones(len(y)))
    except TypeError:
        return False
    except Exception:
        return True
    return True
