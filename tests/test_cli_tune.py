"""``metahpo tune`` as a user runs it: in a process of its own, also when that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from metahpo import MetaModel, learners
from metahpo.cli.meter import TrialMeter
from metahpo.cli.tune import parse_duration

REPOSITORY = Path(__file__).parents[1]


def mixed_table(n: int = 150) -> pd.DataFrame:
    """Numbers, categories, text, dates, booleans, gaps, and columns of no use."""
    rng = np.random.default_rng(0)
    age, mood = rng.integers(18, 90, n), rng.choice(["good", "bad", "fine", "awful"], n)
    frame = pd.DataFrame(
        {
            "age": age.astype(float),
            "city": rng.choice(["Rome", "Oslo", "Lima"], n),
            "review": [f"order {i} was {m}, thanks" for i, m in enumerate(mood)],
            "since": pd.date_range("2020-01-01", periods=n).strftime("%d/%m/%Y"),
            "member": rng.choice([True, False], n),
            "version": 3,
            "comment": np.nan,
            "left": np.where((age > 50) ^ np.isin(mood, ["bad", "awful"]), "yes", "no"),
        }
    )
    frame.loc[3:9, "age"] = np.nan
    frame.loc[[1, 7], "city"] = None
    frame.loc[[2, 9], "since"] = None
    frame.loc[[11, 12], "left"] = None
    return frame


class Tuning:
    """One command line, in a folder of its own."""

    def __init__(self, folder: Path, model: MetaModel) -> None:
        self.folder, self.out = folder, folder / "metahpo-tune" / "table-svc"
        mixed_table().to_csv(folder / "table.csv", index=False)
        model.save(folder / "model")

    def start(self, *options: str, **process: Any) -> subprocess.Popen[str]:
        command = [sys.executable, REPOSITORY / "cli.py", "tune", "table.csv"]
        return subprocess.Popen(
            [*command, "-t", "left", "-l", "svc", "--cv", "2", "--model", "model", *options],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **process,
        )

    def run(self, *options: str, **process: Any) -> tuple[int, str, str]:
        with self.start(*options, **process) as running:
            out, err = running.communicate(timeout=240)
        return running.returncode, out, err

    def interrupted(
        self,
        blow: signal.Signals,
        *options: str,
        at: int = 2,
        rows: str = "trials WHERE state = 'COMPLETE'",
    ) -> tuple[int, str, str]:
        """Run until two trials are finished, or the study has other rows; then send a signal."""
        with self.start(*options) as process:
            while process.poll() is None and self._count(rows) < at:
                time.sleep(0.05)
            process.send_signal(blow)
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def _count(self, rows: str) -> int:
        """Count rows by looking on: Optuna, opening a study, would make its tables."""
        uri = f"file:{self.out / 'study.db'}?mode=ro"
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(uri, uri=True)) as db:
            return int(db.execute(f"SELECT COUNT(*) FROM {rows}").fetchone()[0])
        return 0

    def finished(self) -> list[FrozenTrial]:
        """Read the stored study's finished trials, as anyone can."""
        study = optuna.load_study(
            study_name="table-svc", storage=f"sqlite:///{self.out / 'study.db'}"
        )
        return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


@pytest.fixture
def tuning(tmp_path: Path, tiny_model: MetaModel) -> Tuning:
    return Tuning(tmp_path, tiny_model)


def test_a_mixed_table_ends_with_everything_there_is_to_have(tuning: Tuning) -> None:
    code, out, err = tuning.run("--trials", "5", "--metric", "roc_auc", "--jobs", "2")
    assert code == 0, err
    names = {path.name for path in tuning.out.iterdir()}
    assert names == {"report.html", "best.json", "trials.csv", "model.joblib", "study.db"}

    best = json.loads((tuning.out / "best.json").read_text())
    trials = pd.read_csv(tuning.out / "trials.csv")
    assert len(trials) == best["n_trials"] == 5
    assert best["score"] == pytest.approx(trials["score"].max())
    assert best["default_score"] is not None
    first, program = out.split("\n", 1)
    assert first.startswith(f"roc_auc {best['score']:.4f} in trial {best['trial']} of 5")

    (tuning.folder / "program.py").write_text(program)
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "program.py"],
        cwd=tuning.folder,
        capture_output=True,
        text=True,
    )
    assert printed.stdout.startswith(f"roc_auc {best['score']:.6f} ± "), printed.stderr

    for said in ("guessed classification", "dropped, without any value: comment", "since"):
        assert said in err
    page = (tuning.out / "report.html").read_text()
    assert f"{best['score']:.4f}" in page
    assert "tune table.csv -t left" in page

    # our own file, written a moment ago; it takes the table as the file holds it, target and all
    fitted = joblib.load(tuning.out / "model.joblib")
    raw = pd.read_csv(tuning.folder / "table.csv")
    predicted = fitted.predict(raw)
    assert set(predicted) <= {"yes", "no"}
    known = raw["left"].notna()
    assert (predicted[known] == raw["left"][known]).mean() > 0.6
    read = fitted[:2].transform(raw)["since"]  # 04/02 is in February, as the whole column says
    assert read.equals(pd.to_datetime(raw["since"], format="%d/%m/%Y").astype(read.dtype))


def test_killed_and_started_again_nothing_is_lost_or_done_twice(tuning: Tuning) -> None:
    code, _, _ = tuning.interrupted(signal.SIGKILL, "--trials", "6")
    assert code == -signal.SIGKILL
    before = tuning.finished()
    assert 2 <= len(before) < 6

    code, out, err = tuning.run("--trials", "6")
    assert code == 0, err
    after = tuning.finished()
    assert len(after) == 6
    # what was finished is as it was: same number, same time, same score
    assert after[: len(before)] == before
    told = pd.read_csv(tuning.out / "trials.csv")
    assert told["number"].tolist() == [1, 2, 3, 4, 5, 6]
    assert told["score"].tolist() == pytest.approx([trial.value for trial in after])
    tried = [json.dumps(trial.params, sort_keys=True) for trial in after]
    assert len(set(tried)) == 6

    code, again, err = tuning.run("--trials", "6")  # and a third time there is nothing to do
    assert (code, again) == (0, out)
    assert "nothing was left to try: the study has 6 trials" in err
    assert tuning.finished() == after


def test_a_study_that_goes_on_begins_with_the_best_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = iter([0.7, 0.9, 0.8, 0.5, 0.95])
    study = optuna.create_study(direction="maximize")

    def lines(until: int) -> list[str]:
        with TrialMeter(until, "accuracy") as meter:
            assert meter.idle
            n_trials = until - len(study.trials)
            study.optimize(lambda trial: next(scores), n_trials, callbacks=[meter])
        return capsys.readouterr().err.splitlines()

    first = ["  trial 1 of 2: best accuracy 0.7000", "  trial 2 of 2: best accuracy 0.9000"]
    assert [line for line in lines(2) if "best" in line] == first
    then = ["  trial 5 of 5: best accuracy 0.9500"]
    assert [line for line in lines(5) if "best" in line] == then


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_best_so_far(tuning: Tuning, asked: signal.Signals) -> None:
    """So does the signal that a cluster's scheduler sends before it kills."""
    code, out, err = tuning.interrupted(asked, "--trials", "200")
    assert code == 0, err
    n_done = len(tuning.finished())
    assert 2 <= n_done < 200
    assert f"stopped after {n_done} of 200 trials; the same command goes on" in err
    best = json.loads((tuning.out / "best.json").read_text())
    assert best["score"] == max(trial.value or 0 for trial in tuning.finished())
    assert (tuning.out / "report.html").exists()
    assert "make_pipeline(" in out


def test_ctrl_c_before_the_first_score_says_that_there_is_no_result(tuning: Tuning) -> None:
    """A perceptron's training lasts, and it takes Ctrl-C for its end."""
    mixed_table(5000)[["age", "left"]].to_csv(tuning.folder / "table.csv", index=False)
    options = ["-l", "mlp", "--model", "default", "--study-name", "s", "--out", str(tuning.out)]
    n_params = len(learners["mlp"].space)  # when all are chosen, the first fold is fitted
    code, out, err = tuning.interrupted(signal.SIGINT, *options, at=n_params, rows="trial_params")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "stopped before there was a result; the same command goes on"
    url = f"sqlite:///{tuning.out / 'study.db'}"
    (trial, again) = optuna.load_study(study_name="s", storage=url).trials
    assert (trial.state, again.state) == (TrialState.FAIL, TrialState.WAITING)


def limit_file_size() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (125_000, 125_000))


def test_a_disk_that_fills_up_is_one_line(tuning: Tuning) -> None:
    """No file can grow beyond what an empty study takes, as on a disk that is all but full."""
    mixed_table(60)[["age", "left"]].to_csv(tuning.folder / "table.csv", index=False)
    code, out, err = tuning.run("--trials", "200", preexec_fn=limit_file_size)
    assert (code, out) == (2, "")
    assert re.match(
        "error: the (study's )?storage .*(failed|cannot be opened)", err.splitlines()[-1]
    )


def test_time_is_kept(tuning: Tuning) -> None:
    code, _, err = tuning.run("--trials", "10000", "--timeout", "1s")
    assert code == 0, err
    assert "of 10000 trials; the same command goes on" in err


def test_a_stored_study_is_not_mistaken_for_another(tuning: Tuning) -> None:
    assert tuning.run("--trials", "1")[0] == 0
    code, out, err = tuning.run("--trials", "1", "--metric", "roc_auc")
    assert (code, out) == (2, "")
    assert "error: the study 'table-svc' is of a search with another metric" in err

    url = f"sqlite:///{tuning.folder / 'other.db'}"
    optuna.create_study(study_name="table-svc", storage=url, direction="minimize")
    code, out, err = tuning.run("--trials", "1", "--storage", url)
    assert (code, out) == (2, "")
    assert "error: the study 'table-svc' has the direction minimize" in err


@pytest.mark.parametrize(
    ("option", "other", "told"),
    [
        ("--target", "member", "target 'left' instead of 'member'"),
        ("--study-name", "second", "study 'table-svc' instead of 'second'"),
    ],
)
def test_what_was_found_is_not_overwritten_by_another_study(
    tuning: Tuning, option: str, other: str, told: str
) -> None:
    code, _, err = tuning.run("--trials", "1", "--out", "mine")
    assert code == 0, err
    found = (tuning.folder / "mine" / "best.json").read_text()
    code, out, err = tuning.run("--trials", "1", "--out", "mine", option, other)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"error: mine holds a result with {told}; choose another --out"
    assert (tuning.folder / "mine" / "best.json").read_text() == found
    code, _, err = tuning.run("--trials", "2", "--out", "mine")
    assert code == 0, err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
