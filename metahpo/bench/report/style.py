"""What the pictures share: colours, ink, and the two files each is saved to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metahpo.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID = "#1c2128", "#626b78", "#e4e6ea"

_METAHPO = "#d55e00"
# the rest of Okabe and Ito's palette, which colour-blind readers can tell apart, and two more
_OTHERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6fc9", "#6b4c3b", "#8a8a8a")
_KINDS = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))  # for more methods than colours


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str
    line: str
    marker: str


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Give every method a look of its own; metahpo's colour is reserved."""
    others = [method for method in methods if method != "metahpo"]
    found = {"metahpo": Look(_METAHPO, *_KINDS[0])}
    for i, method in enumerate(others):
        round_, place = divmod(i, len(_OTHERS))
        found[method] = Look(_OTHERS[place], *_KINDS[round_ % len(_KINDS)])
    return found


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
