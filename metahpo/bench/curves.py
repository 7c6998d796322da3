"""Anytime curves: the best score so far against the number of trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from metahpo.bench.methods import methods
from metahpo.bench.summary import Array, contests

_COLOURS = {  # Okabe and Ito's palette, which colour-blind readers can tell apart
    "metahpo": "#d55e00",
    "tpe_default": "#0072b2",
    "gp_default": "#009e73",
    "random": "#999999",
}
_WIDTH, _HEIGHT = 3.4, 3.2  # inches a panel


def draw_curves(runs: pd.DataFrame, path: Path) -> None:
    """Draw one panel a contest: every method's mean over seeds, and its range, to a PNG.

    Parameters
    ----------
    runs : DataFrame
        From :func:`metahpo.bench.race.race`.
    path : Path
        The picture to write.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = list(contests(runs))
    figure = Figure(figsize=(_WIDTH * len(panels), _HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, ((contest, learner, metric), curves) in zip(axes, panels, strict=True):
        for method, best in curves.items():
            trials = np.arange(1, best.shape[1] + 1)
            colour = _COLOURS[method]
            axis.plot(trials, best.mean(0), color=colour, label=methods[method].title)
            axis.fill_between(trials, best.min(0), best.max(0), color=colour, alpha=0.15, lw=0)
        axis.set_title(f"{contest}\n{learner}", fontsize=9)
        axis.set_xlabel("trials", fontsize=8)
        axis.set_ylabel(f"best {metric} so far", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(bottom=_floor(list(curves.values())))
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.savefig(path, dpi=150)


def _floor(curves: list[Array]) -> float:
    """Return where a panel begins: a first trial that fails badly must not flatten the rest."""
    top = max(float(best.max()) for best in curves)
    third = min(float(best[:, min(2, best.shape[1] - 1)].min()) for best in curves)
    return third - 0.1 * (top - third)
