from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from scipy import sparse
from searching import small_frame, small_table
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from metahpo import MetaModel, MetaSearchCV

X, Y = small_table()
C = {"C": FloatDistribution(1e-2, 1e2, log=True)}


class Watched(LogisticRegression):
    """Counts its fits, over all clones."""

    fits = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Watched:
        Watched.fits += 1
        return super().fit(X, y, sample_weight)


def search(storage: Any, n_trials: int = 3, **options: Any) -> MetaSearchCV:
    options = {"estimator": Watched(), "space": C, "cv": 2, "model": MetaModel.blank()} | options
    return MetaSearchCV(n_trials=n_trials, storage=storage, study_name="s", **options)


@pytest.fixture(params=["sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_a_stored_search_is_continued(storage: Any) -> None:
    first = search(storage, 3, return_train_score=True).fit(X, Y)
    Watched.fits = 0
    longer = search(storage, 5, return_train_score=True).fit(X, Y)
    assert Watched.fits == 2 * 2 + 1  # two trials of two folds, and the refit
    assert longer.cv_results_.keys() == first.cv_results_.keys()
    for key, column in first.cv_results_.items():
        if "rank" not in key:
            np.testing.assert_array_equal(longer.cv_results_[key][:3], column)
    whole = search(None, 5).fit(X, Y)
    assert longer.cv_results_["params"] == whole.cv_results_["params"]  # as if never interrupted


def test_train_scores_that_were_not_asked_for_at_first_are_missed(database: str) -> None:
    search(database, 2).fit(X, Y)
    with pytest.warns(UserWarning, match="^2 of 3 trials were run without return_train_score"):
        done = search(database, 3, return_train_score=True).fit(X, Y)
    assert np.isnan(done.cv_results_["mean_train_score"]).tolist() == [True, True, False]


def test_a_finished_search_is_only_refitted(database: str) -> None:
    first = search(database).fit(X, Y)
    Watched.fits = 0
    again = search(database).fit(X, Y)
    assert Watched.fits == 1
    assert again.best_params_ == first.best_params_
    assert search(database, n_trials=2).fit(X, Y).best_params_ == first.best_params_


def test_without_a_name_every_search_is_its_own(database: str) -> None:
    for _ in range(2):
        assert len(search(database).set_params(study_name=None).fit(X, Y).study_.trials) == 3


def test_other_kinds_of_tables_are_recognised_too(tmp_path: Path) -> None:
    frame, answer = small_frame()
    tables = {"frame": (frame[["a", "b"]], answer), "sparse": (sparse.csr_array(X), Y)}
    tables["lists"] = (X.tolist(), Y.tolist())
    for name, (table, target) in tables.items():
        storage = f"sqlite:///{tmp_path / name}.db"
        search(storage, 2).fit(table, target)
        search(storage, 2).fit(table, target)
        with pytest.raises(ValueError, match="other data"):
            search(storage, 2).fit(table, target[::-1])


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        ({}, (X + 1e-9, Y), "other data"),
        ({}, (X, 1 - Y), "other data"),
        ({"space": {"C": FloatDistribution(1e-2, 1e1)}}, (X, Y), "another space .*differs in C"),
        ({"space": C | {"tol": C["C"]}}, (X, Y), "another space .*differs in tol"),
        ({"scoring": "f1"}, (X, Y), "another metric: None instead of 'f1'"),
        ({"cv": KFold(2, shuffle=True)}, (X, Y), "other folds.*random_state"),
        ({"cv": 3}, (X, Y), "other folds"),
        ({"estimator": Watched(l1_ratio=0.0, C=2)}, (X, Y), "another (space|estimator)"),
    ],
)
def test_another_search_of_the_same_name_is_refused(
    database: str, change: dict[str, Any], data: Any, message: str
) -> None:
    search(database, 1).fit(X, Y)
    with pytest.raises(ValueError, match=f"the study 's' is of a search with {message}") as caught:
        search(database, 1, **change).fit(*data)
    assert "\n" not in str(caught.value)


def test_what_is_given_to_fit_is_part_of_a_search(database: str) -> None:
    weights = np.where(Y == 1, 9.0, 1.0)
    first = search(database, 2).fit(X, Y, sample_weight=weights)
    again = search(database, 2).fit(X, Y, sample_weight=weights.tolist())
    assert again.best_score_ == first.best_score_
    for other in ({}, {"sample_weight": 1 / weights}):
        with pytest.raises(ValueError, match="with other parameters given to fit"):
            search(database, 2).fit(X, Y, **other)


def test_functions_without_a_name_cannot_be_told_apart(database: str) -> None:
    options = {"scoring": lambda estimator, X, y: 0.5}
    search(database, 1, **options).fit(X, Y)
    with pytest.warns(UserWarning, match="the metric has a function without a name of its own"):
        search(database, 1, **options).fit(X, Y)


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_choices_that_no_storage_can_hold(database: str) -> None:
    space = {"l1_ratio": CategoricalDistribution([0.0, X[0]])}
    with pytest.raises(ValueError, match="'l1_ratio' has choices that no storage can hold"):
        search(database, space=space).fit(X, Y)


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "maximize"]])
def test_a_study_of_another_direction_is_refused(database: str, directions: list[str]) -> None:
    optuna.create_study(storage=database, study_name="s", directions=directions)
    with pytest.raises(ValueError, match="has the direction"):
        search(database).fit(X, Y)


def test_a_study_of_someone_else_is_refused(database: str) -> None:
    study = optuna.create_study(storage=database, study_name="s", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("C", 0, 1), n_trials=1)
    with pytest.raises(ValueError, match="not of MetaSearchCV"):
        search(database).fit(X, Y)


@pytest.mark.parametrize("url", ["study.db", "sqlite:////no/such/folder/study.db"])
def test_a_storage_that_cannot_be_opened_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="cannot be opened") as caught:
        search(url).fit(X, Y)
    assert "\n" not in str(caught.value)


def test_what_ctrl_c_cut_short_is_run_again(database: str) -> None:
    calls = []

    def metric(model: Any, X: Any, y: Any) -> float:
        calls.append(model.C)
        if len(calls) == 4:  # in the second fold of the second trial
            raise KeyboardInterrupt
        return float(model.score(X, y))

    with pytest.warns(UserWarning, match="interrupted after 1 trials"):
        search(database, scoring=metric).fit(X, Y)
    done = search(database, scoring=metric).fit(X, Y)
    assert calls[4] == calls[3]
    assert list(done.cv_results_["param_C"]) == [calls[0], calls[3], calls[6]]
    states = [trial.state for trial in done.study_.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, *[TrialState.COMPLETE] * 2]


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_search_stored import X, Y, search

calls = []
def metric(model, X, y):
    calls.append(model.C)
    print(model.C, flush=True)
    if len(calls) == {fatal}:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(model.score(X, y))

done = search({storage!r}, scoring=metric).fit(X, Y)
print("best", done.best_score_)
"""


def run(storage: str, fatal: int) -> tuple[int, list[str]]:
    """Search in a process of its own, which dies when it scores for the `fatal`-th time."""
    script = SCRIPT.format(tests=str(Path(__file__).parent), storage=storage, fatal=fatal)
    result = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    return result.returncode, result.stdout.splitlines()


def test_what_a_kill_cut_short_is_run_again_once(database: str) -> None:
    code, first = run(database, fatal=4)  # in the second fold of the second trial
    assert code == -signal.SIGKILL
    killer = first[3]
    code, second = run(database, fatal=2)
    assert code == -signal.SIGKILL
    assert second == [killer, killer]  # tried again, it kills again
    code, third = run(database, fatal=99)
    assert code == 0
    assert killer not in third  # and is given up
    assert len(third) == 2 + 1  # one trial of two folds, and the result
    study = optuna.load_study(storage=database, study_name="s")
    states = [trial.state for trial in study.trials]
    failed, complete = TrialState.FAIL, TrialState.COMPLETE
    assert states == [complete, failed, failed, complete]
    assert (
        len(search(database, scoring=None).set_params(storage=None).fit(X, Y).study_.trials) == 3
    )


def test_the_trials_of_a_living_process_are_left_alone(database: str) -> None:
    """Several processes may work on one study."""
    search(database, 1).fit(X, Y)
    other = optuna.load_study(storage=database, study_name="s").ask()
    other.set_user_attr("metahpo:process", ["elsewhere.example", os.getpid(), 0.0])
    done = search(database, 3).fit(X, Y)
    assert done.study_.trials[other.number].state == TrialState.RUNNING
    assert len(done.cv_results_["params"]) == 3


def test_the_trial_of_a_dead_process_that_nobody_collected_is_taken_up(database: str) -> None:
    search(database, 1).fit(X, Y)
    with subprocess.Popen(["sleep", "60"]) as dead:
        process = psutil.Process(dead.pid)
        created = process.create_time()
        dead.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        other = optuna.load_study(storage=database, study_name="s").ask()
        other.set_user_attr("metahpo:process", [socket.gethostname(), dead.pid, created])
        done = search(database, 2).fit(X, Y)
    assert done.study_.trials[other.number].state == TrialState.FAIL


@pytest.mark.parametrize(("moved", "state"), [(2.0, TrialState.RUNNING), (60.0, TrialState.FAIL)])
def test_a_process_is_known_by_its_start_though_the_clock_is_set(
    database: str, moved: float, state: TrialState
) -> None:
    search(database, 1).fit(X, Y)
    other = optuna.load_study(storage=database, study_name="s").ask()
    created = psutil.Process().create_time()
    other.set_user_attr("metahpo:process", [socket.gethostname(), os.getpid(), created - moved])
    done = search(database, 2).fit(X, Y)
    assert done.study_.trials[other.number].state == state


@pytest.mark.parametrize(
    ("hosts", "hours", "state"),
    [
        (["here"], 0, TrialState.RUNNING),
        (["here"], 1, TrialState.FAIL),
        (["here", "elsewhere"], 26, TrialState.RUNNING),  # in Samoa it may have begun just now
        (["here", "elsewhere"], 72, TrialState.FAIL),
    ],
)
def test_a_trial_that_nobody_claims_is_dead_when_its_host_must_be_known_to_say_so(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    hosts: list[str],
    hours: int,
    state: TrialState,
) -> None:
    for host in reversed(hosts):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        search(database, 1).fit(X, Y)
    trial = optuna.trial.create_trial(state=TrialState.RUNNING)
    trial.datetime_start = datetime.now() - timedelta(hours=hours)
    optuna.load_study(storage=database, study_name="s").add_trial(trial)
    assert search(database, 2).fit(X, Y).study_.trials[1].state == state


class Raced(JournalStorage):
    """A storage in which another process is always faster to declare a trial dead."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        if state == TrialState.FAIL:
            super().set_trial_state_values(trial_id, state, values)
        return super().set_trial_state_values(trial_id, state, values)


def test_two_processes_may_take_up_the_same_trial(tmp_path: Path) -> None:
    storage = Raced(JournalFileBackend(str(tmp_path / "study.log")))
    search(storage, 1).fit(X, Y)
    other = optuna.load_study(storage=storage, study_name="s").ask()
    other.suggest_float("C", 1e-2, 1e2, log=True)
    other.set_user_attr("metahpo:process", [socket.gethostname(), os.getpid(), 0.0])
    trials = search(storage, 3).fit(X, Y).study_.trials
    assert trials[other.number].state == TrialState.FAIL
    assert len(trials) == 3  # it is for the faster one to queue it again


def test_a_clone_continues_the_same_study(database: str) -> None:
    original = search(database, 2).fit(X, Y)
    assert clone(original).fit(X, Y).cv_results_["params"] == original.cv_results_["params"]
