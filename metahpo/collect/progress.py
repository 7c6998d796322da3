"""How far a collection is: a live bar in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from metahpo.bar import Bar

LINE_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


class Meter(Bar):
    """Counts evaluations and shows the count, the rate and the time left.

    Parameters
    ----------
    total : int
        How many there are to do in this run.
    done_before : int
        How many an earlier run did.
    console : rich.console.Console, optional
        Where to show it; standard error by default.
    quiet : bool, default=False
        Whether to show nothing.
    """

    def __init__(
        self, total: int, done_before: int, *, console: Console | None = None, quiet: bool = False
    ) -> None:
        self._console = console or Console(stderr=True, quiet=quiet)
        self._total, self._before, self._done = total, done_before, 0
        self._lock = threading.Lock()
        self._started = self._said = time.monotonic()
        self._live = self._console.is_terminal and not quiet
        super().__init__(
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            label="{task.description}",
            console=self._console,
            live=self._live,
            width=40,
        )
        self._task = self._bar.add_task("evaluations", total=total)

    def __enter__(self) -> Self:
        if self._before:
            self._console.print(f"{self._before} evaluations were done before and are kept")
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if not self._live and self._done:
            self._say(time.monotonic())

    def advance(self, n: int = 1) -> None:
        """Count `n` more evaluations; may be called from any thread."""
        with self._lock:
            self._done += n
            self._bar.advance(self._task, n)
            now = time.monotonic()
            if not self._live and now - self._said >= LINE_SECONDS:
                self._say(now)

    def _say(self, now: float) -> None:
        self._said = now
        rate = self._done / max(now - self._started, 1e-9)
        left = _duration((self._total - self._done) / rate)
        self._console.print(
            f"{self._done}/{self._total} evaluations "
            f"({100 * self._done / self._total:.1f} %), {rate:.1f}/s, {left} left",
            soft_wrap=True,
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
