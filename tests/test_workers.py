"""Several worker processes on one study, in each of Optuna's storages, and the deaths of some."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import psutil
import pytest
from conftest import free_port
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from postgresql import postgresql
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from test_cli_tune import Tuning

from metahpo import MetaModel, MetaSearchCV
from metahpo.search.stored import finished, open_storage

N_TRIALS = 8


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql":
        with postgresql(free_port()) as url:
            yield url
    else:
        yield f"{request.param}:///{tmp_path / 'shared.study'}"


@pytest.fixture
def tuning(tmp_path: Path, tiny_model: MetaModel) -> Tuning:
    return Tuning(tmp_path, tiny_model)


def trials_in(storage: str) -> list[FrozenTrial]:
    """Look at a study's trials and leave nothing behind: no tables, no open connection."""
    unpooled = {"poolclass": NullPool}
    if storage.startswith("journal"):
        place: Any = open_storage(storage)
    elif not _begun(create_engine(storage, **unpooled)):
        return []
    else:
        place = RDBStorage(
            storage, unpooled, skip_compatibility_check=True, skip_table_creation=True
        )
    try:
        study = optuna.load_study(study_name="table-svc", storage=place)
        return study.get_trials(deepcopy=False)
    except (KeyError, StorageInternalError, SQLAlchemyError):  # not made yet, or locked
        return []
    finally:
        place.remove_session()


def _begun(engine: Engine) -> bool:
    """Tell whether there is a trial: before, Optuna would join in the making of tables."""
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT COUNT(*) FROM trials")).scalar_one() > 0
    except SQLAlchemyError:
        return False


def claimed(trials: list[FrozenTrial], *states: TrialState) -> set[int]:
    """Return the processes that run or ran trials of some states."""
    found = (t.user_attrs.get("metahpo:process") for t in trials if t.state in states)
    return {claim[1] for claim in found if claim is not None}


def stopped_worker(process: subprocess.Popen[str], storage: str) -> int:
    """Stop a worker in the midst of a trial, when another is finished, and return its number."""
    while process.poll() is None:
        trials = trials_in(storage)
        if claimed(trials, TrialState.COMPLETE):
            for worker in claimed(trials, TrialState.RUNNING):
                os.kill(worker, signal.SIGSTOP)
                if worker in claimed(trials_in(storage), TrialState.RUNNING):
                    return worker
                os.kill(worker, signal.SIGCONT)
        time.sleep(0.2)
    raise AssertionError(process.communicate()[1])


def check_complete(trials: list[FrozenTrial], tuning: Tuning) -> None:
    """All trials are there exactly once, and reported."""
    study = study_in_memory(trials)
    assert len(finished(study)) == N_TRIALS
    # one whose process died before it could put its name to it is known as dead a minute later
    assert all(
        t.state.is_finished() for t in trials if t.params or "metahpo:process" in t.user_attrs
    )
    scored = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    tried = [json.dumps(trial.params, sort_keys=True) for trial in scored]
    assert len(set(tried)) == len(tried)  # no two workers tried the same
    best = json.loads((tuning.out / "best.json").read_text())
    assert best["n_trials"] == N_TRIALS
    assert best["score"] == max(trial.value or 0 for trial in scored)
    assert best["default_score"] is not None


def study_in_memory(trials: list[FrozenTrial]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def test_one_of_several_workers_is_killed_and_the_others_go_on(
    storage: str, tuning: Tuning
) -> None:
    n_workers = 4 if storage.startswith("postgresql") else 3
    options = ["--trials", str(N_TRIALS), "--workers", str(n_workers), "--storage", storage]
    with tuning.start(*options) as process:
        victim = stopped_worker(process, storage)
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert "a worker process ended with signal SIGKILL" in err
    trials = trials_in(storage)
    check_complete(trials, tuning)
    others = claimed(trials, TrialState.COMPLETE) - {victim, process.pid}
    assert len(others) == n_workers - 1
    (lost,) = [t for t in trials if t.state == TrialState.FAIL]
    assert lost.user_attrs["metahpo:process"][1] == victim
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    # what it was trying, which may have been suggested in part only, was tried by another
    assert any(lost.params.items() <= trial.params.items() for trial in complete)

    code, _, err = tuning.run(*options)  # there is nothing left to do
    assert (code, trials_in(storage)) == (0, trials), err


def test_workers_end_with_the_process_that_started_them(tuning: Tuning) -> None:
    storage = f"sqlite:///{tuning.folder / 'study.db'}"
    options = ["--trials", str(N_TRIALS), "--workers", "2", "--storage", storage]
    with tuning.start(*options) as process:
        os.kill(stopped_worker(process, storage), signal.SIGCONT)
        workers = psutil.Process(process.pid).children()
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert len(trials_in(storage)) < N_TRIALS
    code, _, err = tuning.run(*options)
    assert code == 0, err
    check_complete(trials_in(storage), tuning)


@pytest.mark.parametrize("asked", ["Ctrl-C", "SIGTERM to all"])
def test_ctrl_c_keeps_what_the_workers_have(tuning: Tuning, asked: str) -> None:
    """So does a scheduler's request, which goes to every process of a job."""
    storage = f"journal:///{tuning.folder / 'study.log'}"
    options = ["--trials", "500", "--workers", "2", "--storage", storage]
    with tuning.start(*options) as process:
        os.kill(stopped_worker(process, storage), signal.SIGCONT)
        if asked == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            for one in [*psutil.Process(process.pid).children(), process]:
                one.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert "of 500 trials; the same command goes on" in err
    assert "a worker process ended" not in err
    assert not [trial for trial in trials_in(storage) if trial.state == TrialState.RUNNING]


def test_what_is_wrong_is_said_once(tuning: Tuning) -> None:
    for url, reason in {
        "journal:////no/such/folder/study.log": "No such file or directory",
        "postgresql+psycopg://someone:secret@127.0.0.1:1/x": "refused|the package psycopg",
    }.items():
        code, out, err = tuning.run("--workers", "2", "--storage", url)
        assert (code, out) == (2, "")
        assert "secret" not in err
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "cannot be opened" in line
        assert any(part in line for part in reason.split("|"))


def test_trials_that_all_fail_are_told_of_in_one_line(tuning: Tuning) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(4000, 3)), columns=list("abc"))
    frame.assign(left=np.exp(10 * frame["a"])).to_csv(tuning.folder / "table.csv", index=False)
    metric = "neg_mean_squared_log_error"  # a line through this goes below -1, however flat
    options = ["-l", "ridge", "--model", "default", "--metric", metric, "--task", "regression"]
    code, out, err = tuning.run(*options, "--trials", "2", "--workers", "2")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert "a worker process ended" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "no trial succeeded; 2 failed" in line
    assert "Mean Squared Logarithmic Error cannot be used" in err.replace("\n", " ")
    assert "error_score" not in err


def test_a_study_can_be_opened_without_running_it(tmp_path: Path) -> None:
    from searching import small_table
    from sklearn.linear_model import LogisticRegression

    X, y = small_table()
    space: Any = {"C": optuna.distributions.FloatDistribution(1e-2, 1e2, log=True)}
    options: dict[str, Any] = {
        "n_trials": 2,
        "cv": 2,
        "model": MetaModel.blank(),
        "storage": f"journal:///{tmp_path / 'study.log'}",
        "study_name": "s",
    }
    search = MetaSearchCV(LogisticRegression(), space, **options)
    study = search.open_study(X, y)
    assert study.trials == []
    study.enqueue_trial({"C": 3.0})
    assert search.fit(X, y).study_.trials[0].params == {"C": 3.0}
