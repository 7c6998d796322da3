"""A benchmark while it runs: who leads, how much is done, how long it takes yet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from metahpo.cli.console import err

if TYPE_CHECKING:
    import pandas as pd

LINE_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""


class Scoreboard:
    """A live table in a terminal, elsewhere a line now and then; a ``bench.runs.Watcher``.

    Ranks and means are over the heats (task, learner, fold and seed) that all methods have run in
    this session. What it keeps does not grow with the heats that are through.

    Parameters
    ----------
    methods : sequence of str
        All that take part.
    console : rich.console.Console, optional
        Where to show it; standard error by default.
    """

    def __init__(self, methods: Sequence[str], console: Console = err) -> None:
        self._methods = tuple(methods)
        self._console = console
        self._open: dict[tuple[Any, ...], dict[str, float]] = {}  # heats some methods still lack
        self._heats = 0
        self._ranks = dict.fromkeys(self._methods, 0.0)  # sums over the heats that are through
        self._scores = dict.fromkeys(self._methods, 0.0)
        self._done = dict.fromkeys(self._methods, 0)
        self._total = self._before = 0
        self._started = self._said = time.monotonic()
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=2, transient=True
        )

    def begin(self, total: int, done: int) -> None:
        """Start to show a benchmark of `total` units, of which earlier sessions did some."""
        self._total, self._before = total, done
        self._started = self._said = time.monotonic()
        if done:
            self._console.print(f"  {done} of {total} runs were done before and are kept")
        if self._console.is_terminal:
            self._live.start()

    def unit(self, rows: pd.DataFrame) -> None:
        """Count a unit that is through."""
        last = rows.iloc[-1]
        method = str(last["method"])
        self._done[method] += 1
        heat = tuple(last[["task_id", "learner", "metric", "fold", "seed"]])
        self._open.setdefault(heat, {})[method] = float(last["best"])
        if len(self._open[heat]) == len(self._methods):
            self._count(self._open.pop(heat), maximize=last["direction"] == "maximize")
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= LINE_SECONDS:
            self._said = now
            self._say()

    def end(self) -> None:
        """Take the table away, or say a last line."""
        if self._console.is_terminal:
            self._live.stop()
        elif sum(self._done.values()):
            self._say()

    def ranks(self) -> dict[str, float]:
        """Return mean ranks so far, best first; nothing before a heat is through."""
        if not self._heats:
            return {}
        means = {method: total / self._heats for method, total in self._ranks.items()}
        return dict(sorted(means.items(), key=lambda item: item[1]))

    def _count(self, best: Mapping[str, float], *, maximize: bool) -> None:
        import numpy as np
        from scipy.stats import rankdata

        scores = np.array([best[method] for method in self._methods])
        losses = np.nan_to_num(-scores if maximize else scores, nan=np.inf)
        self._heats += 1
        for method, rank, score in zip(self._methods, rankdata(losses), scores, strict=True):
            self._ranks[method] += float(rank)
            self._scores[method] += float(score)

    def _table(self) -> Table:
        left = self._time_left()
        done = self._before + sum(self._done.values())
        table = Table(
            box=None,
            header_style="dim",
            padding=(0, 2, 0, 0),
            title=f"{done} of {self._total} runs{f', {left} left' if left else ''}",
            title_justify="left",
        )
        table.add_column("method")
        for column in ("mean rank", "mean score", "runs"):
            table.add_column(column, justify="right")
        ranks = self.ranks()
        for method in ranks or self._methods:
            known = (f"{ranks[method]:.2f}", self._mean(method)) if ranks else ("–", "–")
            style = "bold" if method == "metahpo" else ""
            table.add_row(method, *known, str(self._done[method]), style=style)
        return table

    def _mean(self, method: str) -> str:
        mean = self._scores[method] / self._heats
        return f"{mean:.4f}" if mean == mean else "–"

    def _say(self) -> None:
        left = self._time_left()
        done = self._before + sum(self._done.values())
        leaders = ", ".join(f"{method} {rank:.2f}" for method, rank in self.ranks().items())
        words = f"  {done}/{self._total} runs{f', {left} left' if left else ''}"
        words += f"; mean ranks: {leaders}" if leaders else ""
        self._console.print(words, markup=False)

    def _time_left(self) -> str:
        from metahpo.page import duration

        done = sum(self._done.values())
        rest = self._total - self._before - done
        if not done or not rest:
            return ""
        return duration(rest * (time.monotonic() - self._started) / done)
