"""Runs of made-up methods on made-up tasks, in the columns that a benchmark leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

SPEEDS = {"metahpo": 1.6, "tpe": 1.0, "gp": 1.1, "random": 0.5}


def made_up_runs(
    speeds: Mapping[str, float] = SPEEDS,
    *,
    n_tasks: int = 12,
    learners: Sequence[str] = ("svc",),
    seeds: int = 3,
    n_trials: int = 20,
    direction: str = "maximize",
    test: bool = True,
    failing: float = 0.02,
) -> pd.DataFrame:
    """Draw runs in which a method with twice the speed is about as far after half the trials."""
    rows: list[pd.DataFrame] = []
    for task, learner, seed in product(range(n_tasks), learners, range(seeds)):
        for m, (method, speed) in enumerate(speeds.items()):
            rng = np.random.default_rng([task, len(learner), seed, m])
            rows.append(_run(rng, task, speed, n_trials, direction, test, failing))
            rows[-1].insert(0, "method", method)
            rows[-1].insert(0, "learner", learner)
            rows[-1].insert(0, "seed", seed)
    return pd.concat(rows, ignore_index=True)


def _run(
    rng: np.random.Generator,
    task: int,
    speed: float,
    n_trials: int,
    direction: str,
    test: bool,
    failing: float,
) -> pd.DataFrame:
    n = np.arange(1, n_trials + 1)
    top, spread = 0.95 - 0.02 * task, 0.1 + 0.01 * task
    gap = spread * np.exp(-0.15 * speed * n) * rng.lognormal(0, 0.5, n_trials)
    score = top - gap - 0.02 * spread * rng.random(n_trials)
    score = np.where(rng.random(n_trials) < failing, np.nan, score)
    sign = 1.0 if direction == "maximize" else -1.0
    best = pd.Series(score).cummax().ffill()
    seconds = rng.lognormal(0, 0.4, n_trials)
    return pd.DataFrame(
        {
            "task": f"made-up {task}",
            "task_id": str(100 + task),
            "metric": "accuracy" if direction == "maximize" else "log_loss",
            "direction": direction,
            "fold": 0,
            "trial": n,
            "config": "{}",
            "score": sign * score,
            "status": np.where(np.isnan(score), "failed", "ok"),
            "error": None,
            "best": sign * best,
            "test_score": sign * (best - 0.01) if test else math.nan,
            "optimum": math.nan,
            "worst": math.nan,
            "suggest_seconds": 0.05,
            "evaluate_seconds": seconds,
            "elapsed": (0.05 + seconds).cumsum(),
        }
    )


def record(runs: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    """Write down how the runs might have been made."""
    session = {
        "command": "metahpo bench tasks/made-up.toml",
        "metahpo": "0.1.0",
        "versions": {"optuna": "5.0.0", "scikit-learn": "1.9.1"},
        "machine": {"platform": "Linux", "cpu": "some CPU", "cores": 2, "memory_gb": 16},
        "revision": "0123456789abcdef",
        "modified": False,
        "started": "2026-11-21T05:00:00+00:00",
        "finished": "2026-11-21T05:10:00+00:00",
        "jobs": 2,
        "units": int(runs.groupby(["task_id", "learner", "seed", "fold", "method"]).ngroups),
    }
    return {
        "name": "made-up",
        "plan": {"suite": "made-up", "trials": int(runs["trial"].max())},
        "seeds": sorted(int(seed) for seed in runs["seed"].unique()),
        "sessions": [session],
        **changes,
    }
