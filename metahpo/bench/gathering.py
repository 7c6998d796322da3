"""What a plan's methods play: its tasks fetched and prepared, its histories read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metahpo.bench.contest import Contest
from metahpo.bench.guard import guarded
from metahpo.bench.histories import history_contests
from metahpo.bench.plan import Plan
from metahpo.bench.sources import BundledSource, OpenMLSource, Source
from metahpo.bench.store import Store
from metahpo.bench.table_contest import table_contests
from metahpo.bench.tables import Preparation, Prepared
from metahpo.collect import UnusableTaskError
from metahpo.files import replace_file
from metahpo.openml import OpenMLError, fetch_suite


@dataclass(frozen=True)
class Gathered:
    """What is to be played, and what could not be had.

    Attributes
    ----------
    contests : sequence of Contest
    missing : list of str
        Why tasks could not be had, one line each.
    """

    contests: Sequence[Contest]
    missing: list[str]


def gather(plan: Plan, store: Store, say: Callable[[str], None]) -> Gathered:
    """Prepare a plan's tasks, as far as they are not there yet, and guard against leaks.

    Parameters
    ----------
    plan : Plan
    store : Store
        The results folder, where prepared tasks and refitted models are kept.
    say : callable
        Told in one line each what is left out, and why.

    Raises
    ------
    OpenMLError
        If no task can be had.
    ValueError
        If none can be used, a learner does not exist, or a leak is found.
    """
    if plan.source == "histories":
        return Gathered(history_contests(plan, store.models), [])
    tasks: dict[str, Prepared] = {}
    missing: list[str] = []
    for source in _sources(plan, store):
        try:
            tasks[source.task_id] = Preparation(source, plan, store.tables).run()
        except UnusableTaskError as error:
            say(f"left out: {error}")
        except OpenMLError as error:
            missing.append(str(error))
            say(f"not to be had now: {error}")
    if not tasks:
        raise OpenMLError(missing[0]) if missing else ValueError("no task can be used")
    contests = [contest for task in tasks.values() for contest in table_contests(task, plan)]
    if any(entrant.found.warm for entrant in plan.entrants):
        contests = guarded(contests, tasks, plan, store.models)
    return Gathered(contests, missing)


def _sources(plan: Plan, store: Store) -> list[Source]:
    if plan.source == "datasets":
        return [BundledSource(name) for name in _names(plan)]
    if plan.source == "tasks":
        return [OpenMLSource(int(name)) for name in _names(plan)]
    known = store.tables / f"suite~{plan.where}.json"
    if not known.exists():
        task_ids = fetch_suite(str(plan.where))
        with replace_file(known) as temporary:
            temporary.write_text(json.dumps(task_ids))
    return [OpenMLSource(task_id) for task_id in json.loads(known.read_text())]


def _names(plan: Plan) -> list[str]:
    assert isinstance(plan.where, tuple)
    return [str(name) for name in plan.where]
