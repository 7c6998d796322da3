"""A live bar, in a terminal; elsewhere nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn


class Bar:
    """What the meters draw; shown while it is entered.

    Parameters
    ----------
    *columns : rich.progress.ProgressColumn
        What stands behind the bar and the count.
    label : str
        What stands before them.
    console : rich.console.Console
    live : bool
        Whether it is shown at all.
    width : int, default=28
        Of the bar, in characters.
    """

    def __init__(
        self,
        *columns: ProgressColumn,
        label: str,
        console: Console,
        live: bool,
        width: int = 28,
    ) -> None:
        self._bar = Progress(
            TextColumn(label),
            BarColumn(bar_width=width),
            MofNCompleteColumn(),
            *columns,
            console=console,
            disable=not live,
        )

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
