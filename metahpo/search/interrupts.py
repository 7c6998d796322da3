"""Ctrl-C: kept where it would do harm, heeded where others catch it, and sent by schedulers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)  # where they raise KeyboardInterrupt


@contextmanager
def requests_as_interrupts() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C: a cluster's scheduler sends it some time before it kills.

    So does a shell's ``kill``, also to what it has started in the background, where Ctrl-C is
    ignored. Outside the main thread, which signals are delivered to, there is nothing to do.
    """
    with _handled({signal.SIGTERM: signal.default_int_handler}):
        yield


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
    raises at once what has come or comes; so does everywhere one that comes while one is kept.
    Whoever has a handler of their own is left alone, and elsewhere than in the main thread no
    signal comes.

    Yields
    ------
    callable
        Tells whether it has come, to a block that may end early.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, if it has come.
    """
    kept = _Kept()
    raising = [n for n in _INTERRUPTS if signal.getsignal(n) is signal.default_int_handler]
    with _handled(dict.fromkeys(raising, kept)):
        try:
            yield lambda: kept.came
        except Exception as error:
            if kept.came:
                raise KeyboardInterrupt from error
            raise
    if kept.came:
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
    answers = {n: answer for n in _INTERRUPTS if callable(answer := signal.getsignal(n))}
    came = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal came
        answer = answers[signal.Signals(number)]
        try:
            (signal.default_int_handler if isinstance(answer, _Kept) else answer)(number, frame)
        except KeyboardInterrupt:
            came = True
            raise

    with _handled(dict.fromkeys(answers, handler)):
        try:
            # first the handler: what comes between would be kept until after the fit
            if any(isinstance(answer, _Kept) and answer.came for answer in answers.values()):
                raise KeyboardInterrupt
            yield
        except Exception as error:  # what was cut short may fail by that
            if came:
                raise KeyboardInterrupt from error
            raise
    if came:
        raise KeyboardInterrupt


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Handle signals so inside the block; where none come, or others cannot be put back, not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: was for n in handlers if (was := signal.getsignal(n)) is not None}
    for number in before:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
