"""How far something long is: a live bar in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from metahpo.cli.console import err

_LINE_SECONDS = 30.0
_BAR_SECONDS = 0.1  # a fast loop must not spend its time on the bar


class StageMeter:
    """Shows one bar for each thing that is worked on, one after the other.

    Parameters
    ----------
    unit : str
        What is counted.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[words]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self._name = ""
        self._line: TaskID | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def at(self, name: str, done: int, total: int, words: str = "") -> None:
        """Say that `done` of `total` units of something are through."""
        now = time.monotonic()
        wait = _BAR_SECONDS if err.is_terminal else _LINE_SECONDS
        if name == self._name and done < total and now - self._said < wait:
            return
        if name != self._name and err.is_terminal:
            self._line = self._bar.add_task(name, total=total, words=words)
        self._name, self._said = name, now
        if self._line is not None:
            self._bar.update(self._line, completed=done, words=words)
        else:
            err.print(f"  {name}: {done:,} of {total:,} {self._unit}  {words}", markup=False)
