"""A learner of one's own, a pipeline: the one in the docs, in the ring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metahpo.bench.importing import find_learner
from metahpo.bench.plan import declared_plan
from metahpo.bench.run import run_benchmark
from metahpo.bench.runs import read_runs
from metahpo.bench.sources import BundledSource

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def test_a_pipeline_with_a_space_is_a_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = DOCS.read_text().split("## Your own learner")[1].split("```python")[1].split("```")[0]
    (tmp_path / "shrunk.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    plan = declared_plan(
        {
            "name": "own",
            "datasets": ["iris"],
            "learners": ["shrunk:PCA_SVC"],
            "methods": ["random", "tpe_default", "halving"],
            "trials": 4,
            "seeds": 1,
        }
    )
    run_benchmark(plan, tmp_path / "out")
    runs = read_runs([tmp_path / "out"])
    assert set(runs["learner"]) == {"shrunk:PCA_SVC"}
    assert set(runs["status"]) == {"ok", "partial"}, runs["error"].dropna().unique()
    task = BundledSource("iris").load()
    rows, _ = BundledSource("iris").split(task, 0)
    X, y = task.X.iloc[rows].to_numpy(), task.y.iloc[rows]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    learner = find_learner("shrunk:PCA_SVC", "classification")
    for row in runs[runs["status"] == "ok"].itertuples():
        model = learner.make(json.loads(row.config))
        expected = cross_val_score(model, X, y, cv=folds, scoring="accuracy").mean()
        assert row.score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("nowhere:LEARNER", "regression", "learner 'nowhere:LEARNER' cannot be imported"),
        ("benching:SPACE", "regression", "learner 'benching:SPACE' is no metahpo.catalogue.Lea"),
        ("metahpo.catalogue.svm:LEARNERS", "classification", "is no metahpo.catalogue.Learner"),
        ("svm", "classification", "unknown learner 'svm'; did you mean 'svc'"),
    ],
)
def test_a_learner_that_is_none(name: str, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_learner(name, task)
