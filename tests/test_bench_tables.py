"""Benchmarks on tables: nested validation, the leak guard, OpenML that fails, the command line."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from conftest import OpenMLServer
from sklearn.metrics import get_scorer
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metahpo import MetaDataset, MetaModel, learners
from metahpo.bench.gathering import gather
from metahpo.bench.plan import Plan, declared_plan, load_plan
from metahpo.bench.run import Session, run_benchmark
from metahpo.bench.runs import read_record, read_runs
from metahpo.bench.sources import BundledSource, OpenMLSource
from metahpo.bench.store import Store
from metahpo.bench.tables import Preparation
from metahpo.cli import main
from metahpo.collect.tables import read_table
from metahpo.fingerprint import fingerprint
from metahpo.openml import OpenMLError, fetch_split, fetch_task
from metahpo.surrogate.features import FeatureOptions

REPOSITORY = Path(__file__).parents[1]


def declared(**keys: object) -> Plan:
    given = {"name": "test", "learners": ["k_neighbors"], "methods": ["random"], "trials": 2}
    if not {"tasks", "suite", "datasets"} & keys.keys():
        given["datasets"] = ["iris"]
    return declared_plan({**given, "seeds": 1, **keys})


# ---------------------------------------------------------------------- nested validation


def test_scores_are_scikit_learns(tmp_path: Path) -> None:
    plan = declared(folds=[3], trials=3)
    run_benchmark(plan, tmp_path)
    runs = read_runs([tmp_path])
    assert len(runs) == 3
    assert set(runs["fold"]) == {3}
    task = BundledSource("iris").load()
    train_rows, test_rows = BundledSource("iris").split(task, 3)
    X, y = task.X.iloc[train_rows], task.y.iloc[train_rows]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    incumbent: dict | None = None
    for row in runs.itertuples():
        config = json.loads(row.config)
        model = learners["k_neighbors"].make(config)
        expected = cross_val_score(model, X, y, cv=folds, scoring="accuracy").mean()
        assert row.score == pytest.approx(expected)
        incumbent = config if row.score == row.best and row.score > 0 else incumbent
        if row.score == row.best:
            fitted = model.fit(X, y)
            known = runs.loc[runs["best"] == row.best, "trial"].min() == row.trial
            outside = get_scorer("accuracy")(
                fitted, task.X.iloc[test_rows], task.y.iloc[test_rows]
            )
            if known:
                assert row.test_score == pytest.approx(outside)


def test_without_nesting_all_is_tuned_on(tmp_path: Path) -> None:
    run_benchmark(declared(nested=False), tmp_path)
    runs = read_runs([tmp_path])
    assert runs["test_score"].isna().all()
    (train_part,) = (tmp_path / "tables").glob("*.parquet")
    assert len(pd.read_parquet(train_part)) == 150


@pytest.mark.parametrize("fold", [0, 7])
def test_folds_are_openmls(fold: int, openml_server: OpenMLServer, tmp_path: Path) -> None:
    plan = declared(tasks=[11], folds=[fold], max_rows=10_000)
    (part,) = Preparation(OpenMLSource(11), plan, tmp_path).run().parts
    task, (train_rows, test_rows) = fetch_task(11), fetch_split(11, fold)
    assert not set(train_rows) & set(test_rows)
    assert part.test is not None
    for path, rows in ((part.train, train_rows), (part.test, test_rows)):
        X, y = read_table(path)
        assert fingerprint(X, y.astype(str)) == fingerprint(task.X.iloc[rows], task.y.iloc[rows])


def test_a_fold_that_is_not_there(openml_server: OpenMLServer, tmp_path: Path) -> None:
    with pytest.raises(OpenMLError, match="task 11 has 10 folds, and none of number 10"):
        fetch_split(11, 10)
    with pytest.raises(ValueError, match="iris has folds 0 to 9"):
        Preparation(BundledSource("iris"), declared(folds=[12]), tmp_path).run()


def test_caps_cut_the_training_part_only(openml_server: OpenMLServer, tmp_path: Path) -> None:
    plan = declared(tasks=[2079], max_rows=100, max_columns=5)  # eucalyptus: 736 × 19, 5 classes
    (part,) = Preparation(OpenMLSource(2079), plan, tmp_path).run().parts
    assert part.test is not None
    (X, y), (X_test, y_test) = read_table(part.train), read_table(part.test)
    assert X.shape[1] == X_test.shape[1] == 5
    assert 95 <= len(X) <= 100
    assert len(X_test) == len(fetch_split(2079, 0)[1])
    assert sorted(set(y)) == sorted(set(y_test)) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------- leaks


SPACE = learners["k_neighbors"].space


@pytest.fixture(scope="module")
def experience(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model of k_neighbors that knows iris, under another name, and a relative of it."""
    folder = tmp_path_factory.mktemp("experience")
    rng = np.random.default_rng(0)
    tables = {name: BundledSource(name).load() for name in ("iris", "wine", "breast_cancer")}
    iris = tables["iris"]
    shuffled = iris.X.sample(frac=0.5, random_state=0)
    prints = {
        "flowers": fingerprint(shuffled.set_axis(list("abcd"), axis=1), iris.y[shuffled.index]),
        **{str(i): fingerprint(rng.random((30, 3)), np.arange(30) % 2) for i in range(4)},
    }
    trials = [
        {"task_id": task_id, "score": float(rng.random()), **config}
        for task_id in prints
        for config in SPACE.sample(6, seed=1)
    ]
    info = pd.DataFrame(
        {
            "name": list(prints),
            "dataset_id": [None] * 5,
            "family": ["plants", "plants", "b", "c", None],
            "fingerprint": [json.dumps(one.to_json()) for one in prints.values()],
        },
        index=list(prints),
    )
    md = MetaDataset.from_frames(pd.DataFrame(trials), space=SPACE, metric="accuracy", info=info)
    md.save(folder / "evaluations")
    quick = FeatureOptions(steps=20)
    MetaModel.fit(md, device="cpu", options=quick).save(folder / "models" / "k_neighbors")
    return str(folder / "models"), str(folder / "evaluations")


def contests(plan: Plan, folder: Path) -> list:
    with Store(folder).opened(plan, "", 1, resume=True) as store:
        return list(gather(plan, store, print).contests)


def test_a_task_that_the_model_has_seen_is_refused(
    experience: tuple[str, str], tmp_path: Path
) -> None:
    model, evaluations = experience
    known = {"model": model, "evaluations": evaluations}
    for method in ("metahpo", "portfolio", "benching:Stubborn"):
        plan = declared(datasets=["iris", "wine"], methods=["random", method], **known)
        with pytest.raises(ValueError, match=r"trained on 1 of the 2 tasks.* iris \(iris\)") as e:
            contests(plan, tmp_path / method)
        assert "--refit" in str(e.value)
        assert "\n" not in str(e.value)
    assert contests(declared(datasets=["iris"], **known), tmp_path / "cold")
    plan = declared(datasets=["wine"], methods=["metahpo"], **known)
    (other,) = contests(plan, tmp_path / "other")
    assert other.own_model is None
    assert other.problem(0, 1).model.task_ids == ("flowers", "0", "1", "2", "3")


def test_refitted_models_know_nothing_related(experience: tuple[str, str], tmp_path: Path) -> None:
    model, evaluations = experience
    plan = declared(
        datasets=["iris", "wine"],
        methods=["metahpo", "portfolio"],
        model=model,
        evaluations=evaluations,
        refit=True,
    )
    seen, unseen = contests(plan, tmp_path)
    assert unseen.own_model is None
    assert seen.problem(0, 1).evaluations.task_ids == ("1", "2", "3")  # nor the other plant
    assert seen.own_model == seen.experience.model != unseen.experience.model


def test_evaluations_that_do_not_say_what_their_tables_hold(
    experience: tuple[str, str], tmp_path: Path
) -> None:
    md = MetaDataset.load(experience[1])
    replace(md, info=None).save(tmp_path / "silent")
    plan = declared(methods=["metahpo"], model=experience[0], evaluations=str(tmp_path / "silent"))
    with pytest.raises(ValueError, match="do not say what their tables hold"):
        contests(plan, tmp_path / "out")


def test_the_shipped_model_is_guarded(openml_server: OpenMLServer, tmp_path: Path) -> None:
    plan = declared(tasks=[48, 11], methods=["metahpo"])  # 48, heart-c, is a training task
    with pytest.raises(ValueError, match=r"trained on 1 of the 2 tasks.* 48 \(heart-c\)"):
        contests(plan, tmp_path)


# ---------------------------------------------------------------------- OpenML in trouble


class Trouble:
    """A proxy before the server that fails on demand."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url).netloc
        self.seen = 0
        self.delay = 0.0
        self.is_broken: Callable[[int, str], bool] = lambda number, path: False
        self.how = "500"


@contextmanager
def troubled(url: str) -> Iterator[tuple[Trouble, str]]:
    trouble = Trouble(url)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            trouble.seen += 1
            time.sleep(trouble.delay)
            broken = trouble.is_broken(trouble.seen, self.path)
            if broken and trouble.how == "dead":
                self.close_connection = True
                return
            if broken and trouble.how == "500":
                self.send_error(500)
                return
            upstream = http.client.HTTPConnection(trouble.target)
            upstream.request(self.command, self.path, headers={"Host": self.headers["Host"]})
            answer = upstream.getresponse()
            body = answer.read()
            upstream.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if broken else body)
            self.close_connection = broken

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield trouble, f"http://127.0.0.1:{server.server_address[1]}/api/v1/xml"
        server.shutdown()
        thread.join()


TROUBLES = {
    "a slow server": ("500", lambda number, path: False),
    "every answer a 500": ("500", lambda number, path: True),
    "tables cut short": ("short", lambda number, path: path.endswith(".pq")),
    "splits cut short": ("short", lambda number, path: "split" in path),
    "descriptions cut short": ("short", lambda number, path: "/data/11" in path),
    "killed half-way": ("dead", lambda number, path: number > 4),
}


@pytest.mark.parametrize("what", TROUBLES)
def test_openml_in_trouble(
    what: str, openml_server: OpenMLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openml

    said: list[str] = []
    plan = declared(tasks=[11])
    with troubled(openml_server.url) as (trouble, url):
        monkeypatch.setattr(openml.config, "server", url)
        trouble.how, trouble.is_broken = TROUBLES[what]
        trouble.delay = 0.1 if what == "a slow server" else 0.0
        with Store(tmp_path).opened(plan, "", 1, resume=True) as store:
            session = Session(say=said.append)
            if what == "a slow server":
                assert gather(plan, store, session.say).contests
            else:
                with pytest.raises(OpenMLError, match="11") as caught:
                    gather(plan, store, session.say)
                assert "\n" not in str(caught.value)
                assert len(said) == 1
            assert trouble.seen
            # once it is well again, so is the benchmark: nothing broken was kept
            trouble.is_broken = lambda number, path: False
            (contest,) = gather(plan, store, print).contests
            before = trouble.seen
            gather(plan, store, print)
            assert trouble.seen == before
    X, y = read_table(contest.part.train)
    rows = fetch_split(11, 0)[0]
    task = fetch_task(11)
    assert len(X) == len(rows) == len(y)
    assert set(X.iloc[:, 0]) == set(task.X.iloc[rows, 0])


def test_one_task_that_cannot_be_had_does_not_stop_the_others(
    openml_server: OpenMLServer, tmp_path: Path
) -> None:
    said: list[str] = []
    plan = declared(tasks=[12345678, 11])
    with pytest.raises(OpenMLError, match=r"1 of the tasks could not be had.*12345678"):
        run_benchmark(plan, tmp_path, Session(say=said.append))
    assert set(read_runs([tmp_path])["task_id"]) == {"11"}
    assert len(said) == 1


# ---------------------------------------------------------------------- the command


def blocks(language: str) -> list[str]:
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_a_method_of_ones_own_as_in_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code, _), (toml,) = blocks("python"), blocks("toml")
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    (tmp_path / "annealing.py").write_text(code)
    (tmp_path / "mine.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "mine.toml", "--out", "out"]) == 0
    runs = read_runs([tmp_path / "out"])
    assert runs.groupby("method").size().to_dict() == {"random": 16, "annealing": 16}
    assert (runs["status"] == "ok").all()
    assert "2 seeds, 8 trials a run" in capsys.readouterr().out
    for name in ("summary.md", "report.html", "runs.parquet", "run.json"):
        assert (tmp_path / "out" / name).stat().st_size
    assert main(["bench", "mine.toml", "--out", "out", "--seeds", "3", "--only", "random"]) == 0
    assert len(read_runs([tmp_path / "out"])) == 32 + 8
    record = read_record(tmp_path / "out")
    assert [session["units"] for session in record["sessions"]] == [4, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.toml"], "there is no benchmark file nothing.toml"),
        (["--suite", "99"], "the key 'learners' is missing"),
        (["--learner", "svc"], "give one of suite, tasks, datasets, histories; there is none"),
        (["--tasks", "iris", "--learner", "svc"], "--tasks has 'iris'; give OpenML task ids"),
        (["--tasks", "11", "--learner", "svc", "--methods", "tpo"], "did you mean 'tpe'?"),
        (["iris.toml", "--trials", "3"], "declares the benchmark; leave out --trials"),
        (["iris.toml", "--only", "svc"], "--only names 'svc', which is neither a task nor one"),
        (["iris.toml", "--dask", "tcp://127.0.0.1:1"], "there is no Dask scheduler at tcp"),
        (["report", "nowhere"], "nowhere holds no results of a benchmark"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("iris.toml").write_text(
        'datasets = ["iris"]\nlearners = ["k_neighbors"]\ntrials = 1\nmethods = ["random"]'
    )
    assert main(["bench", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_options_declare_what_a_file_declares(tmp_path: Path) -> None:
    from metahpo.cli.bench import _plan

    file = tmp_path / "openml-cc18-svc.toml"
    file.write_text('suite = "OpenML-CC18"\nlearners = ["svc"]\ntrials = 30')
    options = {"suite": "OpenML-CC18", "learners": ["svc"], "trials": 30}
    assert _plan(None, options) == load_plan(file)


# ---------------------------------------------------------------------- the shipped files


@pytest.mark.parametrize("name", ["quick", "cc18", "ctr23", "histories", "suites"])
def test_the_shipped_benchmarks_are_sound(name: str) -> None:
    plan = load_plan(REPOSITORY / "tasks" / f"{name}.toml")
    assert plan.name == name
    assert "metahpo" in [entrant.name for entrant in plan.entrants]


@pytest.mark.parametrize("name", ["quick", "suites"])
def test_no_shipped_benchmark_meets_a_relative_of_the_training_tasks(
    name: str, shared: Path
) -> None:
    import tomllib

    index = pd.read_csv(shared / "data" / "openml-cache" / "index.csv").set_index("task_id")
    chosen = index.loc[list(load_plan(REPOSITORY / "tasks" / f"{name}.toml").where)]
    if name == "suites":
        assert chosen["in_cc18"].sum() >= 20
        assert chosen["in_ctr23"].sum() >= 10
    for kind in ("classification", "regression"):
        collected = tomllib.loads((REPOSITORY / "tasks" / f"default_{kind}.toml").read_text())
        assert not set(index.loc[collected["tasks"], "family"]) & set(chosen["family"])
