"""One search, trial by trial: suggest, cross-validate, remember."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sklearn.base import clone

from metahpo.search.folds import CrossValidation, Fold, mean_score, metrics_of
from metahpo.search.interrupts import kept_interrupts
from metahpo.search.pipeline import Plan
from metahpo.search.scoring import SINGLE, tuned_metric
from metahpo.search.stored import claim, finished, requeue, suggest, take_up

Callback = Callable[[Study, FrozenTrial], None]

_FOLDS = "metahpo:folds"  # user attribute of a trial: what came out of its folds


def objective_of(
    estimator: Any, plan: Plan, validation: CrossValidation, refit: Any, seed: int | None
) -> Callable[[Trial], float]:
    """Make the function that a study maximises: the mean score of a trial's configuration.

    Parameters
    ----------
    estimator : scikit-learn estimator
    plan : Plan
    validation : CrossValidation
    refit : bool, str or callable
        Says which of several metrics is tuned.
    seed : int or None
        Of the estimators that a choice among learners makes.

    Returns
    -------
    callable
        NaN, which is a failure to Optuna, where no finite score came of the trial.
    """

    def objective(trial: Trial) -> float:
        try:
            claim(trial)
            params = plan.params_of(suggest(trial, plan.space), seed=seed)
            folds = validation(clone(estimator).set_params(**params))
        except KeyboardInterrupt:
            requeue(trial.study, trial)
            raise
        trial.set_user_attr(_FOLDS, folds)
        metric = tuned_metric(refit, metrics_of(folds) or [SINGLE])
        score = mean_score(folds, metric, validation.error_score)
        return score if math.isfinite(score) else math.nan

    return objective


def run_study(
    study: Study,
    objective: Callable[[Trial], float],
    *,
    n_trials: int | None,
    timeout: float | None,
    callbacks: Sequence[Callback],
) -> None:
    """Run trials until the study has enough, or time is up, or Ctrl-C.

    Parameters
    ----------
    study : optuna.Study
    objective : callable
    n_trials : int or None
        How many finished trials the study is to have, whoever ran them.
    timeout : float or None
        Seconds after which no trial is started.
    callbacks : sequence of callable
        Called with study and trial after each trial.

    Raises
    ------
    KeyboardInterrupt
        If no trial has succeeded by then.
    """

    def enough() -> bool:
        return n_trials is not None and len(finished(study)) >= n_trials

    def after_trial(study: Study, trial: FrozenTrial) -> None:
        take_up(study)
        if enough() or interrupted():
            study.stop()

    if enough():
        return
    try:
        with kept_interrupts() as interrupted:
            study.optimize(objective, timeout=timeout, callbacks=[*callbacks, after_trial])
    except KeyboardInterrupt:
        if not any(_succeeded(trial) for trial in finished(study)):
            raise
        warnings.warn(
            f"interrupted after {len(finished(study))} trials; going on with the best of them",
            stacklevel=4,
        )


def outcomes(study: Study) -> list[tuple[FrozenTrial, list[Fold]]]:
    """Return the finished trials with what came out of their folds.

    Raises
    ------
    ValueError
        If there are none, or none of them has a score; the message says how the last one failed.
    """
    trials = finished(study)
    if not trials:
        raise ValueError("no trial was run; the time was up before the first could begin")
    found = [(t, t.user_attrs[_FOLDS]) for t in trials if _FOLDS in t.user_attrs]
    if not any(_succeeded(trial) for trial, _ in found):
        errors = [fold["error"] for _, folds in found for fold in folds if "error" in fold]
        reason = errors[-1] if errors else ("no finite score" if found else "an abrupt end")
        error = ValueError(f"no trial succeeded; {len(trials)} failed, the last with: {reason}")
        error.add_note("error_score='raise' shows where")  # of no use to the command line
        raise error
    return found


def _succeeded(trial: FrozenTrial) -> bool:
    """Whether a trial has a score that is not merely the `error_score` of all its folds."""
    return trial.state == TrialState.COMPLETE and bool(
        metrics_of(trial.user_attrs.get(_FOLDS, ()))
    )
