"""A live bar on standard error, in a terminal; elsewhere nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from metahpo.cli.console import err


class Bar:
    """What the meters of the commands draw; shown while it is entered.

    Parameters
    ----------
    *columns : rich.progress.ProgressColumn
        What stands behind the bar and the count.
    label : str
        What stands before them.
    """

    def __init__(self, *columns: ProgressColumn, label: str) -> None:
        self._bar = Progress(
            TextColumn(f"  {label}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            *columns,
            console=err,
            disable=not err.is_terminal,
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
