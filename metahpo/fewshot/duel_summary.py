"""What a duel came to: tables, and a picture on one axis of compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metahpo.fewshot.duel import COLD, GRADIENT, WARM
from metahpo.fewshot.summary import made_by, section
from metahpo.files import replace_file

_TITLES = {
    WARM: "metahpo, from earlier families",
    COLD: "Optuna TPE, from the default",
    GRADIENT: "rates and steps by gradient, one run",
}
_COLOURS = {WARM: "#d55e00", COLD: "#0072b2", GRADIENT: "#009e73"}
_SHOWN = (1, 2, 4, 8, 16, 32)
_TICKS = (1, 2, 3, 5, 7)  # of each power of ten
_WIDTH, _HEIGHT = 3.2, 2.9  # inches a panel


def to_markdown(title: str, rows: pd.DataFrame, passes: int, session: Mapping[str, Any]) -> str:
    """Write the page of a duel.

    Parameters
    ----------
    title : str
    rows : DataFrame
        From :func:`~metahpo.fewshot.duel.duel`.
    passes : int
        Of one trial.
    session : mapping
        Command, versions and machine.
    """
    seeds = rows["seed"].nunique()
    intro = (
        f"Query loss on meta-test tasks of what each method would hand over after n trials of "
        f"{passes:,} passes, mean ± standard deviation over {seeds} seeds; lower is better. A run "
        "by gradient had at most the passes of n trials at once. No family here was among those "
        "that were learned from."
    )
    parts = [
        f"# {title}",
        intro,
        section("By family", _by_family(rows)),
        section("Warm against cold, over all families and seeds", _against(rows, COLD)),
        section("Warm study against rates and steps by gradient", _against(rows, GRADIENT)),
        section("CPU seconds of meta-training", _seconds(rows)),
        made_by(session),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def draw_duel(rows: pd.DataFrame, path: Path) -> None:
    """Draw one panel a family, loss against CPU seconds, to a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    families = list(rows["family"].unique())
    across = min(3, len(families))
    down = -(-len(families) // across)
    figure = Figure(figsize=(_WIDTH * across, _HEIGHT * down + 0.3), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, family in zip(axes, families, strict=False):
        for method, part in rows[rows["family"] == family].groupby("method", sort=False):
            by_trial = part.groupby("trial")
            seconds, loss = by_trial["seconds"].mean(), by_trial["best_test"]
            colour = _COLOURS[str(method)]
            mark = "o" if method == GRADIENT else None
            label = _TITLES[str(method)]
            axis.plot(seconds, loss.mean(), color=colour, label=label, marker=mark, markersize=3)
            axis.fill_between(seconds, loss.min(), loss.max(), color=colour, alpha=0.15, lw=0)
        axis.set_title(family.replace("_", " "), fontsize=9)
        axis.set(xscale="log", yscale="log")
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_locator(LogLocator(subs=_TICKS))
            scale.set_major_formatter(StrMethodFormatter("{x:g}"))
            scale.set_minor_formatter(NullFormatter())
        axis.set_xlabel("CPU seconds of meta-training", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(families) :]:
        axis.set_axis_off()
    for axis in axes[::across]:
        axis.set_ylabel("query loss, meta-test", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _trials(rows: pd.DataFrame) -> list[int]:
    return [n for n in _SHOWN if n <= rows["trial"].max()]


def _by_family(rows: pd.DataFrame) -> list[list[str]]:
    trials = _trials(rows)
    lines = [["family", "method", *(f"@{n}" for n in trials)]]
    for (family, method), part in rows.groupby(["family", "method"], sort=False):
        spread = part.groupby("trial")["best_test"].agg(["mean", "std"])
        cells = [f"{spread['mean'][n]:#.3g} ±{spread['std'][n]:#.2g}" for n in trials]
        lines.append([str(family), _TITLES[str(method)], *cells])
    return lines


def _against(rows: pd.DataFrame, other: str) -> list[list[str]]:
    """Compare the warm study with another method: paired by family and seed."""
    trials = _trials(rows)
    index = ["family", "seed", "trial"]
    losses = rows.pivot_table(index=index, columns="method", values="best_test", sort=False)
    logs = pd.DataFrame(np.log(losses))
    gap = (logs[WARM] - logs[other]).groupby(["family", "trial"], sort=False).mean()
    means = [gap.xs(n, level="trial") for n in trials]
    return [
        ["", *(f"@{n}" for n in trials)],
        ["loss, warm / other (geometric mean)", *(f"{np.exp(mean.mean()):.2f}" for mean in means)],
        [
            "families where warm is ahead",
            *(f"{(mean < 0).sum()} of {len(mean)}" for mean in means),
        ],
    ]


def _seconds(rows: pd.DataFrame) -> list[list[str]]:
    trials = _trials(rows)
    spent = rows.groupby(["method", "trial"], sort=False)["seconds"].mean()
    lines = [["method", *(f"@{n}" for n in trials)]]
    for method in rows["method"].unique():
        lines.append([_TITLES[method], *(f"{spent[method, n]:.1f}" for n in trials)])
    return lines
