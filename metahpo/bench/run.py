"""Run a benchmark: whatever is finished stays finished, on one core or on a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from metahpo.bench.contest import Contest
from metahpo.bench.guard import guarded
from metahpo.bench.histories import history_contests
from metahpo.bench.plan import Entrant, Plan
from metahpo.bench.ring import Unit, play
from metahpo.bench.runs import Watcher
from metahpo.bench.sources import BundledSource, OpenMLSource, Source
from metahpo.bench.store import Store
from metahpo.bench.table_contest import table_contests
from metahpo.bench.tables import Preparation, Prepared
from metahpo.collect import UnusableTaskError
from metahpo.files import replace_file
from metahpo.metamodel import MetaModel
from metahpo.openml import OpenMLError, fetch_suite

_DEATHS = 3  # of worker processes in a row, after which it is not chance
_IDLE_SECONDS = 120  # after which a worker ends; so those of a killed run do not linger

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """Who does the work: processes of this machine, or a Dask cluster.

    Attributes
    ----------
    jobs : int
        Units at a time on this machine.
    dask : str or None
        Address of a Dask scheduler, ``tcp://host:port``. Its workers need metahpo and, for all
        but histories and scikit-learn's datasets, to see the results folder under the same path.
    """

    jobs: int = 1
    dask: str | None = None


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

    engine: Engine = Engine()
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
        gathered = gather(plan, store, session)
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
        for index, rows in _spread(play, todo, session.engine):
            store.add(todo[index], rows)
            session.watcher.unit(rows)
    finally:
        session.watcher.end()
        store.consolidate()


# ---------------------------------------------------------------------- what is played


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


def gather(plan: Plan, store: Store, session: Session) -> Gathered:
    """Prepare a plan's tasks, as far as they are not there yet, and guard against leaks.

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
            session.say(f"left out: {error}")
        except OpenMLError as error:
            missing.append(str(error))
            session.say(f"not to be had now: {error}")
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
    for number, _ in enumerate(_spread(train, todo, session.engine), start=1):
        session.say(f"meta-model {number} of {len(todo)} is trained")


def train(contest: Contest) -> None:
    """Train a contest's own model on what its methods may know."""
    assert contest.own_model is not None
    known = contest.problem(seed=0, n_trials=None).evaluations
    MetaModel.fit(known, device="cpu", seed=0).save(contest.own_model)


# ---------------------------------------------------------------------- who plays it


def _spread(
    work: Callable[[Item], Result], items: Sequence[Item], engine: Engine
) -> Iterator[tuple[int, Result]]:
    """Yield each item's number and result, as they come.

    A process of this machine that dies (killed for its memory, say) takes its unit with it; the
    rest go on in new processes, unless several die in a row. On a cluster Dask does the same.
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left, deaths = dict(enumerate(items)), 0
    while left:
        try:
            for index, result in _parallel(work, left, engine):
                del left[index]
                deaths = 0
                yield index, result
        except TerminatedWorkerError as error:
            deaths += 1
            if deaths == _DEATHS:
                raise OSError(
                    f"worker processes died {deaths} times in a row; is there enough memory?"
                ) from error


def _parallel(
    work: Callable[[Item], Result], items: Mapping[int, Item], engine: Engine
) -> Iterator[tuple[int, Result]]:
    from joblib import Parallel, delayed

    with _backend(engine):
        options: dict[str, Any] = {}
        if engine.dask is None:
            options = {"n_jobs": engine.jobs, "idle_worker_timeout": _IDLE_SECONDS}
        parallel = Parallel(return_as="generator_unordered", batch_size=1, **options)
        yield from parallel(delayed(_numbered)(work, *item) for item in list(items.items()))


def _numbered(work: Callable[[Item], Result], index: int, item: Item) -> tuple[int, Result]:
    return index, work(item)


def _backend(engine: Engine) -> AbstractContextManager[Any]:
    if engine.dask is None:
        return nullcontext()
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "--dask needs dask and distributed: pip install metahpo[cluster]"
        ) from None
    return _Cluster(engine.dask, Client)


class _Cluster:
    """A Dask cluster as joblib's backend."""

    def __init__(self, address: str, client: Any) -> None:
        import joblib

        self._address = address
        try:
            self._client = client(address, timeout="10s", set_as_default=True)
        except (OSError, ValueError) as error:
            raise OSError(f"there is no Dask scheduler at {address}: {error}") from error
        self._config = joblib.parallel_config(backend="dask", client=self._client)

    def __enter__(self) -> None:
        self._config.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._config.__exit__(*error)
        self._client.close()
