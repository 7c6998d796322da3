"""The leak guard: nobody is examined on what he has learned by heart.

A task on which the meta-model was trained is recognised by OpenML's numbers and by its content:
the fingerprint of every training table is kept with the evaluations. Such a task is refused, or
played with a model that is refitted without it, and without all that is related to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metahpo.bench.experience import load_evaluations
from metahpo.bench.plan import Plan
from metahpo.bench.table_contest import TableContest
from metahpo.bench.tables import Prepared
from metahpo.fingerprint import Fingerprint
from metahpo.metadataset import MetaDataset

SHARE = 0.05
"""Share of common rows from which on two tables count as one. Tables of a few columns with a few
values may share some by chance; none of the suites' do with the shipped model's."""


class LeakError(ValueError):
    """The meta-model was trained on a task of the benchmark."""


def guarded(
    contests: Sequence[TableContest], tasks: Mapping[str, Prepared], plan: Plan, models: Path
) -> list[TableContest]:
    """Return contests whose experience knows nothing of their tasks.

    Parameters
    ----------
    contests : sequence of TableContest
    tasks : mapping of str to Prepared
        The contests' tasks by their id.
    plan : Plan
        Its ``refit`` says whether models are refitted.
    models : Path
        Where refitted models are, or will be.

    Raises
    ------
    LeakError
        If the model was trained on a task and may not be refitted.
    ValueError
        If the evaluations do not say what their tables hold.
    """
    known = {task_id: _related(task, plan) for task_id, task in tasks.items()}
    leaks = {task_id: related for task_id, related in known.items() if related}
    if leaks and not plan.refit:
        raise LeakError(_words(leaks, tasks))
    return [
        _refitted(contest, leaks[contest.task_id], models) if contest.task_id in leaks else contest
        for contest in contests
    ]


def _related(task: Prepared, plan: Plan) -> tuple[str, ...]:
    """Return the training tasks that are this one, share rows with it, or its family."""
    evaluations = load_evaluations(plan.evaluations, task.kind)
    same = set(_the_same(task, evaluations))
    info = evaluations.info
    if same and info is not None and "family" in info:
        families = set(info["family"].loc[sorted(same)].dropna())
        same |= set(info.index[info["family"].isin(families)])
    return tuple(sorted(same))


def _the_same(task: Prepared, evaluations: MetaDataset) -> list[str]:
    info = evaluations.info
    if info is None or "fingerprint" not in info:
        raise ValueError(
            "the evaluations that the model was trained on do not say what their tables hold, so "
            "nobody can tell whether a task is among them; `metahpo collect` makes some that do"
        )
    own = Fingerprint.from_json(task.info["fingerprint"])
    found = []
    for task_id, text, dataset_id in zip(
        info.index, info["fingerprint"], info["dataset_id"], strict=True
    ):
        other = Fingerprint.from_json(json.loads(text))
        by_number = task.info["dataset_id"] is not None and (
            task_id == task.task_id or dataset_id == task.info["dataset_id"]
        )
        if by_number or own.digest == other.digest or own.overlap(other) >= SHARE:
            found.append(str(task_id))
    return found


def _words(leaks: Mapping[str, Sequence[str]], tasks: Mapping[str, Prepared]) -> str:
    shown = ", ".join(f"{task_id} ({tasks[task_id].info['name']})" for task_id in list(leaks)[:5])
    more = f" and {len(leaks) - 5} more" if len(leaks) > 5 else ""
    return (
        f"the meta-model was trained on {len(leaks)} of the {len(tasks)} tasks, by number or by "
        f"content: {shown}{more}; leave them out, or give --refit for models trained without them"
    )


def _refitted(contest: TableContest, related: tuple[str, ...], models: Path) -> TableContest:
    digest = hashlib.sha256(json.dumps(related).encode()).hexdigest()[:12]
    model = models / f"{contest.learner}~without~{digest}"
    experience = replace(contest.experience, model=str(model), without=related)
    return replace(contest, experience=experience)
