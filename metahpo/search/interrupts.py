"""Ctrl-C: kept where it would do harm, heeded where others catch it, and sent by schedulers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class _Kept:
    """A handler that keeps the first Ctrl-C; who presses it again means it."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            signal.default_int_handler(number, frame)
        self.came = True


@contextmanager
def kept_interrupts() -> Iterator[Callable[[], bool]]:
    """Keep Ctrl-C until the end of the block, or until something is fitted in it.

    Raised in the midst of a storage's work, it leaves an SQLite file locked for as long as the
    traceback lives, or is lost in a finalizer; raised in the midst of an import, that package is
    of no use any more. Where something is fitted, which may take long, :func:`heeded_interrupts`
    raises at once what has come or comes; so does a second Ctrl-C everywhere. Whoever has a
    handler of their own is left alone, and elsewhere than in the main thread no signal comes.

    Yields
    ------
    callable
        Tells whether it has come, to a block that may end early.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, if it has come.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before is not signal.default_int_handler:
        yield lambda: False
        return
    handler = _Kept()
    signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: handler.came
    finally:
        signal.signal(signal.SIGINT, before)
    if handler.came:
        raise KeyboardInterrupt


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
        If one was raised inside by the signal, whatever became of it; at once, if one was kept.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    if isinstance(before, _Kept) and before.came:
        raise KeyboardInterrupt
    answer = signal.default_int_handler if isinstance(before, _Kept) else before
    came = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal came
        try:
            answer(number, frame)
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


@contextmanager
def requests_as_interrupts() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C: a cluster's scheduler sends it some time before it kills.

    Outside the main thread, which signals are delivered to, there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
