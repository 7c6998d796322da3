"""Card: what a MetaModel was trained on."""

from __future__ import annotations

from typing import Any

from metahpo.metadataset import MetaDataset
from metahpo.training import seconds_of


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
