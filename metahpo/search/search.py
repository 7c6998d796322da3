"""MetaSearchCV: MetaSampler as a scikit-learn search."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import Trial
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length, check_random_state, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from metahpo.catalogue import Learner
from metahpo.metafeatures import MetaFeatures, describe
from metahpo.metamodel import DEFAULT, MetaModel
from metahpo.sampler import MetaSampler
from metahpo.search.checks import check_folds, check_table, check_target
from metahpo.search.delegation import DelegatingSearch
from metahpo.search.folds import CrossValidation, ErrorScore, Fold, metrics_of
from metahpo.search.inputs import as_table
from metahpo.search.interrupts import heeded_interrupts
from metahpo.search.pipeline import Plan, plan_search, task_of
from metahpo.search.results import cv_results
from metahpo.search.run import Callback, objective_of, outcomes, run_study
from metahpo.search.scoring import (
    SINGLE,
    check_fit,
    is_measurable,
    scorers_of,
    takes_weights,
    tuned_metric,
)
from metahpo.search.stored import identity_of, open_study, quiet
from metahpo.space import Space


class MetaSearchCV(DelegatingSearch):
    """Search hyperparameters by cross-validation, starting from experience.

    A drop-in for scikit-learn's searches. It finds the estimator that learns in a pipeline,
    describes the table, and tunes by an Optuna study with :class:`~metahpo.MetaSampler`.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Tuned is the last step of a pipeline, also inside a ``TransformedTargetRegressor`` or a
        ``CalibratedClassifierCV``.
    space : Space or mapping of str to Optuna distribution, optional
        What to search, with names as in ``get_params``, such as ``"svc__C"``. By default the
        whole space of the estimator's learner in ``metahpo.learners``, but for what the estimator
        sets to a value foreign to it, such as a callable kernel or weights by class: that stays
        as it is. An estimator that is not among the learners needs a space, and is tuned without
        experience.
    n_trials : int or None, default=30
        How many configurations to try, those of a stored study included; None for as many as
        `timeout` allows.
    timeout : float, optional
        Seconds after which no trial is started any more. Where that is the only limit, what
        promises the largest improvement per second is tried first; see `cost_aware`.
    cv : int, splitter or iterable, default=5
    scoring : str, callable, list, tuple, dict or None
    refit : bool, str or callable, default=True
        As in ``GridSearchCV``. Of several metrics it names the one that is tuned; where it is
        False or callable, that is the first.
    n_jobs : int, optional, default=1
        Folds that are fitted side by side. Trials follow one another, because each learns from
        those before it; the result does not depend on `n_jobs`.
    random_state : int, RandomState instance or None, default=0
        Of the suggestions. Estimators keep their own.
    storage : str or Optuna storage, optional
        Where the study is kept, such as ``"sqlite:///study.db"``, ``"journal:///study.log"`` or
        ``"postgresql://user@host/database"``; in memory by default.
    study_name : str, optional
        A stored study of this name is continued: finished trials are not run again, and what
        was cut short is run anew. Several processes may work on one.
    model : MetaModel, str or Path, default="default"
        The experience: a model, the folder of one, or the one that is shipped.
    learner : str or Learner, optional
        The catalogue's entry for the estimator, where its class does not tell. "auto" chooses
        the learner, too; `estimator` is then ``metahpo.learners["auto"].make()``.
    callbacks : sequence of callable, optional
        Called with the study and the trial after every trial, as in ``study.optimize``.
    error_score : float or "raise", default=nan
        The score of a fold whose fit fails.
    verbose : int, default=0
        1 lets Optuna log the trials, more lets scikit-learn log the folds.
    return_train_score : bool, default=False
    cost_aware : bool, optional
        Whether what a trial takes counts, as in :class:`~metahpo.MetaSampler`. By default where
        `timeout` is given, `n_trials` is None, and the model knows seconds.

    Attributes
    ----------
    best_estimator_, best_params_, best_score_, best_index_, cv_results_, n_splits_, scorer_,
    refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As in ``GridSearchCV``. ``cv_results_`` holds finished trials, in their order.
    study_ : optuna.Study
    transfer_ : TransferReport
        What of the space is known to the model: mapped, clipped, fixed, unknown.
    meta_features_ : MetaFeatures or None
        What the table looks like; None where X is no table or the estimator does not predict.

    Raises
    ------
    ValueError
        From ``fit``, for a table, target, metric, space or stored study that does not fit; the
        message says which and why.

    Notes
    -----
    Ctrl-C ends the search early: if a trial has succeeded, ``fit`` warns and goes on with the
    best so far, else the interrupt is passed on.

    Without metadata routing, ``fit`` passes ``groups`` to the splitter, anything else to the
    estimator's ``fit``, and ``sample_weight`` to the metrics that take it, too.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.svm import SVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> search = MetaSearchCV(make_pipeline(StandardScaler(), SVC()))
    >>> search.fit(X, y).best_params_                              # doctest: +SKIP
    """

    def __init__(
        self,
        estimator: Any,
        space: Space | Mapping[str, BaseDistribution] | None = None,
        *,
        n_trials: int | None = 30,
        timeout: float | None = None,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        n_jobs: int | None = 1,
        random_state: Any = 0,
        storage: str | BaseStorage | None = None,
        study_name: str | None = None,
        model: MetaModel | str | Path = DEFAULT,
        learner: Learner | str | None = None,
        callbacks: Sequence[Callback] | None = None,
        error_score: ErrorScore = np.nan,
        verbose: int = 0,
        return_train_score: bool = False,
        cost_aware: bool | None = None,
    ) -> None:
        self.estimator = estimator
        self.space = space
        self.n_trials = n_trials
        self.timeout = timeout
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.storage = storage
        self.study_name = study_name
        self.model = model
        self.learner = learner
        self.callbacks = callbacks
        self.error_score = error_score
        self.verbose = verbose
        self.return_train_score = return_train_score
        self.cost_aware = cost_aware

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and refit the best configuration on the whole table.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_rows, n_columns)
        y : array-like of shape (n_rows,), optional
        **params
            Passed on to the estimator, the splitter (``groups``) and the scorer.

        Returns
        -------
        MetaSearchCV
        """
        X, y = indexable(X, y)
        routed = self._routed(params)
        with quiet(self.verbose < 1):
            opened = self._open(X, y, routed)
            self._run(opened)
        self._keep(opened)
        if self.refit:
            self._refit(X, y, routed.fit)
        return self

    def open_study(self, X: Any, y: Any = None, **params: Any) -> Study:
        """Open the study that ``fit`` would run or go on with, and run nothing.

        Parameters
        ----------
        X, y, **params
            As in ``fit``.

        Returns
        -------
        optuna.Study
            With :class:`~metahpo.MetaSampler`; one of ``storage`` and ``study_name`` is made if
            it is not there.

        Raises
        ------
        ValueError
            As from ``fit``.
        """
        X, y = indexable(X, y)
        with quiet(self.verbose < 1):
            return self._open(X, y, self._routed(params)).study

    def run_trials(self, X: Any, y: Any = None, **params: Any) -> Study:
        """Run the trials that ``fit`` would run, and conclude nothing: one of several workers.

        Parameters
        ----------
        X, y, **params
            As in ``fit``.

        Returns
        -------
        optuna.Study
            As of :meth:`open_study`. That no trial has succeeded is no error here.

        Raises
        ------
        ValueError
            As from ``fit``, for what is wrong before the first trial.
        """
        X, y = indexable(X, y)
        with quiet(self.verbose < 1):
            opened = self._open(X, y, self._routed(params))
            self._run(opened)
        return opened.study

    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Score the best estimator by the metric that was tuned.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_rows, n_columns)
        y : array-like of shape (n_rows,), optional
        **params
            Passed on to the scorer where metadata routing is enabled.
        """
        self._check_refit("score")
        check_is_fitted(self)
        if params and not _routing_enabled():
            raise ValueError(
                f"score takes {', '.join(params)} only where metadata routing is enabled: "
                "sklearn.set_config(enable_metadata_routing=True)"
            )
        routed = process_routing(self, "score", **params).scorer["score"] if params else {}
        scorer = self.scorer_[self._tuned] if isinstance(self.scorer_, dict) else self.scorer_
        score = scorer(self.best_estimator_, X, y, **routed)
        return float(score[self._tuned] if isinstance(score, dict) else score)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return who is asked for which metadata: the estimator, the scorer, the splitter."""
        scoring = self.scoring
        scorer = scoring if callable(scoring) else check_scoring(self.estimator, scoring=scoring)
        to_score = MethodMapping().add(caller="score", callee="score")
        return (
            MetadataRouter(owner=self)
            .add(
                estimator=self.estimator,
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
            .add(scorer=scorer, method_mapping=to_score.add(caller="fit", callee="score"))
            .add(
                splitter=self.cv,
                method_mapping=MethodMapping().add(caller="fit", callee="split"),
            )
        )

    # ------------------------------------------------------------------ before the search

    def _open(self, X: Any, y: Any, routed: _Routed) -> _Opened:
        self._check_options()
        validation = self._validation(X, y, routed)
        fits = partial(is_measurable, scoring=self.scoring, task=task_of(self.estimator), y=y)
        plan = plan_search(self.estimator, self.space, self.model, self.learner, fits)
        seed = self._seed()
        objective = objective_of(self.estimator, plan, validation, self.refit, seed)
        return _Opened(self._study(plan, validation, seed), objective, plan, seed)

    def _check_options(self) -> None:
        if self.n_trials is None and self.timeout is None:
            raise ValueError("n_trials and timeout are both None; the search would never end")
        if self.n_trials is not None and not (_is_whole(self.n_trials) and self.n_trials >= 1):
            raise ValueError(f"n_trials is {self.n_trials!r}; it must be a positive whole number")
        if self.timeout is not None and not (_is_number(self.timeout) and self.timeout > 0):
            raise ValueError(
                f"timeout is {self.timeout!r}; it must be a number of seconds above 0"
            )
        if self.error_score != "raise" and not _is_number(self.error_score):
            raise ValueError(
                f"error_score is {self.error_score!r}; it must be 'raise' or a number"
            )

    def _routed(self, params: dict[str, Any]) -> _Routed:
        if _routing_enabled():
            routed = process_routing(self, "fit", **params)
            fit, score = routed.estimator.fit, routed.scorer.score
            return _Routed(routed.splitter.split, fit, {**fit, **score}, None)
        fit = {name: value for name, value in params.items() if name != "groups"}
        return _Routed({"groups": params.get("groups")}, fit, fit, fit.get("sample_weight"))

    def _validation(self, X: Any, y: Any, routed: _Routed) -> CrossValidation:
        task = task_of(self.estimator)
        check_table(X)
        check_target(y, task)
        check_consistent_length(X, routed.weights)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        check_folds(y, cv)
        self.scorer_: Any = scorers_of(self.estimator, self.scoring)
        check_fit(self.estimator, self.scoring, task, y)
        splits = list(cv.split(X, y, **routed.split))
        self.n_splits_ = len(splits)
        return CrossValidation(
            X=X,
            y=y,
            splits=splits,
            scoring=self.scorer_,
            params=routed.cross_validate,
            weights=routed.weights,
            weighted=self._weighted(y) if routed.weights is not None else frozenset(),
            error_score=self.error_score,
            return_train_score=self.return_train_score,
            n_jobs=self.n_jobs,
            verbose=max(0, self.verbose - 1),
        )

    def _weighted(self, y: Any) -> frozenset[str]:
        several = isinstance(self.scorer_, dict)
        scorers: dict[str, Any] = self.scorer_ if several else {SINGLE: self.scorer_}
        task = task_of(self.estimator)
        takers = {
            name
            for name, scorer in scorers.items()
            if takes_weights(scorer, self.estimator, self.scoring, task, y)
        }
        for name in scorers.keys() - takers:
            metric = name if several else self.scoring
            warnings.warn(
                f"The scoring {metric} does not support sample_weight; its scores are unweighted",
                stacklevel=4,
            )
        return frozenset(takers)

    def _seed(self) -> int | None:
        if self.random_state is None:
            return None
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _study(self, plan: Plan, validation: CrossValidation, seed: int | None) -> Study:
        self.meta_features_ = _described(self.estimator, validation.X, validation.y)
        sampler = MetaSampler(
            plan.model,
            meta_features=self.meta_features_,
            space=plan.space,
            task=task_of(self.estimator),
            fixed=plan.fixed,
            prefix=plan.place.prefix,
            seed=seed,
            cost_aware=self._counts_seconds(plan.model),
        )
        self.transfer_ = sampler.transfer
        identity = None
        if self.storage is not None:
            several = isinstance(self.scorer_, dict)
            tuned = f", tuned by {self.refit!r}" if several else ""
            identity = identity_of(
                validation, plan.space, self.estimator, f"{self.scoring!r}{tuned}"
            )
        return open_study(self.storage, self.study_name, sampler, identity)

    def _counts_seconds(self, model: MetaModel) -> bool:
        if self.cost_aware is not None:
            return self.cost_aware
        only_time = self.timeout is not None and self.n_trials is None
        return only_time and model.experience.cost is not None

    def _run(self, opened: _Opened) -> None:
        n_trials, size = self.n_trials, opened.plan.space.size
        if size < (math.inf if n_trials is None else n_trials):
            n_trials = int(size)
            warnings.warn(
                f"the space has {n_trials} configurations; the search ends when each has been "
                f"tried, before n_trials={self.n_trials} and timeout={self.timeout}",
                stacklevel=4,
            )
        run_study(
            opened.study,
            opened.objective,
            n_trials=n_trials,
            timeout=self.timeout,
            callbacks=self.callbacks or (),
        )

    # ------------------------------------------------------------------ after the search

    def _keep(self, opened: _Opened) -> None:
        """Turn the finished trials into what a search has learned."""
        trials = outcomes(opened.study)
        folds = [folds for _, folds in trials]
        metrics = metrics_of([fold for trial in folds for fold in trial])
        self.multimetric_ = isinstance(self.scorer_, dict) or metrics != [SINGLE]
        self.study_ = opened.study
        self.cv_results_ = cv_results(
            [opened.plan.params_of(trial.params, seed=opened.seed) for trial, _ in trials],
            folds,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        self._tuned = tuned_metric(self.refit, metrics)
        if callable(self.refit):
            self.best_index_ = _checked_index(self.refit(self.cv_results_), len(trials))
        else:
            self.best_index_ = int(self.cv_results_[f"rank_test_{self._tuned}"].argmin())
            self.best_score_ = float(
                self.cv_results_[f"mean_test_{self._tuned}"][self.best_index_]
            )
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        _warn_of_failures(folds, self.error_score)
        if self.return_train_score:
            _warn_of_missing(folds)

    def _refit(self, X: Any, y: Any, params: Mapping[str, Any]) -> None:
        best = clone(self.best_params_, safe=False)  # values may be estimators
        self.best_estimator_ = clone(self.estimator).set_params(**best)
        start = time.perf_counter()
        with heeded_interrupts():
            if y is None:
                self.best_estimator_.fit(X, **params)
            else:
                self.best_estimator_.fit(X, y, **params)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


@dataclass(frozen=True)
class _Routed:
    """Where the metadata of a fit go."""

    split: Mapping[str, Any]
    fit: Mapping[str, Any]
    cross_validate: dict[str, Any]
    weights: Any
    """For the scorers, where metadata routing does not see to it."""


@dataclass(frozen=True)
class _Opened:
    """A search that is ready to run."""

    study: Study
    objective: Callable[[Trial], float]
    plan: Plan
    seed: int | None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _routing_enabled() -> bool:
    return bool(get_config()["enable_metadata_routing"])


def _described(estimator: Any, X: Any, y: Any) -> MetaFeatures | None:
    """Describe the table, if it is one and there is something to predict."""
    task = task_of(estimator)
    if task is None or y is None or get_tags(estimator).input_tags.pairwise:
        return None
    table, target = as_table(X), np.asarray(y)
    if len(table.shape) != 2 or (target.ndim == 2 and target.shape[1] > 1):
        return None
    return describe(table, target.ravel(), task)


def _checked_index(index: Any, n_trials: int) -> int:
    if not isinstance(index, int | np.integer):
        raise TypeError(f"refit returned {index!r}; it must return an index of cv_results_")
    if not 0 <= index < n_trials:
        raise IndexError(f"refit returned {index}, but there are {n_trials} trials")
    return int(index)


def _warn_of_failures(folds: Sequence[Sequence[Fold]], error_score: ErrorScore) -> None:
    every = [fold for trial in folds for fold in trial]
    # of metrics that fail, which leave a score in their fold, scikit-learn has warned itself
    errors = [fold["error"] for fold in every if "error" in fold and not metrics_of([fold])]
    if errors:
        warnings.warn(
            f"{len(errors)} fits failed out of {len(every)}, the last with: {errors[-1]}; "
            f"their score is {error_score}",
            FitFailedWarning,
            stacklevel=4,
        )


def _warn_of_missing(folds: Sequence[Sequence[Fold]]) -> None:
    """Warn where trials of a stored study were scored without their training rows."""
    lacking = sum(
        bool(metrics_of(trial)) and not any(n.startswith("train_") for f in trial for n in f)
        for trial in folds
    )
    if lacking:
        warnings.warn(
            f"{lacking} of {len(folds)} trials were run without return_train_score; their train "
            "scores are missing",
            stacklevel=4,
        )
