"""Several processes on one stored study: trials side by side, that survive each other's deaths.

Workers share nothing but the study and the tickets for the trials that may still be started; each
begins with one of its own. The ticket of a worker that dies is lost; its configuration is queued
again by whichever process looks next, and what is missing in the end is run by the process that
started the workers. So there are never more trials than were asked for.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from metahpo.search import MetaSearchCV
from metahpo.search.interrupts import kept_interrupts, requests_as_interrupts
from metahpo.search.run import Callback
from metahpo.search.stored import finished, quiet

if TYPE_CHECKING:
    from multiprocessing.synchronize import Semaphore

    from metahpo.tuning import Tuning

LOOK_SECONDS = 0.5
"""How often the study is looked at while the workers work."""

_ENDLESS = 1_000_000  # tickets where only time ends a study


@dataclass(frozen=True)
class SharedStudy:
    """A stored study that is to have a number of trials, or to go on for a time.

    Attributes
    ----------
    storage, name : str
    n_trials : int or None
        How many finished trials it is to have, whoever ran them; None for as many as `timeout`
        allows.
    timeout : float or None
        Seconds after which no trial is started.
    """

    storage: str
    name: str
    n_trials: int | None
    timeout: float | None


def search_together(
    tuning: Tuning,
    shared: SharedStudy,
    n_workers: int,
    *,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = lambda text: None,
) -> MetaSearchCV:
    """Run a stored study, or go on with it, in several processes, and refit its best.

    Parameters
    ----------
    tuning : Tuning
    shared : SharedStudy
    n_workers : int
    callbacks : sequence of callable, optional
        Called here, with the study and its latest finished trial, whenever there are new ones.
    say : callable, optional
        Told in one line when a worker has died.

    Returns
    -------
    MetaSearchCV
        As :meth:`metahpo.tuning.Tuning.search`.

    Raises
    ------
    ValueError
        As :meth:`metahpo.MetaSearchCV.fit`; what is wrong with table, storage or study shows
        before any process is started.
    KeyboardInterrupt
        On Ctrl-C, if no trial has succeeded by then.
    """
    deadline = None if shared.timeout is None else time.monotonic() + shared.timeout
    ready = tuning.unfitted(shared.n_trials, shared.storage, shared.name)
    study = ready.open_study(tuning.table.X, tuning.table.y)
    wanted = shared.n_trials
    missing = _ENDLESS if wanted is None else wanted - len(finished(study))
    if missing > 0:
        watch = _Watch(study, callbacks)
        interrupted = _run(tuning, shared, min(n_workers, missing), missing, watch, say)
        if interrupted and not finished(study):
            raise KeyboardInterrupt
        if interrupted or (deadline is not None and time.monotonic() >= deadline):
            wanted = max(1, len(finished(study)))
    left = None if deadline is None else max(deadline - time.monotonic(), 1e-3)
    search = tuning.search(wanted, left, shared.storage, shared.name, callbacks)
    tuning.score_default(search.study_, finished(search.study_)[-1])  # if a death left it undone
    return search


def _run(
    tuning: Tuning,
    shared: SharedStudy,
    n_workers: int,
    missing: int,
    watch: _Watch,
    say: Callable[[str], None],
) -> bool:
    """Let workers work until all have ended; tell whether Ctrl-C ended them."""
    spawning = multiprocessing.get_context("spawn")  # forking a process that has threads is unsafe
    tickets = spawning.Semaphore(missing - n_workers)
    workers = [
        spawning.Process(target=_work, args=(tuning, shared, tickets, n_workers, i == 0))
        for i in range(n_workers)
    ]
    interrupted = False
    try:
        for worker in workers:
            worker.start()
        running = list(workers)
        while running:
            try:
                with kept_interrupts():
                    wait([worker.sentinel for worker in running], timeout=LOOK_SECONDS)
                    watch.look()
            except KeyboardInterrupt:
                interrupted = True
                for worker in running:
                    _interrupt(worker)
            for worker in [worker for worker in running if not worker.is_alive()]:
                running.remove(worker)
                if worker.exitcode and not interrupted:
                    say(
                        f"a worker process ended with {_reason(worker.exitcode)}; "
                        f"{len(running)} of {n_workers} go on"
                    )
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
    return interrupted


class _Watch:
    """Calls callbacks in the starting process for trials that finish in others."""

    def __init__(self, study: Study, callbacks: Sequence[Callback]) -> None:
        self._study, self._callbacks = study, callbacks
        self._seen = len(finished(study))

    def look(self) -> None:
        """Call the callbacks if trials have finished since the last look."""
        trials = finished(self._study)
        if len(trials) > self._seen:
            self._seen = len(trials)
            for callback in self._callbacks:
                callback(self._study, trials[-1])


# ---------------------------------------------------------------------- in the worker


def _work(
    tuning: Tuning, shared: SharedStudy, tickets: Semaphore, n_workers: int, first: bool
) -> None:
    """Run a trial, and more as long as there are tickets: the body of a worker process."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    os.setsid()  # the terminal's Ctrl-C is the starting process' to hand on
    _die_with_parent()
    warnings.simplefilter("ignore")

    def next_ticket(study: Study, trial: FrozenTrial) -> None:
        if not tickets.acquire(block=False):
            study.stop()

    search = tuning.unfitted(shared.n_trials, shared.storage, shared.name).set_params(
        timeout=shared.timeout,
        callbacks=[tuning.score_default, next_ticket] if first else [next_ticket],
    )
    cores = os.cpu_count() or 1
    with (
        quiet(True),
        threadpool_limits(max(1, cores // n_workers)),
        suppress(KeyboardInterrupt),  # the starting process tells of it
        requests_as_interrupts(),
    ):
        search.run_trials(tuning.table.X, tuning.table.y)


def _die_with_parent() -> None:
    """End this process when the one that started it has ended, however that ended."""
    parent: Any = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt(worker: Any) -> None:
    if worker.is_alive():
        os.kill(worker.pid, signal.SIGTERM)  # which no shell has had it ignore


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
