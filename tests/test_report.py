from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import accuracy
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metahpo import MetaModel, MetaOptimizer, learners
from metahpo.catalogue import UnionLearner
from metahpo.page import duration
from metahpo.report import (
    Tried,
    TuningResult,
    pipeline_code,
    write_best,
    write_page,
    write_trials,
)
from metahpo.report.comparison import comparison
from metahpo.space import Config
from metahpo.tables import LabelledTable, read_table

CODE = "pipeline = <SVC & friends>"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LabelledTable:
    rng = np.random.default_rng(0)
    a = rng.normal(size=60)
    frame = pd.DataFrame({"a": a, "b": rng.choice(["u", "v", None], 60), "same": 1})
    frame["y"] = np.where(a + rng.normal(size=60) > 0, "up", "<down>")
    path = tmp_path_factory.mktemp("report") / "table.csv"
    frame.to_csv(path, index=False)
    return read_table(path, "y")


def tried(configs: list[Config], scores: list[float]) -> list[Tried]:
    return [
        Tried(n, config, score, 0.5, "ValueError: no luck" if math.isnan(score) else None)
        for n, (config, score) in enumerate(zip(configs, scores, strict=True), start=1)
    ]


def result_of(
    table: LabelledTable, model: MetaModel, trials: list[Tried], name: str = "svc", **options: Any
) -> TuningResult:
    learner = learners[name]
    optimizer = MetaOptimizer(model, space=learner.space)
    for trial in trials:
        optimizer.tell(trial.config, trial.score)
    best = max((t for t in trials if not t.failed), key=lambda t: t.score)
    return TuningResult(
        table=table,
        learner=learner,
        metric="accuracy",
        n_folds=3,
        seed=0,
        trials=trials,
        model=model,
        explanation=optimizer.explain(best.config),
        transfer=optimizer.transfer,
        code=CODE,
        **({"default_score": 0.7, "command": "metahpo tune table.csv"} | options),
    )


@pytest.fixture(scope="module")
def result(table: LabelledTable, tiny_model: MetaModel) -> TuningResult:
    configs = learners["svc"].space.sample(12, seed=3)
    scores = [accuracy(config, 0.0) for config in configs]
    scores[4] = math.nan
    return result_of(table, tiny_model, tried(configs, scores))


# ---------------------------------------------------------------------- code


def flat(pipeline: Any) -> list[Any]:
    return [
        inner
        for _, step in pipeline.steps
        for inner in (flat(step) if hasattr(step, "steps") else [step])
    ]


@pytest.mark.parametrize("name", learners)
def test_the_code_builds_the_pipeline_of_every_learner(name: str) -> None:
    """What the code says up to the folds, executed, is what the catalogue makes."""
    learner = learners[name]
    for config in [learner.space.default, *learner.space.sample(4, seed=1)]:
        made = learner.make(config, random_state=3, n_jobs=None)
        code = pipeline_code(
            made, ["y = ['a', 'b']"], metric="r2", n_folds=3, seed=0, task=learner.task
        )
        scope: dict[str, Any] = {}
        exec(code.split("\ncv = ")[0], scope)
        expected = flat(made)
        if "LabelEncoder" in code:
            expected[-1] = expected[-1].estimator
            assert list(scope["y"]) == [0, 1]
        assert [repr(step) for step in flat(scope["pipeline"])] == [repr(s) for s in expected]
        assert "metahpo" not in code
        assert max(map(len, code.splitlines())) < 100


@pytest.mark.parametrize("name", ["svc", "xgboost"])
def test_the_code_prints_the_score(
    name: str, table: LabelledTable, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = learners[name].make()
    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    scores = cross_val_score(pipeline, table.X, table.y, cv=folds, scoring="roc_auc")
    code = pipeline_code(
        learners[name].make(n_jobs=None),
        table.code,
        metric="roc_auc",
        n_folds=3,
        seed=5,
        task="classification",
    )
    exec(code, {})
    assert capsys.readouterr().out == f"roc_auc {scores.mean():.6f} ± {scores.std():.6f}\n"


def test_awkward_names_are_quoted(tmp_path: Path) -> None:
    path = tmp_path / "it's.csv"
    names = ['a "b"', "c'd", "e\\f", "y"]
    pd.DataFrame([[i, 2 * i, 1, i % 2] for i in range(9)], columns=names).to_csv(path, index=False)
    scope: dict[str, Any] = {}
    exec("\n".join(read_table(path, "y").code), scope)
    assert list(scope["X"]) == names[:2]


# ---------------------------------------------------------------------- comparison


def test_all_trials_are_compared_where_the_best_has_parameters_of_its_own(
    table: LabelledTable, tiny_model: MetaModel
) -> None:
    plain = [{"C": 2.0**i, "kernel": "linear", "class_weight": None} for i in range(6)]
    best = {**plain[0], "kernel": "poly", "gamma_rule": "scale", "degree": 3, "coef0": 0.5}
    scores = [0.1 * i for i in range(6)]
    found = comparison(result_of(table, tiny_model, tried([*plain, best], [*scores, 0.9])))
    assert found is not None
    assert found.names == ("C", "kernel")  # the class weight never varied
    assert found.n_trials == found.n_of_learner == 7
    assert [trial.value for trial in found.study.trials] == [*scores, 0.9]


def test_only_trials_of_the_best_learner_are_compared(
    table: LabelledTable, tiny_model: MetaModel
) -> None:
    union = learners["auto"]
    assert isinstance(union, UnionLearner)
    neighbours = [
        {"learner": "k_neighbors", **{f"k_neighbors__{k}": v for k, v in config.items()}}
        for config in learners["k_neighbors"].space.sample(5, seed=0)
    ]
    trials = tried([union.space.default, *neighbours], [0.5, 0.6, 0.7, 0.75, 0.8, 0.9])
    found = comparison(result_of(table, tiny_model, trials, "auto"))
    assert found is not None
    assert found.learner.name == "k_neighbors"
    assert set(found.names) <= set(learners["k_neighbors"].space.names)
    assert found.n_trials == 5


@pytest.mark.parametrize(
    "scores", [[0.5, 0.6, 0.7], [0.5] * 8, [0.5, *[math.nan] * 8]], ids=["few", "equal", "failed"]
)
def test_nothing_is_compared_where_nothing_can_be(
    scores: list[float], table: LabelledTable, tiny_model: MetaModel, tmp_path: Path
) -> None:
    trials = tried(learners["svc"].space.sample(len(scores), seed=0), scores)
    result = result_of(table, tiny_model, trials, default_score=math.nan)
    assert comparison(result) is None
    write_page(result, tmp_path / "page.html")
    assert "need at least four" in (tmp_path / "page.html").read_text()


# ---------------------------------------------------------------------- page


class Page(HTMLParser):
    """The parts of a page that a reader, or a browser, would come upon."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_page_tells_the_whole_story(result: TuningResult, tmp_path: Path) -> None:
    write_page(result, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    text = squeezed(page.text)
    assert page.links == ["best.json", "trials.csv", "model.joblib"]
    assert CODE in page.text
    assert f"{result.best.score:.4f} best accuracy, trial {result.best.number}" in text
    assert f"0.7000 library default ({result.best.score - 0.7:+.4f})" in text
    assert "12 trials, 1 failed" in text
    assert "ValueError: no luck" in text
    for name in result.explanation.tasks["name"]:
        assert name in text
    for note in result.table.notes:
        assert squeezed(note) in text
    assert "rows 60 columns 2: 1 numeric, 1 categorical" in text
    assert re.search(r"(up|<down>) \d+ %, (up|<down>) \d+ %", text)
    assert "metahpo tune table.csv" in text


def test_the_page_carries_plotly_once_and_three_figures(
    result: TuningResult, tmp_path: Path
) -> None:
    write_page(result, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert len(html) < 6e6
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert html.count("Plotly.newPlot(") == 3
    assert "Hyperparameter Importance" in html
    assert "best so far" in html


def test_baselines_are_drawn_where_they_were_measured(
    result: TuningResult, table: LabelledTable, tiny_model: MetaModel, tmp_path: Path
) -> None:
    curve = [0.4, 0.5, 0.51]
    cold = result_of(table, tiny_model, list(result.trials), baselines={"TPE, cold": curve})
    write_page(cold, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    drawn = [json.loads(data) for data in re.findall(r'"y":(\[[-\d.,e]+\])', html)]
    assert curve in drawn
    assert "TPE, cold" in html


def test_a_page_of_all_learners_and_of_regression(tiny_model: MetaModel, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(40, 3)), columns=["a", "b", "price"]).to_csv(path, index=False)
    configs = learners["auto_regressor"].space.sample(8, seed=0)
    trials = tried(configs, list(rng.normal(size=8)))
    table = read_table(path, "price")
    result = result_of(table, MetaModel.blank(), trials, "auto_regressor")
    write_page(result, tmp_path / "report.html")
    text = squeezed(Page(tmp_path / "report.html").text)
    for config in configs:
        assert config["learner"] in text
    assert "price, from" in text
    assert "chosen among all learners" in text


def test_the_files_for_programs(result: TuningResult, tmp_path: Path) -> None:
    write_best(result, tmp_path / "best.json")
    write_trials(result, tmp_path / "trials.csv")
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["config"] == result.best.config
    assert best["params"] == learners["svc"].params_of(result.best.config)
    assert best["score"] == result.best.score
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials["number"].tolist() == list(range(1, 13))
    assert trials["score"].isna().tolist() == [trial.failed for trial in result.trials]
    assert trials["error"].dropna().tolist() == ["ValueError: no luck"]
    known = learners["svc"].space.from_frame(trials)
    for config, trial in zip(known, result.trials, strict=True):
        assert config == pytest.approx(trial.config)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0031, "3 ms"),
        (4.21, "4.2 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (math.nan, "–"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
