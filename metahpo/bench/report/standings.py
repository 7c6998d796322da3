"""How the methods stand after one budget: one row a method, best mean rank first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from metahpo.bench.report.curves import Curves
from metahpo.bench.report.statistics import Versus, against, ranks

Table = tuple[list[str], list[list[str]]]
"""A head and rows, as text."""

_ROUND = (1, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Standing:
    """One method after one budget, over all tasks.

    Attributes
    ----------
    method : str
    regret, median_regret : float
        Mean and median over the tasks, normalised.
    score, median_score : float
        The same of the raw score; NaN where tasks have different metrics.
    rank : float
        Mean over the tasks.
    versus : Versus or None
        Against the baseline; None for the baseline itself.
    """

    method: str
    regret: float
    median_regret: float
    score: float
    median_score: float
    rank: float
    versus: Versus | None


def standings(curves: Curves, at: int, baseline: str) -> list[Standing]:
    """Tell how the methods stand.

    Parameters
    ----------
    curves : Curves
    at : int
        Index of the budget.
    baseline : str
    """
    regret = curves.regret[:, :, at]
    score = np.full_like(regret, math.nan) if curves.score is None else curves.score[:, :, at]
    mean_ranks = ranks(regret).mean(axis=0)
    versus = against(regret, curves.methods, baseline)
    return [
        Standing(
            method=curves.methods[i],
            regret=float(regret[:, i].mean()),
            median_regret=float(np.median(regret[:, i])),
            score=float(score[:, i].mean()),
            median_score=float(np.median(score[:, i])),
            rank=float(mean_ranks[i]),
            versus=versus.get(curves.methods[i]),
        )
        for i in np.argsort(mean_ranks, kind="stable")
    ]


def shown_trials(curves: Curves) -> list[int]:
    """Return the indices of the numbers of trials that tables show: round ones and the last."""
    last = len(curves.budgets) - 1
    return [i for i, n in enumerate(curves.budgets) if n in _ROUND and i < last] + [last]


def standings_table(rows: list[Standing], baseline: str) -> Table:
    """Lay standings out as a table."""
    scored = not math.isnan(rows[0].score)
    head = ["method", "mean rank", "mean regret", "median regret"]
    head += ["mean score", "median score"] if scored else []
    head += [f"wins / ties / losses against {baseline}", "p (Wilcoxon, Holm)"]
    return head, [_cells(row, scored) for row in rows]


def _cells(row: Standing, scored: bool) -> list[str]:
    cells = [row.method, f"{row.rank:.2f}", f"{row.regret:.4f}", f"{row.median_regret:.4f}"]
    cells += [f"{row.score:.4f}", f"{row.median_score:.4f}"] if scored else []
    if row.versus is None:
        return [*cells, "–", "–"]
    versus = row.versus
    return [*cells, f"{versus.wins} / {versus.ties} / {versus.losses}", p_value(versus.p)]


def p_value(p: float) -> str:
    """Write a p-value: three digits, and no false precision below."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def regret_table(curves: Curves, budgets: list[int], words: list[str]) -> Table:
    """Lay out the mean normalised regret after several budgets, best at the last first."""
    means = curves.regret.mean(axis=0)
    order = np.argsort(means[:, budgets[-1]], kind="stable")
    rows = [[curves.methods[i], *(f"{means[i, at]:.4f}" for at in budgets)] for i in order]
    return ["method", *words], rows
