"""The parent's side of a worker process: give it units, get outcomes, survive its death."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, cast

import numpy as np

from metahpo.collect.worker import READY, TIMED_OUT, Outcome, Unit

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


class StoppedError(Exception):
    """The evaluator was closed while it worked."""


class Evaluator:
    """A worker process that evaluates units and is replaced when it dies.

    The process is started when it is first needed. It inherits the import path, so that learners
    may be defined in any importable module, and none of the terminal's signals: Ctrl-C is the
    parent's to handle.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: IO[bytes] | None = None
        self._closed = False

    def evaluate(self, unit: Unit) -> Iterator[Outcome]:
        """Yield an outcome for every configuration of `unit`, in order, as they come.

        A configuration during which the process ends, by its time limit or by a crash, gets its
        outcome from here, and the rest go to a new process.

        Raises
        ------
        StoppedError
            If :meth:`kill` was called meanwhile.
        RuntimeError
            If a worker process cannot be started.
        """
        waiting = list(unit.configs)
        while waiting:
            stream = self._connect()
            try:
                pickle.dump(replace(unit, configs=tuple(waiting)), stream)
                stream.flush()
                while waiting:
                    outcome: Outcome = pickle.load(stream)
                    del waiting[0]
                    yield outcome
            except (EOFError, OSError, pickle.UnpicklingError):
                if self._closed:
                    raise StoppedError from None
                index, _ = waiting.pop(0)
                yield self._last_words(index, unit.settings.time_limit)

    def kill(self) -> None:
        """End the process, whatever it is doing; safe in a signal handler and in any thread."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process and let go of it."""
        self.kill()
        if self._process is not None and self._stream is not None:
            self._process.wait()
            self._stream.close()
            self._process = self._stream = None

    def _connect(self) -> IO[bytes]:
        if self._is_closed():
            raise StoppedError
        if self._stream is None:
            self._process, self._stream = _start()
            if self._is_closed():  # by another thread while the process started
                self._process.kill()
        return self._stream

    def _is_closed(self) -> bool:
        return self._closed

    def _last_words(self, index: int, time_limit: float) -> Outcome:
        assert self._process is not None
        assert self._stream is not None
        self._stream.close()
        status = self._process.wait()
        self._process = self._stream = None
        if status == TIMED_OUT:
            error = f"stopped at the time limit of {time_limit:g} s"
            return Outcome(index, np.nan, time_limit, "timeout", error)
        reason = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        error = f"the worker process died with {reason}"
        return Outcome(index, np.nan, np.nan, "failed", error)


def _start() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    ours, theirs = socket.socketpair()
    code = f"from metahpo.collect.worker import serve; serve({theirs.fileno()})"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        pass_fds=(theirs.fileno(),),
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    theirs.close()
    with ours:
        stream = cast(IO[bytes], ours.makefile("rwb"))
    try:
        if pickle.load(stream) == READY:
            process.stderr.close()
            return process, stream
    except (EOFError, OSError):
        stream.close()
    _, complaint = process.communicate()
    last = complaint.decode(errors="replace").strip().splitlines()[-1:]
    raise RuntimeError(f"the worker process could not be started: {' '.join(last)}")
