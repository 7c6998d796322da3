"""Run a benchmark: whatever is finished stays finished, on one core or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from metahpo.bench.contest import Contest
from metahpo.bench.engine import Engine
from metahpo.bench.gathering import gather
from metahpo.bench.plan import Entrant, Plan
from metahpo.bench.ring import Unit, play
from metahpo.bench.runs import Watcher
from metahpo.bench.store import Store
from metahpo.metamodel import MetaModel
from metahpo.openml import OpenMLError


class Silent:
    """A watcher who says nothing."""

    def begin(self, total: int, done: int) -> None:
        """Take note of nothing."""

    def unit(self, rows: pd.DataFrame) -> None:
        """Take note of nothing."""

    def end(self) -> None:
        """Take note of nothing."""


@dataclass(frozen=True)
class Session:
    """How a benchmark is run this time.

    Attributes
    ----------
    engine : Engine
    only : tuple of str
        Methods, learners and tasks (names or ids) to which this session keeps; all if empty.
    resume : bool
        Whether what the folder holds is kept; else it is deleted first.
    merge : tuple of Path
        Folders of the same benchmark whose finished units are taken over first.
    command : str
        What was typed, for the record.
    watcher : Watcher
    say : callable
        Told in one line each what a person should know.
    """

    engine: Engine = field(default_factory=Engine)
    only: tuple[str, ...] = ()
    resume: bool = True
    merge: tuple[Path, ...] = ()
    command: str = ""
    watcher: Watcher = field(default_factory=Silent)
    say: Callable[[str], None] = lambda text: None


def run_benchmark(plan: Plan, out: str | Path, session: Session | None = None) -> None:
    """Run a benchmark, or go on with one, into a results folder.

    A unit (method, task, learner, fold, seed) that is through is on disk at once. The same call
    goes on where it was interrupted, however that was; one that is done is extended by calling
    again with more seeds, methods, learners or tasks.

    Parameters
    ----------
    plan : Plan
        From :func:`metahpo.bench.plan.load_plan`.
    out : path
        The folder.
    session : Session, optional
        One process and silence by default.

    Raises
    ------
    ValueError
        If the folder holds a benchmark under other rules or is in use, if a leak is found, or if
        ``only`` names what there is not.
    OpenMLError
        If OpenML cannot be reached; where only some tasks could not be had, after the others have
        been run.
    OSError
        If something cannot be written; the message names the file.
    KeyboardInterrupt
        On Ctrl-C, when all that was finished is on disk.
    """
    session = session or Session()
    command, jobs = session.command, session.engine.jobs
    with Store(Path(out)).opened(plan, command, jobs, resume=session.resume) as store:
        for folder in session.merge:
            session.say(f"{store.take_over(folder)} runs are taken over from {folder}")
        gathered = gather(plan, store, session.say)
        contests, entrants = _chosen(gathered.contests, plan.entrants, session.only)
        run_contests(contests, entrants, plan, store, session)
    if gathered.missing:
        raise OpenMLError(
            f"{len(gathered.missing)} of the tasks could not be had, and the rest is done; the "
            f"same command tries again: {gathered.missing[0]}"
        )


def run_contests(
    contests: Sequence[Contest],
    entrants: Sequence[Entrant],
    plan: Plan,
    store: Store,
    session: Session,
) -> None:
    """Let every entrant play every contest with every seed, as far as that is not done yet."""
    done = store.finished()
    units = [
        Unit(contest, entrant, seed, plan.budget)
        for contest in contests
        for seed in plan.seeds
        for entrant in entrants
    ]
    todo = [unit for unit in units if unit.key not in done]
    _train(todo, session)
    session.watcher.begin(len(units), len(units) - len(todo))
    try:
        for index, rows in session.engine.spread(play, todo):
            store.add(todo[index], rows)
            session.watcher.unit(rows)
    finally:
        session.watcher.end()
        store.consolidate()


def _chosen(
    contests: Sequence[Contest], entrants: Sequence[Entrant], only: Sequence[str]
) -> tuple[list[Contest], list[Entrant]]:
    """Keep to what is named; where nothing of a kind is named, all of it."""
    kinds: list[set[str]] = [
        {entrant.name for entrant in entrants},
        {contest.learner for contest in contests},
        {name for contest in contests for name in (contest.task, contest.task_id)},
    ]
    for name in only:
        if not any(name in kind for kind in kinds):
            known = ", ".join(sorted({*kinds[0], *kinds[1]}))
            raise ValueError(f"--only names {name!r}, which is neither a task nor one of {known}")
    methods, learners, tasks = (kind & set(only) or kind for kind in kinds)
    return (
        [c for c in contests if c.learner in learners and {c.task, c.task_id} & tasks],
        [entrant for entrant in entrants if entrant.name in methods],
    )


def _train(units: Sequence[Unit], session: Session) -> None:
    """Train the models that the benchmark makes itself: refitted ones, and those of histories."""
    wanted = {
        unit.contest.own_model: unit.contest for unit in units if unit.entrant.found.needs_model
    }
    todo = [
        contest
        for folder, contest in wanted.items()
        if folder is not None and not (Path(folder) / "model.json").exists()
    ]
    for number, _ in enumerate(session.engine.spread(train, todo), start=1):
        session.say(f"meta-model {number} of {len(todo)} is trained")


def train(contest: Contest) -> None:
    """Train a contest's own model on what its methods may know."""
    assert contest.own_model is not None
    known = contest.problem(seed=0, n_trials=None).evaluations
    MetaModel.fit(known, device="cpu", seed=0).save(contest.own_model)
