"""Evaluate learners on tasks, so that whatever is finished stays finished."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from metahpo.catalogue import Learner
from metahpo.collect.evaluator import Evaluator, StoppedError
from metahpo.collect.folder import CollectionFolder
from metahpo.collect.plan import Settings, configurations
from metahpo.collect.progress import Meter
from metahpo.collect.shards import write_shard
from metahpo.collect.tables import Loader, Table
from metahpo.collect.worker import Outcome, Unit
from metahpo.metadataset import MetaDataset
from metahpo.space import Config

BLOCK = 25
"""Configurations of one learner on one task that are evaluated in a row. All tasks get their
first block before any gets its second, so an interrupted collection is still balanced."""

FLUSH_SECONDS = 20.0
"""Finished configurations wait at most about this long to be on disk."""


class Job(NamedTuple):
    """A unit of work and where its outcomes belong."""

    task_id: str
    unit: Unit
    configs: Sequence[Config]


def collect(
    tasks: Mapping[str, Loader],
    learners: Sequence[Learner],
    n_configs: int,
    out: str | Path,
    settings: Settings,
    *,
    n_jobs: int = 1,
    progress: bool = True,
) -> MetaDataset:
    """Evaluate learners on tasks into a folder that becomes a MetaDataset.

    Every learner is cross-validated with the same `n_configs` configurations on every task: its
    default first, then a quasi-random sequence. A fit that fails or exceeds the time limit is
    recorded as such. What is finished is on disk at once: a collection that was interrupted, in
    whatever way, goes on with the same call, and one that is done is extended by calling again
    with more tasks, learners or configurations.

    Parameters
    ----------
    tasks : mapping of str to callable
        Task id to a function that loads the task; called one at a time, and only once a
        collection.
    learners : sequence of Learner
        Learners for ``settings.task``.
    n_configs : int
        Configurations a learner, the default included.
    out : path
        The folder; :meth:`MetaDataset.load` reads it.
    settings : Settings
        Metric, folds, caps, time limit, seed.
    n_jobs : int, default=1
        Worker processes, each with one thread.
    progress : bool, default=True
        Whether to show the progress on standard error.

    Returns
    -------
    MetaDataset
        Everything in the folder.

    Raises
    ------
    ValueError
        If the folder holds a collection with other settings (named), is in use by another
        process, or if a learner does not fit the settings.
    OSError
        If something cannot be written; the message names the file.
    KeyboardInterrupt
        On Ctrl-C, when all that was finished is on disk.
    """
    _check(tasks, learners, n_configs, settings)
    with CollectionFolder(Path(out)).opened(settings, learners) as folder:
        tables = folder.prepare(tasks, settings)
        configs = {
            learner.name: configurations(learner.space, n_configs, settings.seed)
            for learner in learners
        }
        done = folder.finished(configs)
        jobs = list(_jobs(tables, learners, configs, done, settings))
        total = sum(len(job.unit.configs) for job in jobs)
        with Meter(total, len(done), quiet=not progress) as meter:
            _run(jobs, folder, n_jobs, meter)
        return folder.consolidate()


def _check(
    tasks: Mapping[str, Loader], learners: Sequence[Learner], n_configs: int, settings: Settings
) -> None:
    if not tasks:
        raise ValueError("there are no tasks to collect on")
    if not learners:
        raise ValueError("there are no learners to collect")
    if n_configs < 1:
        raise ValueError(f"n_configs is {n_configs}; it must be at least 1")
    for learner in learners:
        if learner.task != settings.task:
            raise ValueError(
                f"the learner {learner.name!r} is for {learner.task}, "
                f"the collection for {settings.task}"
            )


def _jobs(
    tables: Mapping[str, Table],
    learners: Sequence[Learner],
    configs: Mapping[str, Sequence[Config]],
    done: set[tuple[str, str, int]],
    settings: Settings,
) -> Iterator[Job]:
    """List what is left, block by block, and within a block task by task."""
    longest = max(map(len, configs.values()))
    for start in range(0, longest, BLOCK):
        for task_id, table in tables.items():
            for learner in learners:
                mine = configs[learner.name]
                todo = tuple(
                    (index, mine[index])
                    for index in range(start, min(start + BLOCK, len(mine)))
                    if (task_id, learner.name, index) not in done
                )
                if todo:
                    yield Job(task_id, Unit(table.path, learner, todo, settings), mine)


def _run(jobs: Sequence[Job], folder: CollectionFolder, n_jobs: int, meter: Meter) -> None:
    from joblib import Parallel, delayed

    crew = _Crew(folder.shards, meter)
    with crew, _on_interrupt(crew.stop):
        # Threads: each only waits for its own worker process, which does the work.
        parallel = Parallel(n_jobs, backend="threading", batch_size=1, return_as="list")
        parallel(delayed(crew.work)(job) for job in jobs)
    if crew.stopped:
        raise KeyboardInterrupt


class _Crew:
    """One evaluator a thread, and a way to stop them all."""

    def __init__(self, shards: Path, meter: Meter) -> None:
        self._shards, self._meter = shards, meter
        self._mine = threading.local()
        self._all: list[Evaluator] = []
        self.stopped = False

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for evaluator in self._all:
            evaluator.close()

    def stop(self) -> None:
        """End all workers; threads write what is finished and take no more work."""
        self.stopped = True
        for evaluator in self._all:
            evaluator.kill()

    def work(self, job: Job) -> None:
        """Do a job in the calling thread's worker process."""
        if self.stopped:
            return
        waiting: list[Outcome] = []
        flushed = time.monotonic()
        try:
            for outcome in self._evaluator().evaluate(job.unit):
                waiting.append(outcome)
                self._meter.advance()
                if time.monotonic() - flushed > FLUSH_SECONDS:
                    self._write(job, waiting)
                    flushed = time.monotonic()
        except StoppedError:
            pass
        finally:
            self._write(job, waiting)

    def _evaluator(self) -> Evaluator:
        if not hasattr(self._mine, "evaluator"):
            self._mine.evaluator = Evaluator()
            self._all.append(self._mine.evaluator)
            if self.stopped:
                self._mine.evaluator.kill()
        evaluator: Evaluator = self._mine.evaluator
        return evaluator

    def _write(self, job: Job, waiting: list[Outcome]) -> None:
        if waiting:
            write_shard(self._shards, job.task_id, job.unit.learner.name, waiting, job.configs)
            waiting.clear()


@contextmanager
def _on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Answer the first Ctrl-C by stopping in order; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
