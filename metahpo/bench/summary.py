"""What a race came to: means with their spread over the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.bench.methods import methods

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """One method on one contest.

    Attributes
    ----------
    contest, learner, metric, method : str
    best : ndarray, shape (seeds, trials)
        Best score so far.
    catches_up : int or None
        After how many trials its mean is first what the best method that started from the
        library's default has at the end; None if it never is.
    """

    contest: str
    learner: str
    metric: str
    method: str
    best: Array
    catches_up: int | None

    @property
    def title(self) -> str:
        """The contest in words."""
        return f"{self.contest}, {self.learner}, {self.metric}"

    def at(self, n: int) -> str:
        """Write mean and standard deviation over the seeds after `n` trials."""
        column = self.best[:, n - 1]
        return f"{column.mean():.4f} ±{column.std(ddof=1):.4f}"


def contests(runs: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], dict[str, Array]]]:
    """Yield (contest, learner, metric) and every method's best so far, (seeds, trials)."""
    for key, part in runs.groupby(["contest", "learner", "metric"], sort=False):
        contest, learner, metric = map(str, key)
        yield (
            (contest, learner, metric),
            {
                str(method): own.pivot(index="seed", columns="trial", values="best").to_numpy()
                for method, own in part.groupby("method", sort=False)
            },
        )


def summarize(runs: pd.DataFrame) -> list[Standing]:
    """Tell how every method stands on every contest of a race.

    Parameters
    ----------
    runs : DataFrame
        From :func:`metahpo.bench.race.race`.
    """
    return [
        Standing(*key, method, best, _first_at_least(best.mean(0), _cold_finish(curves)))
        for key, curves in contests(runs)
        for method, best in curves.items()
    ]


def _cold_finish(curves: dict[str, Array]) -> float:
    """Return what the best method that started from the default has at the end."""
    cold = [best[:, -1].mean() for name, best in curves.items() if methods[name].from_default]
    return float(max(cold, default=np.nan))


def _first_at_least(curve: Array, goal: float) -> int | None:
    reached = np.flatnonzero(curve >= goal - 1e-12)
    return int(reached[0]) + 1 if len(reached) else None


def to_rows(standings: Sequence[Standing], at: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Lay the methods of one contest out as a table: its head, and a row a method."""
    head = ["method", *(f"@{n}" for n in at), "catches up"]
    rows = [
        [
            methods[s.method].label,
            *(s.at(n) for n in at),
            "never" if s.catches_up is None else f"trial {s.catches_up}",
        ]
        for s in standings
    ]
    return head, rows


def to_markdown(standings: Sequence[Standing], at: Sequence[int]) -> str:
    """Write standings as one Markdown table, the contest in its first column."""
    lines: list[list[str]] = []
    for standing in standings:
        head, rows = to_rows([standing], at)
        if not lines:
            lines += [["dataset", *head], ["---", "---", *["---:"] * (len(head) - 1)]]
        lines += [[standing.title, *row] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
