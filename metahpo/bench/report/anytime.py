"""Anytime curves: how far the methods are after every trial, and after every second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.bench.report.curves import Curves
from metahpo.bench.report.statistics import bootstrap_band, ranks
from metahpo.bench.report.style import legend_below, looks, quiet_axis, save_picture
from metahpo.bench.report.tasks import problems

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_WIDTH, _HEIGHT = 3.5, 3.1  # inches a panel


def draw_anytime(trials: Curves, seconds: Curves | None, test: Curves | None, stem: Path) -> None:
    """Draw the means over tasks with their bootstrap bands, to a PNG and an SVG.

    Parameters
    ----------
    trials, seconds, test : Curves
        Against trials, against time, and of the test scores against trials; None is left out.
    stem : Path
        The files' name without its ending.
    """
    drawn = [
        (trials, trials.regret, "mean normalised regret"),
        (trials, ranks(trials.regret), "mean rank"),
    ]
    drawn += [] if seconds is None else [(seconds, seconds.regret, "mean normalised regret")]
    drawn += [] if test is None else [(test, test.regret, "mean normalised test regret")]
    figure, axes = _panels(len(drawn), columns=2 if len(drawn) == 4 else 3)
    for axis, (curves, values, what) in zip(axes, drawn, strict=True):
        for i, method in enumerate(curves.methods):
            own = values[:, i]
            _curve(axis, method, curves.methods, curves.budgets, own.mean(0), bootstrap_band(own))
        axis.set_ylabel(what)
        axis.set_xlabel("seconds" if curves is seconds else "trials")
        if curves is seconds:
            axis.set_xscale("log")
        if values is not curves.regret:
            axis.invert_yaxis()  # up is better, as down is in the others: rank 1 on top
        else:
            _log_scale(axis, values.mean(axis=0))
        _finish(axis, whole=curves is not seconds)
    legend_below(figure, axes[0])
    save_picture(figure, stem)


def draw_curves(runs: pd.DataFrame, stem: Path, titles: Mapping[str, str] | None = None) -> None:
    """Draw one panel a problem: every method's mean score over its runs, and their range.

    Parameters
    ----------
    runs : DataFrame
        As :mod:`metahpo.bench.runs` has them.
    stem : Path
        The files' name without its ending.
    titles : mapping of str to str, optional
        What to call methods, where not by their names.
    """
    panels = list(problems(runs))
    methods = tuple(runs["method"].unique())
    figure, axes = _panels(len(panels), columns=4)
    for axis, problem in zip(axes, panels, strict=True):
        for method, best in problem.best.items():
            trials = np.arange(1.0, best.shape[1] + 1)
            band = best.min(axis=0), best.max(axis=0)
            title = (titles or {}).get(method)
            _curve(axis, method, methods, trials, best.mean(axis=0), band, title)
        axis.set_title(f"{problem.task}\n{problem.learner}")
        axis.set_xlabel("trials")
        axis.set_ylabel(f"best {problem.metric} so far")
        _leave_out_junk(axis, list(problem.best.values()), problem.maximize)
        _finish(axis, whole=True)
    legend_below(figure, axes[0])
    save_picture(figure, stem)


def _panels(n: int, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(n, columns)
    rows = -(-n // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[n:]:
        spare.remove()
    return figure, axes[:n]


def _curve(
    axis: Axes,
    method: str,
    methods: Sequence[str],
    x: Array,
    mean: Array,
    band: tuple[Array, Array],
    title: str | None = None,
) -> None:
    colour, line, _ = looks(methods)[method]
    front = 3.0 if method == "metahpo" else 2.0
    axis.plot(x, mean, color=colour, ls=line, lw=1.7, label=title or method, zorder=front)
    axis.fill_between(x, *band, color=colour, alpha=0.13, lw=0)


def _finish(axis: Axes, *, whole: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    quiet_axis(axis)
    if whole:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _log_scale(axis: Axes, means: Array) -> None:
    """Use a log scale where the means have a decade to show, down to just below the least."""
    least, most = means[means > 0].min(initial=1.0), means.max(initial=0.0)
    if most > 5 * least:
        axis.set_yscale("log", nonpositive="clip")
        axis.set_ylim(bottom=max(least, most / 1e4) / 1.5)


def _leave_out_junk(axis: Axes, curves: list[Array], maximize: bool) -> None:
    """Begin where a third trial has got: a first one that failed must not flatten the rest."""
    sign = 1.0 if maximize else -1.0
    top = max(float((sign * best).max()) for best in curves)
    third = min(float((sign * best)[:, min(2, best.shape[1] - 1)].min()) for best in curves)
    end = sign * (third - 0.1 * (top - third))
    if top > third:
        axis.set_ylim(bottom=end) if maximize else axis.set_ylim(top=end)
