"""Tasks that cost nothing to evaluate: what a made-up SVC scores on made-up datasets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from metahpo import MetaDataset, learners


def accuracy(config: Mapping[str, Any], t: float) -> float:
    """Score a configuration of "svc" on the task t in [-1, 1]: 0.9 at best.

    The best C is 10 ** (1 + t / 2), the best gamma 10 ** (t / 3 - 2), the best kernel rbf.
    """
    gamma = config.get("gamma", 0.1)
    kernel = {"rbf": 0.0, "poly": 0.05, "sigmoid": 0.15, "linear": 0.1}[config["kernel"]]
    misses = [math.log10(config["C"]) - 1 - t / 2, math.log10(gamma) + 2 - t / 3]
    return 0.9 - kernel - sum(0.02 * miss**2 for miss in misses)


def meta_features(t: float) -> dict[str, float]:
    """What is known of the task t before any trial."""
    return {"nr_attr": 10.0 * (2 + t), "nr_class": 3.0 - t}


def meta_dataset(n_tasks: int = 12, n_configs: int = 24) -> MetaDataset:
    """Evaluations of "svc" on tasks from t = -1 to 1, its default among them.

    Ten tasks are the fewest from which a MetaModel learns what meta-features say.
    """
    space = learners["svc"].space
    where = {f"made-up {i}": float(t) for i, t in enumerate(np.linspace(-1, 1, n_tasks))}
    trials = []
    for seed, (task_id, t) in enumerate(where.items()):
        configs = [space.default, *space.sample(n_configs - 1, seed=seed)]
        scores = [accuracy(config, t) for config in configs]
        trials.append(space.to_frame(configs).assign(task_id=task_id, score=scores))
    tasks = pd.DataFrame([meta_features(t) for t in where.values()], index=list(where))
    # one family, so that none is held out and a model is trained once instead of twice
    info = pd.DataFrame({"family": "made-up"}, index=list(where))
    return MetaDataset.from_frames(pd.concat(trials), tasks, space=space, info=info)
