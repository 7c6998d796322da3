"""Who does the work of a benchmark: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

_DEATHS = 3  # of worker processes in a row, after which it is not chance
_IDLE_SECONDS = 120  # after which a worker ends; so those of a killed run do not linger
_AHEAD = 2  # items that wait at the scheduler for every one that is being worked on
_PATIENCE = "30s"  # for the first worker of a cluster

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

    def spread(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Yield each item's number and result, as they come.

        A process that dies (killed for its memory, say) takes only its own item with it, and that
        is worked on again, unless several die in a row.

        Raises
        ------
        OSError
            If there is no scheduler, if it has no workers, or if the processes keep dying.
        ValueError
            If a cluster is asked for and dask is not installed.
        """
        left = dict(enumerate(items))
        if not left:
            return iter(())
        if self.dask is None:
            return _on_this_machine(work, left, self.jobs)
        return _on_cluster(work, left, self.dask)


def _on_this_machine(
    work: Callable[[Item], Result], left: dict[int, Item], jobs: int
) -> Iterator[tuple[int, Result]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    deaths = 0
    while left:
        parallel = Parallel(
            jobs, return_as="generator_unordered", batch_size=1, idle_worker_timeout=_IDLE_SECONDS
        )
        todo = [delayed(_numbered)(work, *item) for item in left.items()]
        try:
            with warnings.catch_warnings():
                # a worker whose memory has grown is replaced, which costs nothing
                warnings.filterwarnings("ignore", "A worker stopped while some jobs")
                for index, result in parallel(todo):
                    del left[index]
                    deaths = 0
                    yield index, result
        except TerminatedWorkerError as error:
            deaths += 1
            if deaths == _DEATHS:
                raise OSError(
                    f"worker processes died {deaths} times in a row; is there enough memory?"
                ) from error


def _on_cluster(
    work: Callable[[Item], Result], items: Mapping[int, Item], address: str
) -> Iterator[tuple[int, Result]]:
    # Not joblib's Dask backend: where the cluster has one core as it begins, joblib works in the
    # process that asked, and it never gives more work to workers that join later.
    try:
        import distributed
    except ImportError:
        raise ValueError(
            "--dask needs dask and distributed: pip install metahpo[cluster]"
        ) from None
    with _client(address, distributed.Client) as client:
        waiting = iter(items.items())
        running: Any = distributed.as_completed(loop=client.loop)  # type: ignore[no-untyped-call]

        def submit() -> None:
            room = (1 + _AHEAD) * sum(client.ncores().values()) - running.count()
            for _, item in zip(range(room), waiting, strict=False):
                running.add(client.submit(_numbered, work, *item, pure=False))

        submit()
        for future in running:
            try:
                yield future.result()
            except distributed.KilledWorker as error:
                raise OSError(f"workers of {address} keep dying: {error}") from error
            submit()


def _client(address: str, client: Any) -> Any:
    try:
        found = client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(f"there is no Dask scheduler at {address}: {error}") from error
    try:
        found.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        found.close()
        raise OSError(
            f"the Dask scheduler at {address} has no workers; start some: dask worker {address}"
        ) from None
    return found


def _numbered(work: Callable[[Item], Result], index: int, item: Item) -> tuple[int, Result]:
    return index, work(item)
