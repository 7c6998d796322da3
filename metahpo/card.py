"""Card: what a MetaModel was trained on, and how its first suggestions fared on tasks held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import comb

from metahpo.metadataset import MetaDataset
from metahpo.portfolio import greedy_portfolio
from metahpo.training import oriented_scores, seconds_of

if TYPE_CHECKING:
    from metahpo.metamodel import MetaModel

Array = NDArray[np.float64]

_SHOWN = (1, 2, 5, 10)  # numbers of suggestions for which the card says what they reach
_CAP = 5.0  # the largest regret that enters a mean: beyond, a trial is simply bad
_HELD_OUT = 0.2  # share of the tasks on which the card's scores are measured


def origin(md: MetaDataset, given: MetaDataset) -> dict[str, Any]:
    """Return what of `given` a model was trained on: tasks, evaluations, parameters."""
    names = {} if md.info is None or "name" not in md.info else md.info["name"].to_dict()
    return {
        "metric": md.metric,
        "direction": md.direction,
        "n_tasks": len(md),
        "n_tasks_constant": len(given) - len(md),
        "n_evaluations": md.n_evaluations,
        "n_failed": int(md.trials["score"].isna().sum()),
        "n_timed": int((seconds_of(md) > 0).sum()),
        "parameters": list(md.space.names),
        "meta_features": 0 if md.tasks is None else md.tasks.shape[1],
        "tasks": {task_id: str(names.get(task_id, task_id)) for task_id in md.task_ids},
    }


def with_study(card: dict[str, Any], name: str, n_trials: int) -> dict[str, Any]:
    """Return a card with one more task, a study of `n_trials`."""
    return {
        **card,
        "n_tasks": card.get("n_tasks", 0) + 1,
        "n_evaluations": card.get("n_evaluations", 0) + n_trials,
        "tasks": {**card.get("tasks", {}), name: name},
    }


def held_out(
    md: MetaDataset, trained: Callable[[MetaDataset], MetaModel], *, seed: int
) -> dict[str, Any] | None:
    """Measure, on tasks held out, how far the first suggestions are from each task's best.

    Parameters
    ----------
    md : MetaDataset
    trained : callable
        Trains a model on a part of the tasks.
    seed : int
        Of the choice of the tasks.
    """
    groups = _families(md)
    names = sorted(set(groups.values()))
    n_held = round(_HELD_OUT * len(names))
    if n_held == 0 or len(names) - n_held < 2:
        return None
    held = set(np.random.default_rng(seed).permutation(names)[:n_held])
    kept = md.subset(t for t in md.task_ids if groups[t] not in held)
    model = trained(kept)
    regrets = []
    for task_id in (t for t in md.task_ids if groups[t] in held):
        part = md.subset([task_id])
        score = oriented_scores(part)[task_id]
        best, median = np.nanmax(score), np.nanmedian(score)
        if best == median:
            continue
        regret = np.nan_to_num((best - score) / (best - median), nan=np.inf)
        meta_features = None
        if md.tasks is not None:
            values = md.tasks.loc[task_id].to_numpy(dtype=float)
            meta_features = dict(zip(map(str, md.tasks), values, strict=True))
        weights = np.exp(model.relevance.log_weights(meta_features))
        predicted = model.utilities(model.encode(part.trials))
        picks = greedy_portfolio(predicted, weights, max(_SHOWN))
        regrets.append(
            [min(regret[picks[:n]].min(), _CAP) for n in _SHOWN]
            + [_expected_least(np.minimum(regret, _CAP), n) for n in _SHOWN]
        )
    if not regrets:
        return None
    mean = np.mean(regrets, axis=0).round(4).tolist()
    return {
        "what": "mean regret, (best - best of the first n) / (best - median), at most 5",
        "n_tasks": len(regrets),
        "n": list(_SHOWN),
        "suggested": mean[: len(_SHOWN)],
        "random": mean[len(_SHOWN) :],
    }


def _expected_least(values: Array, n: int) -> float:
    """Return the expected minimum of `n` draws without replacement."""
    ascending = np.sort(values)
    m, n = len(ascending), min(n, len(values))
    # P(the least is the i-th) = C(m - 1 - i, n - 1) / C(m, n)
    chances = comb(m - 1 - np.arange(m), n - 1) / comb(m, n)
    return float(ascending @ chances)


def _families(md: MetaDataset) -> dict[str, str]:
    """Return the group of each task: datasets of one family are held out together."""
    if md.info is None or "family" not in md.info:
        return {task_id: task_id for task_id in md.task_ids}
    family = md.info["family"]
    return {t: str(family[t]) if pd.notna(family[t]) else t for t in md.task_ids}
