"""A learner of one's own, a pipeline: the one in the docs, in the ring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metahpo.bench.importing import find_learner
from metahpo.bench.runs import read_runs
from metahpo.bench.sources import BundledSource

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks.md"
CLI = Path(__file__).parents[1] / "cli.py"


def test_a_pipeline_with_a_space_is_a_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = DOCS.read_text().split("## Your own learner")[1].split("```python")[1].split("```")[0]
    (tmp_path / "shrunk.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plan.toml").write_text(
        'datasets = ["iris"]\nlearners = ["shrunk:PCA_SVC"]\ntrials = 4\nseeds = 1\n'
        'methods = ["random", "tpe_default", "halving"]\n'
    )
    # in a process of its own: the worker of another test's benchmark would not know the module
    command = [sys.executable, str(CLI), "bench", "plan.toml", "--out", "out"]
    path = {"PYTHONPATH": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=os.environ | path, check=True, capture_output=True)
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
