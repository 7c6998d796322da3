"""A family of tasks with known optima: valleys whose bottom moves with one meta-feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo import MetaDataset, MetaModel, Space
from metahpo.space import Config
from metahpo.surrogate.features import FeatureOptions

SPACE = Space(
    {
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "share": FloatDistribution(0.0, 1.0),
        "kind": CategoricalDistribution(["plain", "deep"]),
        "depth": IntDistribution(1, 9),
    },
    {"depth": ("kind", ["deep"])},
    {"rate": 1.0, "share": 1.0, "kind": "plain"},
)
QUICK = FeatureOptions(members=2, width=24, features=12, steps=400, batch=128)


def score(config: Mapping[str, Any], t: float) -> float:
    """Score a configuration on the task t in [0, 1]: 1 at best, about 0 at worst.

    The best share is t, the best rate 10 ** (-2 + t), and kind "deep" with depth 5 beats "plain".
    """
    misses = [
        config.get("share", 0.5) - t,
        0.5 * (math.log10(config["rate"]) + 2 - t),
        0.4 if config["kind"] == "plain" else (config["depth"] - 5) / 12,
    ]
    return 1.0 - sum(miss**2 for miss in misses)


def evaluated(
    ts: Sequence[float], n: int = 25, space: Space = SPACE, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate different configurations on each task; return the trials and the meta-features."""
    trials = []
    for i, t in enumerate(ts):
        configs = space.sample(n, seed=seed + i)
        scores = [score(config, t) for config in configs]
        trials.append(space.to_frame(configs).assign(task_id=f"t{i}", score=scores))
    noise = np.random.default_rng(seed).normal(size=(len(ts), 2))
    features = pd.DataFrame(noise, columns=["noise 1", "noise 2"]).assign(told=ts)
    return pd.concat(trials, ignore_index=True), features.set_axis(
        [f"t{i}" for i in range(len(ts))]
    )


def dataset(ts: Sequence[float], n: int = 25, **changes: Any) -> MetaDataset:
    trials, tasks = evaluated(ts, n)
    return MetaDataset.from_frames(trials, tasks, **{"space": SPACE, "metric": "score", **changes})


def quick_fit(md: MetaDataset, seed: int = 0) -> MetaModel:
    return MetaModel.fit(md, device="cpu", seed=seed, options=QUICK)


def alone(md: MetaDataset) -> MetaDataset:
    """Put all tasks into one family: none is held out, and a model is trained once, not twice."""
    info = pd.DataFrame({"family": "one"}, index=list(md.task_ids))
    return MetaDataset.from_frames(
        md.trials, md.tasks, space=md.space, direction=md.direction, metric=md.metric, info=info
    )


def regret(configs: Sequence[Config], t: float) -> float:
    return 1.0 - max(score(config, t) for config in configs)
