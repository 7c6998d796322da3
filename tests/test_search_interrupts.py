"""Ctrl-C where it is caught: scikit-learn's perceptrons take it for an early end of training."""

from __future__ import annotations

import io
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from searching import small_frame, small_table
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metahpo import MetaModel, MetaSearchCV, learners
from metahpo.search.interrupts import requests_as_interrupts
from metahpo.tables import read_table
from metahpo.tuning import DEFAULT_SCORE, Tuning

X, Y = small_table()
TALKATIVE = {"verbose": True, "max_iter": 4, "n_iter_no_change": 4, "hidden_layer_sizes": (4,)}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # four epochs are few


class CtrlC(io.StringIO):
    """Standard output that is interrupted in the midst of a training, as that tells of itself."""

    def __init__(self, in_fit: int) -> None:
        super().__init__()
        self.fits_left = in_fit

    def write(self, text: str) -> int:
        self.fits_left -= text.startswith("Iteration 2,")
        if self.fits_left == 0:
            self.fits_left = -1
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


@contextmanager
def ctrl_c(in_fit: int, warning: Literal["ignore", "error"] = "ignore") -> Iterator[None]:
    """Press Ctrl-C once; scikit-learn's warning of it is ignored or an error."""
    with warnings.catch_warnings(), redirect_stdout(CtrlC(in_fit)):
        warnings.filterwarnings(warning, "Training interrupted")
        yield


def search(storage: str | None = None, **options: Any) -> MetaSearchCV:
    return MetaSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(**TALKATIVE)),
        {"mlpclassifier__alpha": FloatDistribution(1e-4, 1e-1, log=True)},
        n_trials=3,
        cv=2,
        model=MetaModel.blank(),
        storage=storage,
        study_name="s",
        **options,
    )


@pytest.mark.parametrize("warning", ["ignore", "error"])
def test_the_search_stops_and_the_trial_is_run_again(
    warning: Literal["ignore", "error"], tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    with (
        pytest.warns(UserWarning, match="interrupted after 1 trials"),
        ctrl_c(in_fit=3, warning=warning),
    ):
        stopped = search(storage).fit(X, Y)
    assert len(stopped.cv_results_["params"]) == 1

    study = search(storage).fit(X, Y).study_
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, *[TrialState.COMPLETE] * 2]
    assert study.trials[2].params == study.trials[1].params


@pytest.mark.parametrize("in_fit", [1, 7], ids=["the first fold", "the refit"])
def test_where_nothing_is_to_go_on_with_it_is_passed_on(in_fit: int) -> None:
    with pytest.raises(KeyboardInterrupt), ctrl_c(in_fit):
        search().fit(X, Y)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_between_the_trials_it_is_kept_until_it_does_no_harm() -> None:
    """Raised while a storage works or a package is imported, it breaks them."""
    unbroken = []

    def press(study: optuna.Study, trial: FrozenTrial) -> None:
        signal.raise_signal(signal.SIGINT)
        unbroken.append(trial.number)

    with pytest.warns(UserWarning, match="interrupted after 1 trials"):
        stopped = search(callbacks=[press]).fit(X, Y)
    assert unbroken == [0]
    assert len(stopped.cv_results_["params"]) == 1


def test_pressed_again_it_is_not_kept() -> None:
    def press_twice(study: optuna.Study, trial: FrozenTrial) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    with pytest.warns(UserWarning, match="interrupted after 1 trials"):
        search(callbacks=[press_twice]).fit(X, Y)


class Pressing(MLPClassifier):
    """Ctrl-C comes while the parameters of the second trial are set, before anything is fitted."""

    trials = 0

    def set_params(self, **params: Any) -> Pressing:
        Pressing.trials += 1
        if Pressing.trials == 2:
            signal.raise_signal(signal.SIGINT)
        return super().set_params(**params)


def test_kept_before_a_fit_it_keeps_that_from_beginning(tmp_path: Path) -> None:
    storage, chosen = (
        f"sqlite:///{tmp_path / 'study.db'}",
        [("mlpclassifier", Pressing(max_iter=4))],
    )
    with pytest.warns(UserWarning, match="interrupted after 1 trials"):
        search(storage).set_params(estimator__steps=chosen).fit(X, Y)
    study = optuna.load_study(study_name="s", storage=storage)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    assert study.trials[2].system_attrs["fixed_params"] == study.trials[1].params


def test_the_default_is_not_scored_by_what_is_half_trained(tmp_path: Path) -> None:
    frame, y = small_frame()
    frame.assign(y=y).to_csv(tmp_path / "table.csv", index=False)
    learner = replace(learners["mlp"], fixed={"verbose": True, "max_iter": 4})
    tuning = Tuning(read_table(tmp_path / "table.csv", "y"), learner, "accuracy", n_folds=2)
    study = optuna.create_study(direction="maximize")
    failed = create_trial(state=TrialState.FAIL)
    with pytest.raises(KeyboardInterrupt), ctrl_c(in_fit=1):
        tuning.score_default(study, failed)
    assert DEFAULT_SCORE not in study.user_attrs
    tuning.score_default(study, failed)
    assert 0 < study.user_attrs[DEFAULT_SCORE] <= 1


def test_sigterm_is_heeded_where_ctrl_c_is_ignored() -> None:
    """As it is in what a script has started in the background."""

    def press(study: optuna.Study, trial: FrozenTrial) -> None:
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(asked)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with (
            pytest.warns(UserWarning, match="interrupted after 1 trials"),
            requests_as_interrupts(),
        ):
            search(callbacks=[press]).fit(X, Y)
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_who_answers_ctrl_c_otherwise_is_left_alone() -> None:
    heard = []

    def answer(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGINT, answer)
    try:
        with ctrl_c(in_fit=3):
            done = search().fit(X, Y)
        assert signal.getsignal(signal.SIGINT) is answer
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]
    assert len(done.cv_results_["params"]) == 3
