"""Pictures of a meta-test: the score after every inner step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from metahpo.fewshot.evaluation import JOINT, META, ORACLE, SCRATCH
from metahpo.fewshot.summary import pooled
from metahpo.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {  # Okabe and Ito's palette, which colour-blind readers can tell apart
    META: "#d55e00",
    JOINT: "#0072b2",
    SCRATCH: "#009e73",
    ORACLE: "#8a8a8a",
}
_SHOWN = 0.1  # share of the least error below which an oracle would only flatten the curves
_WIDTH, _HEIGHT = 3.4, 3.2  # inches a panel


def draw_curves(rows: pd.DataFrame, metric: str, path: Path) -> None:
    """Draw one panel a number of shots, with every learner on its own family, to a PNG.

    Parameters
    ----------
    rows : DataFrame
        From :func:`~metahpo.fewshot.evaluation.evaluate_task`.
    metric : {"accuracy", "MSE"}
    path : Path
    """
    from matplotlib.figure import Figure

    own = rows[(rows["family"] == "own") & rows["learner"].isin(list(_COLOURS))]
    last = own.loc[own["learner"] == META, "step"].max()
    shots = list(own["shots"].unique())
    figure = Figure(figsize=(_WIDTH * len(shots), _HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(shots), squeeze=False, sharey=metric == "accuracy")[0]
    for axis, n in zip(axes, shots, strict=True):
        _panel(axis, own[own["shots"] == n], int(last))
        axis.set_title(f"{n} shot{'' if n == 1 else 's'}", fontsize=9)
        axis.set_xlabel("inner steps", fontsize=8)
        axis.tick_params(labelsize=8, which="both")
        axis.spines[["top", "right"]].set_visible(False)
        if metric == "MSE":
            axis.set_yscale("log")
    axes[0].set_ylabel(metric, fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _panel(axis: Axes, rows: pd.DataFrame, last: int) -> None:
    both = rows["transductive"].nunique() > 1
    floor = _SHOWN * rows.loc[rows["learner"] != ORACLE, "mean"].min()
    for (learner, transductive), part in rows.groupby(["learner", "transductive"], sort=False):
        table = pooled(part).reset_index()
        dashed = both and bool(transductive)
        colour, label = _COLOURS[str(learner)], f"{learner}{' (transductive)' * dashed}"
        if learner == ORACLE:
            if table["mean"].iloc[0] > floor:
                axis.axhline(table["mean"].iloc[0], color=colour, label=label, linewidth=1)
            continue
        shown = table[table["step"] <= last]
        style = "--" if dashed else "-"
        axis.plot(shown["step"], shown["mean"], color=colour, label=label, linestyle=style)
        low, high = shown["mean"] - shown["ci95"], shown["mean"] + shown["ci95"]
        axis.fill_between(shown["step"], low, high, color=colour, alpha=0.15, lw=0)
    own = rows[(rows["learner"] == META) & rows["chosen"]]
    for k in own["step"].unique():
        axis.axvline(k, color=_COLOURS[META], linewidth=0.8, alpha=0.5, linestyle=":")
