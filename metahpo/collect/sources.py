"""Where a declared collection's tasks come from: OpenML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from metahpo.catalogue import resolve_learner
from metahpo.collect.plan import CollectionPlan
from metahpo.collect.run import collect
from metahpo.collect.tables import Loader, Task
from metahpo.metadataset import MetaDataset
from metahpo.openml import fetch_suite, fetch_task


def openml_tasks(task_ids: Sequence[int]) -> dict[str, Loader]:
    """Return loaders of OpenML tasks by their id; nothing is fetched yet."""
    return {str(task_id): partial(_load, task_id) for task_id in task_ids}


def _load(task_id: int) -> Task:
    fetched = fetch_task(task_id)
    return Task(fetched.name, fetched.task, fetched.X, fetched.y, fetched.dataset_id)


def collect_plan(
    plan: CollectionPlan, out: str | Path, *, n_jobs: int = 1, progress: bool = True
) -> MetaDataset:
    """Run or go on with a declared collection.

    Parameters
    ----------
    plan : CollectionPlan
        From :func:`load_collection_file`, or made by hand.
    out : path
        The collection's folder.
    n_jobs : int, default=1
        Worker processes.
    progress : bool, default=True
        Whether to show the progress on standard error.

    Raises
    ------
    OpenMLError
        If the suite or a task cannot be fetched.
    ValueError
        As :func:`collect`, and for a learner that is not in the catalogue.
    """
    learners = [resolve_learner(name, plan.settings.task) for name in plan.learners]
    task_ids = plan.tasks if plan.suite is None else fetch_suite(plan.suite)
    return collect(
        openml_tasks(task_ids),
        learners,
        plan.n_configs,
        out,
        plan.settings,
        n_jobs=n_jobs,
        progress=progress,
    )
