"""What the pictures share: colours, ink, and the two files each is saved to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metahpo.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID = "#1c2128", "#626b78", "#e4e6ea"

_METAHPO = "#d55e00"
# the rest of Okabe and Ito's palette, which colour-blind readers can tell apart, and two more
_OTHERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6fc9", "#6b4c3b", "#8a8a8a")
_LINES = ("-", "--", ":", "-.")


def looks(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Give every method a colour and a kind of line; metahpo's own colour is reserved."""
    found = {}
    others = [method for method in methods if method != "metahpo"]
    for i, method in enumerate(others):
        found[method] = _OTHERS[i % len(_OTHERS)], _LINES[i // len(_OTHERS) % len(_LINES)]
    return {"metahpo": (_METAHPO, "-"), **found}


def quiet_axis(axis: Axes) -> None:
    """Leave of an axis' frame and marks what carries the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(SOFT)
    axis.tick_params(which="both", labelsize=8, colors=SOFT, labelcolor=INK)
    axis.xaxis.label.set(size=8.5, color=INK)
    axis.yaxis.label.set(size=8.5, color=INK)
    axis.title.set(size=9.5, color=INK)
    axis.grid(color=GRID, lw=0.6)
    axis.set_axisbelow(True)


def legend_below(figure: Figure, axis: Axes) -> None:
    """Name the methods once, under all panels."""
    handles, labels = axis.get_legend_handles_labels()
    width = figure.get_size_inches()[0]
    columns = max(1, min(len(labels), int(width / 1.5)))
    legend = figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
    )
    for text in legend.get_texts():
        text.set_color(INK)


def save_picture(figure: Figure, stem: Path) -> None:
    """Write a figure as PNG and as SVG, the same bytes each time.

    Parameters
    ----------
    figure : matplotlib figure
    stem : Path
        The files' name without its ending.

    Raises
    ------
    OSError
        Naming the file that cannot be written.
    """
    import matplotlib

    with replace_file(stem.with_name(f"{stem.name}.png")) as temporary:
        figure.savefig(temporary, format="png", dpi=150, facecolor="white")
    figure.set_layout_engine("none")  # the layout stands; finding it takes longer than drawing
    with (
        matplotlib.rc_context({"svg.hashsalt": stem.name}),
        replace_file(stem.with_name(f"{stem.name}.svg")) as temporary,
    ):
        figure.savefig(temporary, format="svg", transparent=True, metadata={"Date": None})
