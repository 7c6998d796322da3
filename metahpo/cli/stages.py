"""How far something long is: a live bar in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time

from rich.progress import TaskID, TextColumn, TimeRemainingColumn

from metahpo.bar import Bar
from metahpo.cli.console import err

_LINE_SECONDS = 30.0
_BAR_SECONDS = 0.1  # a fast loop must not spend its time on the bar


class StageMeter(Bar):
    """Shows one bar for each thing that is worked on, one after the other.

    Parameters
    ----------
    unit : str
        What is counted.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        super().__init__(
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[words]}"),
            label="  {task.description}",
            console=err,
            live=err.is_terminal,
        )
        self._name = ""
        self._line: TaskID | None = None
        self._said = time.monotonic()

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
