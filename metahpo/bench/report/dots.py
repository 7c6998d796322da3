"""Per-task dots: where every method stands on every task in the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from metahpo.bench.report.curves import Curves
from metahpo.bench.report.style import legend_below, looks, quiet_axis, save_picture

_WIDTH, _ROW = 3.4, 0.19  # inches: a panel, and a task's row
_APART = 0.28  # rows that the first and the last method stand off their task's own
_LINEAR = 0.01  # regret below which the scale is linear, so that it shows 0, too


def draw_dots(by_learner: Mapping[str, Curves], stem: Path) -> None:
    """Draw one panel a learner, one row a task, one dot a method: regret after the last trial.

    Parameters
    ----------
    by_learner : mapping of str to Curves
    stem : Path
        The files' name without its ending.
    """
    from matplotlib.figure import Figure

    tasks = _hardest_first(by_learner)
    size = (1.6 + _WIDTH * len(by_learner), 1.2 + _ROW * len(tasks))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(by_learner), sharey=True, squeeze=False)[0]
    for axis, (learner, curves) in zip(axes, by_learner.items(), strict=True):
        rows = np.array([tasks.index(task) for task in curves.tasks])
        # a little apart, since many stand at the same regret: at none
        apart = np.linspace(-_APART, _APART, len(curves.methods))
        for i, method in enumerate(curves.methods):
            look = looks(curves.methods)[method]
            axis.plot(
                curves.regret[:, i, -1],
                rows + apart[i],
                marker=look.marker,
                ls="",
                ms=4.5,
                alpha=0.8,
                mew=0,
                color=look.colour,
                label=method,
                zorder=3 if method == "metahpo" else 2,
                clip_on=False,
            )
        axis.set_xscale("symlog", linthresh=_LINEAR)
        axis.set_xlim(0, 1)
        axis.set_xticks([0, 0.01, 0.1, 1], ["0", ".01", ".1", "1"])
        axis.set_xlabel(f"normalised regret after {curves.budgets[-1]:g} trials")
        axis.set_title(learner)
        quiet_axis(axis)
    axes[0].set_yticks(range(len(tasks)), tasks)
    axes[0].set_ylim(len(tasks) - 0.4, -0.6)
    legend_below(figure, axes[0])
    save_picture(figure, stem)


def _hardest_first(by_learner: Mapping[str, Curves]) -> list[str]:
    """Order the tasks by how far the methods are from the top of them, the furthest first."""
    regrets: dict[str, list[float]] = {}
    for curves in by_learner.values():
        for task, regret in zip(curves.tasks, curves.regret[:, :, -1], strict=True):
            regrets.setdefault(task, []).append(float(regret.mean()))
    return sorted(regrets, key=lambda task: -float(np.mean(regrets[task])))
