"""The figures of the page: plotly, readable on light and on dark paper.

Colours of text and grids are left to the page's style sheet; those of the data are of a lightness
that stands out on both.
"""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metahpo.report.comparison import Comparison
from metahpo.report.result import TuningResult

if TYPE_CHECKING:
    import plotly.graph_objects as go

ACCENT, QUIET, WARM = "#4f7cf0", "#8b93a1", "#e08a3c"
_BASELINES = ("#3aa38a", "#b86fc6", "#c9a227")
_JUNK = 1.5  # scores this many (best - median) below the median are left out of the picture


def history(result: TuningResult) -> go.Figure:
    """Draw the scores in the order of the trials, the best so far, and what it is held against."""
    import plotly.graph_objects as go

    scored = [trial for trial in result.trials if not trial.failed]
    steps = [number for number, t in enumerate(result.trials, start=1) if not t.failed]
    scores = [trial.score for trial in scored]
    so_far = list(itertools.accumulate(scores, max))
    figure = go.Figure()
    figure.add_scatter(
        x=steps,
        y=scores,
        mode="markers",
        name="trial",
        marker={"color": QUIET, "size": 7, "opacity": 0.75},
        customdata=[_words(trial.config) for trial in scored],
        hovertemplate="trial %{x}: %{y:.5f}<br>%{customdata}<extra></extra>",
    )
    curves: list[tuple[str, Sequence[float], str]] = [("best so far", so_far, ACCENT)]
    curves += [(n, s, c) for (n, s), c in zip(result.baselines.items(), _BASELINES, strict=False)]
    for name, values, colour in curves:
        figure.add_scatter(
            x=steps if name == "best so far" else list(range(1, len(values) + 1)),
            y=list(values),
            mode="lines",
            name=name,
            line={"color": colour, "width": 2.5, "shape": "hv"},
            hovertemplate=f"{name}: %{{y:.5f}}<extra></extra>",
        )
    if not math.isnan(result.default_score):
        figure.add_hline(
            y=result.default_score,
            line={"color": WARM, "dash": "dash", "width": 1.5},
            annotation={"text": "library default", "font": {"color": WARM, "size": 13}},
            annotation_position="bottom right",
        )
    figure.update_xaxes(title="trial", rangemode="tozero", dtick=_tick(len(result.trials)))
    figure.update_yaxes(title=result.metric, range=shown_range(result))
    return _styled(figure, height=380)


def shown_range(result: TuningResult) -> tuple[float, float]:
    """Return the range of scores in the picture, in which junk does not flatten the rest."""
    scores = [trial.score for trial in result.trials if not trial.failed]
    best, middle = max(scores), statistics.median(scores)
    shown = [score for score in scores if score >= middle - _JUNK * (best - middle)]
    shown += [] if math.isnan(result.default_score) else [result.default_score]
    shown += [curve[0] for curve in result.baselines.values()]
    low, high = min(shown), max(shown)
    margin = 0.08 * (high - low) or 0.01
    return low - margin, high + margin


def importances(comparison: Comparison) -> go.Figure:
    """Draw Optuna's importances of the parameters."""
    from optuna.visualization import plot_param_importances

    figure = plot_param_importances(comparison.study, params=list(comparison.names))
    figure.update_layout(title=None, showlegend=False)
    figure.update_traces(marker={"color": ACCENT, "line": {"width": 0}})
    return _styled(figure, height=80 + 44 * len(comparison.names))


def coordinates(comparison: Comparison, metric: str) -> go.Figure:
    """Draw Optuna's parallel coordinates of the trials."""
    from optuna.visualization import plot_parallel_coordinate

    figure = plot_parallel_coordinate(
        comparison.study, params=list(comparison.names), target_name=metric
    )
    figure.update_layout(title=None)
    _recolour(figure)
    return _styled(figure, height=420, margin={"l": 70, "r": 40, "t": 40, "b": 50})


def _recolour(figure: go.Figure) -> None:
    """Replace Optuna's blues, the best of which is too dark for dark paper."""
    from plotly.colors import sample_colorscale

    scale = [[0, QUIET], [1, ACCENT]]
    # Optuna 4 draws one parcoords trace, Optuna 5 a line a trial, from its score in [0, 1] on
    figure.update_traces(
        line={"colorscale": scale, "reversescale": False}, selector={"type": "parcoords"}
    )
    figure.update_traces(
        marker={"colorscale": scale, "reversescale": False}, selector={"mode": "markers"}
    )
    for trace in figure.select_traces(selector={"mode": "lines"}):
        share = float(trace.y[0])
        trace.line.color = sample_colorscale(scale, [share])[0]
        trace.opacity = 0.35 + 0.6 * share


# ---------------------------------------------------------------------- looks


def _styled(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    margin = {"l": 64, "r": 24, "t": 24, "b": 56}
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.08, "x": 0},
        **{"height": height, "margin": margin, **layout},
    )
    return figure


def _tick(n: int) -> int:
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n / step <= 15)


def _words(config: dict[str, Any]) -> str:
    return "<br>".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in config.items()
    )


def as_html(figure: go.Figure) -> str:
    """Return a figure as a piece of a page that has loaded plotly already."""
    import plotly.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        html: str = plotly.io.to_html(
            figure,
            full_html=False,
            include_plotlyjs=False,
            config={"displayModeBar": False, "responsive": True},
        )
    return html
