"""The files of a tuning result beside its page: for programs to read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from metahpo.catalogue import Learner, UnionLearner
from metahpo.files import replace_file
from metahpo.report.result import TuningResult
from metahpo.space import Config


def write_best(result: TuningResult, path: Path) -> None:
    """Write the best configuration as JSON.

    Raises
    ------
    OSError
        Naming the file, if it cannot be written.
    """
    best, default = result.best, result.default_score
    learner, params = as_params(result.learner, best.config)
    content = {
        "data": result.table.name,
        "target": result.table.target,
        "task": result.table.task,
        "searched": result.learner.name,
        "study": result.study,
        "metric": result.metric,
        "score": best.score,
        "default_score": None if math.isnan(default) else default,
        "learner": learner,
        "params": params,
        "config": best.config,
        "trial": best.number,
        "n_trials": len(result.trials),
        "n_folds": result.n_folds,
        "seed": result.seed,
    }
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_trials(result: TuningResult, path: Path) -> None:
    """Write the trials as CSV: number, score, seconds, error, and one column a parameter.

    Raises
    ------
    OSError
        Naming the file, if it cannot be written.
    """
    rows = [
        {"number": t.number, "score": t.score, "seconds": t.seconds, "error": t.error, **t.config}
        for t in result.trials
    ]
    with replace_file(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def as_params(learner: Learner, config: Config) -> tuple[str, dict[str, Any]]:
    """Say a configuration in the words of the estimator that takes it: its learner, its params."""
    if isinstance(learner, UnionLearner):
        learner, config = learner.split(config)
    return learner.name, learner.params_of(config)
