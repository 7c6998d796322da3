"""The critical-difference diagram of Demšar (2006): mean ranks, and what is not told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metahpo.bench.report.statistics import CriticalDifference
from metahpo.bench.report.style import INK, SOFT, looks, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _ROW = 7.2, 0.24  # inches: the picture, and one line of text
_MARGIN = 0.32  # share of the ranks' width that names take on either side


def draw_critical_difference(
    found: CriticalDifference, methods: Sequence[str], stem: Path
) -> None:
    """Draw mean ranks on a scale; a bar joins methods of which no pair differs significantly.

    Parameters
    ----------
    found : CriticalDifference
    methods : sequence of str
        In the order that the other pictures have them, which gives them their colours.
    stem : Path
        The files' name without its ending.
    """
    from matplotlib.figure import Figure

    n = len(found.ranks)
    below = 1.2 + 0.75 * len(found.cliques)  # where the names begin, in rows under the scale
    height = 1.2 + below + math.ceil(n / 2)
    figure = Figure(figsize=(_WIDTH, _ROW * height + 0.1), layout="constrained")
    axis = figure.subplots()
    axis.set_axis_off()
    reach = _MARGIN * max(n - 1, 1)
    axis.set_xlim(n + reach, 1 - reach)  # the best is on the right, as in Demšar's figures
    axis.set_ylim(height - 1.2, -1.2)
    _scale(axis, n)
    for level, clique in enumerate(found.cliques):
        ends = [found.ranks[method] for method in clique]
        y = 0.6 + 0.75 * level
        slack = 0.012 * max(n - 1, 1)
        axis.plot(
            [min(ends) - slack, max(ends) + slack], [y, y], color=INK, lw=3, solid_capstyle="round"
        )
    colours = looks(methods)
    best_first = list(found.ranks.items())
    right, left = best_first[: n // 2], best_first[n // 2 :][::-1]
    for half, side, x in ((right, "left", 1 - 0.1 * reach), (left, "right", n + 0.1 * reach)):
        for row, (method, rank) in enumerate(half):
            y = below + row
            axis.plot([rank, rank, x], [0.0, y, y], color=colours[method].colour, lw=1.1)
            words = (method, f"{rank:.2f}") if side == "left" else (f"{rank:.2f}", method)
            weight = "bold" if method == "metahpo" else "normal"
            text = f"  {'  '.join(words)}  "
            axis.text(x, y, text, ha=side, va="center", fontsize=9, color=INK, weight=weight)
    save_picture(figure, stem)


def _scale(axis: Axes, n: int) -> None:
    axis.plot([1, n], [0, 0], color=SOFT, lw=1)
    for rank in range(1, n + 1):
        axis.plot([rank, rank], [0, -0.25], color=SOFT, lw=1)
        axis.text(rank, -0.45, str(rank), ha="center", va="bottom", fontsize=8, color=SOFT)
