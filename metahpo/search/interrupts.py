"""Ctrl-C, also where what is being fitted keeps it to itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def heeded_interrupts() -> Iterator[None]:
    """Raise the Ctrl-C that was caught inside once more, at the end of the block.

    scikit-learn's perceptrons take Ctrl-C for an early end of their training: they warn, and their
    ``fit`` returns as if it were done. So would any estimator that they are a part of. A search
    would score what is half trained, and go on.

    Heeded is the signal, not the warning: its words may change, filters drop it or turn it into an
    error, and they are one for all threads. Python delivers the signal to the main thread only,
    so elsewhere there is nothing to do. Whoever answers Ctrl-C in another way than by
    ``KeyboardInterrupt``, or ignores it, is left alone.

    Raises
    ------
    KeyboardInterrupt
        If one was raised inside by the signal, whatever became of it.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal came
        try:
            before(number, frame)
        except KeyboardInterrupt:
            came = True
            raise

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    except Exception as error:  # a fit that was cut short may fail by that
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
