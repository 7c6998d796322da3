from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import OpenMLServer, free_port
from rich.console import Console
from rich.text import Text
from sklearn.datasets import make_classification, make_regression
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from troublesome import TROUBLESOME

from metahpo import MetaDataset, learners
from metahpo.collect import (
    CollectionPlan,
    Settings,
    Task,
    collect,
    collect_plan,
    load_collection_file,
)
from metahpo.collect.folder import CollectionFolder
from metahpo.collect.progress import Meter
from metahpo.collect.shards import read_shards
from metahpo.collect.tables import cap, prepare, read_table
from metahpo.fingerprint import Fingerprint, fingerprint

REPOSITORY = Path(__file__).parents[1]
CLASSIFY = Settings("classification", "accuracy", max_rows=100, time_limit=20)
TREE = learners["decision_tree"]
REGRESS = Settings("regression", "r2", max_rows=100, time_limit=20)


def blobs(n: int = 120, classes: int = 2, seed: int = 0) -> Task:
    X, y = make_classification(
        n, 6, n_informative=4, n_classes=classes, n_clusters_per_class=1, random_state=seed
    )
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame["color"] = pd.Categorical(np.where(frame["a"] > 0, "red", "blue"))
    frame.loc[::7, "b"] = np.nan
    return Task("blobs", "classification", frame, pd.Series(y).map(lambda v: f"class {v}"))


def line(n: int = 120) -> Task:
    X, y = make_regression(n, 5, noise=10, random_state=0)
    return Task("line", "regression", pd.DataFrame(X), pd.Series(y))


def triples(out: Path) -> Counter[tuple[str, str, int]]:
    shards = read_shards(out / "shards")
    return Counter(zip(shards["task_id"], shards["learner"], shards["config"], strict=True))


@pytest.fixture(scope="module")
def _small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    collect({"a": blobs}, [TREE], 3, folder, CLASSIFY, progress=False)
    return folder


@pytest.fixture
def small(_small: Path, tmp_path: Path) -> Path:
    """A finished collection of three configurations of a tree on one task."""
    return Path(shutil.copytree(_small, tmp_path / "small"))


def go_on(folder: Path, **changes: Any) -> MetaDataset:
    arguments: dict[str, Any] = {
        "tasks": {"a": blobs},
        "learners": [TREE],
        "n_configs": 3,
        "out": folder,
        "settings": CLASSIFY,
        "progress": False,
    }
    return collect(**{**arguments, **changes})


# ---------------------------------------------------------------------- scores


@pytest.mark.parametrize(
    ("task", "settings", "names"),
    [
        (
            blobs(classes=3),
            replace(CLASSIFY, metric="balanced_accuracy"),
            ["decision_tree", "logistic_regression"],
        ),
        (
            line(),
            replace(REGRESS, metric="neg_mean_absolute_error"),
            ["ridge", "k_neighbors_regressor"],
        ),
    ],
)
def test_scores_are_scikit_learns(
    task: Task, settings: Settings, names: list[str], tmp_path: Path
) -> None:
    """Sharing the fitted preprocessing among configurations changes no score."""
    used = [learners[name] for name in names]
    md = collect({"t": lambda: task}, used, 6, tmp_path, settings, progress=False)

    X, y = read_table(tmp_path / "tables" / "t.parquet")
    folds = StratifiedKFold if settings.task == "classification" else KFold
    splitter = folds(settings.n_folds, shuffle=True, random_state=settings.seed)
    for learner in used:
        own = md.for_learner(learner.name)
        configs = own.space.from_frame(own.trials)
        assert configs[0] == learner.space.default
        for config, score in zip(configs, own.trials["score"], strict=True):
            pipeline = learner.make(config, random_state=settings.seed)
            scores = cross_val_score(pipeline, X, y, scoring=settings.metric, cv=splitter)
            assert score == pytest.approx(scores.mean(), abs=1e-9)
    assert (md.trials["status"] == "ok").all()
    assert (md.trials["fit_seconds"] > 0).all()


def test_what_a_collection_knows_of_its_tasks(tmp_path: Path) -> None:
    tasks = {"7": lambda: blobs(300), "8": lambda: blobs(80, seed=1)}
    md = collect(tasks, [learners["decision_tree"]], 2, tmp_path, CLASSIFY, progress=False)

    assert md.info is not None
    assert md.tasks is not None
    assert md.info.loc["7", ["name", "rows", "columns", "used_rows", "n_classes"]].tolist() == [
        "blobs", 300, 7, 100, 2,
    ]  # fmt: skip
    for task_id, load in tasks.items():
        full = load()
        kept = Fingerprint.from_json(json.loads(str(md.info.loc[task_id, "fingerprint"])))
        assert kept == fingerprint(full.X, full.y)  # of the full table
        X, y = read_table(tmp_path / "tables" / f"{task_id}.parquet")
        from metahpo import describe

        described = describe(X, y, "classification", seed=CLASSIFY.seed)  # of the used one
        pd.testing.assert_series_equal(
            md.tasks.loc[task_id], pd.Series(dict(described)), check_names=False
        )
    assert (md.metric, md.direction) == ("accuracy", "maximize")
    assert repr(MetaDataset.load(tmp_path)) == repr(md)


def test_an_outdated_description_is_made_again(small: Path) -> None:
    before = MetaDataset.load(small)
    path = small / "tables" / "a.features.json"
    path.write_text('{"version": -1, "features": {"nonsense": 1.0}}')
    assert before.tasks is not None
    pd.testing.assert_frame_equal(before.tasks, go_on(small).tasks)


# ---------------------------------------------------------------------- caps


def test_caps_keep_the_classes_in_proportion() -> None:
    rng = np.random.default_rng(0)
    y = pd.Series(rng.choice(["a", "b", "c"], 5000, p=[0.6, 0.3, 0.1]))
    X = pd.DataFrame(rng.normal(size=(5000, 30)))
    task = Task("wide", "classification", X, y)
    settings = replace(CLASSIFY, max_rows=500, max_columns=12)

    table, target = cap(task, settings)

    assert table.shape == (500, 12)
    np.testing.assert_allclose(target.value_counts(normalize=True), [0.6, 0.3, 0.1], atol=0.02)
    again, _ = cap(task, settings)
    pd.testing.assert_frame_equal(table, again)
    other, _ = cap(task, replace(settings, seed=1))
    assert not table.equals(other)
    # every row that is kept is a row of the source, with its label
    labels = dict(zip(X[int(table.columns[0])], y, strict=True))
    assert [labels[v] for v in table.iloc[:, 0]] == target.map(dict(enumerate("abc"))).tolist()


def test_rare_classes_and_missing_targets_are_left_out() -> None:
    y = pd.Series(["x"] * 30 + ["y"] * 30 + ["rare"] * 2 + [None] * 5)
    X = pd.DataFrame({"row": range(len(y))})
    table, target = cap(Task("rare", "classification", X, y), CLASSIFY)
    assert table["row"].tolist() == list(range(60))
    assert target.tolist() == [0] * 30 + [1] * 30


def test_any_table_survives_the_disk(tmp_path: Path) -> None:
    n = 40
    X = pd.DataFrame(
        {
            "mixed": [1, "one", None, 2.5] * 10,
            "flag": [True, False] * 20,
            "when": pd.date_range("2024-01-01", periods=n),
            "level": pd.Categorical(
                ["low", "high"] * 20, categories=["low", "high"], ordered=True
            ),
            "text": [f"some words {i}" for i in range(n)],
            "sparse": pd.arrays.SparseArray([0.0, 1.0] * 20),
            3: range(n),
        }
    )
    X.columns = [*X.columns[:-2], "same", "same"]
    task = Task("odd", "classification", X, pd.Series([0, 1] * 20))
    table = prepare(tmp_path, "a/b", lambda: task, CLASSIFY)
    read, target = read_table(table.path)
    assert list(read.columns) == ["mixed", "flag", "when", "level", "text", "same_5", "same_6"]
    assert read["mixed"].isna().sum() == 10
    assert read["mixed"].dropna().tolist() == ["1", "one", "2.5"] * 10
    for name in ("flag", "when", "level", "text"):
        pd.testing.assert_series_equal(read[name], X[name], check_dtype=False)
    assert target.tolist() == [0, 1] * 20


# ---------------------------------------------------------------------- trouble


def test_failures_crashes_and_hangs_are_recorded(tmp_path: Path) -> None:
    # with this seed: fine, stuck, fine, raises, crashes, no_predict
    settings = replace(CLASSIFY, time_limit=1.0, seed=23)
    md = collect({"t": blobs}, [TROUBLESOME], 6, tmp_path, settings, progress=False)

    own = md.for_learner("troublesome").trials
    expected = {
        "fine": ("ok", None),
        "raises": ("failed", "ValueError: no luck with this one"),
        "stuck": ("timeout", "stopped at the time limit of 1 s"),
        "crashes": ("failed", "the worker process died with signal SIGSEGV"),
        "no_predict": ("failed", "the scorer failed: RuntimeError: cannot predict"),
    }
    assert set(own["behaviour"]) == set(expected)
    assert len(own) == 6
    for row in own.itertuples():
        status, error = expected[row.behaviour]
        assert row.status == status
        assert row.error == error if error else pd.isna(row.error)
        assert np.isnan(row.score) == (status != "ok")
    assert own.loc[own["behaviour"] == "stuck", "fit_seconds"].eq(1.0).all()


def test_a_scorer_that_does_not_fit_the_learner_is_named(tmp_path: Path) -> None:
    settings = replace(CLASSIFY, metric="neg_log_loss")  # SVC has no predict_proba by default
    md = collect({"t": blobs}, [learners["svc"]], 1, tmp_path, settings, progress=False)
    assert md.trials["status"].tolist() == ["failed"]
    assert "predict_proba" in md.trials["error"][0]


def test_tasks_that_cannot_be_used_are_left_out(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = replace(blobs(), X=blobs().X[:5], y=blobs().y[:5])
    md = go_on(small, tasks={"numbers": line, "a": blobs, "few": lambda: few})
    assert md.task_ids == ("a",)
    assert [record.getMessage()[:34] for record in caplog.records] == [
        "left out: task numbers (line) is a",
        "left out: task few (blobs) has 3 u",
    ]
    with pytest.raises(ValueError, match=r"no task can be used: task numbers \(line\) is a regr"):
        go_on(small, tasks={"numbers": line, "few": lambda: few})


# ---------------------------------------------------------------------- going on


def test_a_collection_is_extended(small: Path) -> None:
    files = {p: p.read_bytes() for p in (small / "shards").iterdir()}

    def never() -> Task:
        raise AssertionError("a table that is on disk was loaded again")

    used = [TREE, learners["logistic_regression"]]
    tasks = {"a": never, "b": lambda: blobs(seed=1)}
    md = go_on(small, tasks=tasks, learners=used, n_configs=5)

    assert triples(small) == Counter(
        (task, learner.name, i) for task in "ab" for learner in used for i in range(5)
    )
    assert {p: p.read_bytes() for p in files} == files
    for learner in used:
        own = md.for_learner(learner.name)
        first, second = (own.space.from_frame(own.subset([t]).trials) for t in "ab")
        assert first == second  # the same configurations everywhere


def test_a_meta_dataset_alone_is_extended(small: Path) -> None:
    before = MetaDataset.load(small)
    done = triples(small)
    shutil.rmtree(small / "shards")

    after = go_on(small, n_configs=4)

    assert done < triples(small)
    assert set(triples(small).values()) == {1}
    for learner in before.trials["learner"].unique():
        old, new = (md.for_learner(learner).trials for md in (before, after))
        for task_id in before.task_ids:
            mine = old[old["task_id"] == task_id].reset_index(drop=True)
            kept = new[new["task_id"] == task_id].head(len(mine)).reset_index(drop=True)
            # times too: nothing was done again
            pd.testing.assert_frame_equal(mine, kept, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "f1"}, "metric = 'accuracy', not 'f1'"),
        ({"n_folds": 5}, "n_folds = 3, not 5"),
        ({"max_rows": 50}, "max_rows = 100, not 50"),
        ({"seed": 9}, "seed = 0, not 9"),
    ],
)
def test_other_settings_need_another_folder(
    change: dict[str, Any], message: str, small: Path
) -> None:
    with pytest.raises(ValueError, match=f"{message}; use another folder"):
        go_on(small, settings=replace(CLASSIFY, **change))


def test_tables_may_be_deleted(small: Path) -> None:
    shutil.rmtree(small / "tables")
    with pytest.raises(ValueError, match="the table of task a is not in"):
        go_on(small, tasks={"b": lambda: blobs(seed=1)}, n_configs=1)
    md = go_on(small)
    assert (small / "tables" / "a.parquet").exists()
    assert md.task_ids == ("a", "b")


def test_another_space_needs_another_folder(small: Path) -> None:
    other = replace(TREE, space=learners["k_neighbors"].space)
    with pytest.raises(ValueError, match="another space of the learner 'decision_tree'"):
        go_on(small, learners=[other])


def test_other_configurations_need_another_folder(small: Path) -> None:
    """A version of metahpo that draws differently must not mix its list into this one."""
    (shard,) = (small / "shards").iterdir()
    table = pd.read_parquet(shard)
    table.loc[1, "params"] = table.loc[2, "params"]
    table.to_parquet(shard)
    with pytest.raises(ValueError, match="another configuration 1 of 'decision_tree'"):
        go_on(small)


def test_a_damaged_shard_is_named(small: Path) -> None:
    (shard,) = (small / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{shard.name} is damaged"):
        go_on(small)
    shard.unlink()  # as the message says
    assert go_on(small).n_evaluations == 3


def test_two_processes_do_not_collect_into_one_folder(small: Path) -> None:
    with (
        CollectionFolder(small).opened(CLASSIFY, [TREE]),
        pytest.raises(ValueError, match=f"another process is collecting into {small}"),
    ):
        go_on(small)
    assert go_on(small).n_evaluations == 3


# ---------------------------------------------------------------------- the command

PLAN = """
task = "classification"
tasks = [27, 48]
learners = ["decision_tree", "logistic_regression", "k_neighbors"]
n_configs = 60
max_rows = 120
time_limit = 20
"""


class Command:
    """``metahpo collect`` against the local server, as a user runs it from a checkout."""

    def __init__(self, folder: Path, server: OpenMLServer, plan: str = PLAN) -> None:
        self.file, self.out = folder / "plan.toml", folder / "out"
        self.file.write_text(plan)
        self._environment = {**os.environ, "XDG_CONFIG_HOME": str(server.config_home)}
        self._environment.pop("OPENML_CACHE_DIR", None)

    def start(self, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "cli.py", "collect", self.file, "--out", self.out, "--jobs", "2"],
            cwd=REPOSITORY,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, **options: Any) -> tuple[int, str, str]:
        with self.start(**options) as process:
            out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def shards(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (self.out / "shards").glob("*.parquet")}


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again_nothing_is_lost_or_done_twice(
    blow: signal.Signals, openml_server: OpenMLServer, tmp_path: Path
) -> None:
    command = Command(tmp_path, openml_server)
    with command.start() as process:
        while process.poll() is None and len(command.shards()) < 3:
            time.sleep(0.01)
        process.send_signal(blow)
        _, err = process.communicate(timeout=60)
    if blow is signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in err
    kept = command.shards()
    done_before = triples(command.out)
    everything = Counter(
        (task, name, i)
        for task in ("27", "48")
        for name in ("decision_tree", "logistic_regression", "k_neighbors")
        for i in range(60)
    )
    assert 0 < len(done_before) < len(everything)

    code, out, err = command.run()

    assert (code, out) == (0, f"{MetaDataset.load(command.out)!r}\n")
    assert f"{len(done_before)} evaluations were done before and are kept" in err
    done_now = len(everything) - len(done_before)
    assert f"{done_now}/{done_now} evaluations" in err
    assert triples(command.out) == everything
    after = command.shards()
    assert {name: after[name] for name in kept} == kept
    assert not list(command.out.rglob("*.unfinished"))

    if blow is signal.SIGKILL:
        code, _, err = command.run()  # and a third time there is nothing to do
        assert code == 0
        assert err == "360 evaluations were done before and are kept\n"
        assert command.shards() == after


def test_a_suite(openml_server: OpenMLServer, tmp_path: Path) -> None:
    """The tasks come from the suite; all of this one are of the other kind."""
    plan = CollectionPlan(CLASSIFY, ("decision_tree",), 1, suite=353)
    with pytest.raises(ValueError, match=r"no task can be used: task \d+ \(.*\) is a regression"):
        collect_plan(plan, tmp_path, progress=False)


def test_a_server_that_is_down_is_one_line(openml_server: OpenMLServer, tmp_path: Path) -> None:
    command = Command(tmp_path, openml_server)
    url = f"http://127.0.0.1:{free_port()}/api/v1/xml"
    (openml_server.config_home / "openml" / "config").write_text(
        f"server = {url}\ncachedir = {openml_server.cache}\nconnection_n_retries = 1\n"
    )
    code, out, err = command.run()
    assert (code, out) == (2, "")
    assert err.startswith(f"error: cannot reach {url} for task 27")
    assert err.count("\n") == 1


def limit_file_size() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


def test_a_disk_that_is_full_is_one_line(openml_server: OpenMLServer, tmp_path: Path) -> None:
    """No file can grow beyond a kilobyte, as on a disk that is all but full."""
    command = Command(tmp_path, openml_server)
    code, out, err = command.run(preexec_fn=limit_file_size)
    assert (code, out) == (2, "")
    assert err == f"error: cannot write {command.out}/collection.json: File too large\n"


def test_a_place_that_is_no_folder_is_one_line(
    openml_server: OpenMLServer, tmp_path: Path
) -> None:
    command = Command(tmp_path, openml_server)
    command.out.write_text("a file")
    code, out, err = command.run()
    assert (code, out) == (2, "")
    assert str(command.out) in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_says_how_many_how_fast_and_how_long(terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100)
    with Meter(200, 40, console=console) as meter:
        for _ in range(50):
            meter.advance()
    said = Text.from_ansi(screen.getvalue()).plain
    assert "40 evaluations were done before and are kept" in said
    assert "50/200" in said
    assert "/s" in said
    assert "left" in said


# ---------------------------------------------------------------------- the declaration


@pytest.mark.parametrize("name", ["default_classification", "default_regression"])
def test_the_declared_collections(name: str, shared: Path) -> None:
    """The default model's tasks share no family with the suites that we benchmark on."""
    plan = load_collection_file(REPOSITORY / "tasks" / f"{name}.toml")
    index = pd.read_csv(shared / "data" / "openml-cache" / "index.csv").set_index("task_id")
    held_out = set(index.loc[index["in_cc18"] | index["in_ctr23"], "family"])
    chosen = index.loc[list(plan.tasks)]
    assert len(set(plan.tasks)) == len(plan.tasks) >= (40 if "class" in name else 20)
    assert set(chosen["type"]) == {plan.settings.task}
    assert not held_out & set(chosen["family"])
    everyone = {n for n, one in learners.items() if one.task == plan.settings.task}
    assert set(plan.learners) == everyone - {"auto", "auto_regressor"}
    assert plan.n_configs >= 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = ", "is not TOML"),
        (PLAN + "folds = 3", "unknown key 'folds'; known are"),
        (PLAN.replace("tasks", "#"), "give either tasks"),
        (PLAN + "suite = 99", "give either tasks"),
        (PLAN.replace("n_configs", "#"), "the key 'n_configs' is missing"),
        (PLAN.replace("60", '"many"'), "n_configs is 'many'; an integer is needed"),
        (PLAN.replace("48", '"iris"'), r"tasks is \[27, 'iris'\]; a list of integers is needed"),
        (
            PLAN.replace('"classification"', '"ranking"'),
            "task is 'ranking'; one of 'classification', ",
        ),
        (PLAN + 'metric = "acuracy"', "metric 'acuracy' is not one of scikit-learn's scorers"),
        (PLAN + "n_folds = 1", "n_folds is 1; it must be at least 2"),
        (PLAN.replace("20", "0"), "time_limit is 0; it must be positive"),
    ],
)
def test_a_declaration_with_a_mistake(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_collection_file(path)
    assert str(path) in str(caught.value)


def test_a_declaration_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no collection file .*nothing\.toml"):
        load_collection_file(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": {}}, "no tasks"),
        ({"learners": []}, "no learners"),
        ({"n_configs": 0}, "n_configs is 0"),
        ({"learners": [learners["svr"]]}, "'svr' is for regression, the collection for class"),
    ],
)
def test_arguments_that_make_no_sense(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        go_on(tmp_path, **change)
