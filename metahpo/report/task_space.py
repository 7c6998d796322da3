"""The space of tasks as a picture: tasks that the same configurations suit lie together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metahpo.metamodel import MetaModel
from metahpo.report.figures import ACCENT, QUIET

if TYPE_CHECKING:
    import plotly.graph_objects as go


def task_space(
    model: MetaModel, new: NDArray[np.float64] | None = None, name: str = ""
) -> go.Figure:
    """Draw the first two dimensions of a model's task embeddings.

    Parameters
    ----------
    model : MetaModel
    new : ndarray, shape (n_dimensions,), optional
        A new task's place, from :meth:`metahpo.MetaModel.embed`.
    name : str
        What the new task is called.
    """
    import plotly.graph_objects as go

    points, names = model.embeddings, model.card.get("tasks", {})
    spread = points.var().to_numpy()
    share = spread / max(spread.sum(), 1e-12)
    figure = go.Figure()
    figure.add_scatter(
        x=points[0],
        y=points[1],
        mode="markers+text",
        text=[names.get(task_id, task_id) for task_id in model.task_ids],
        textposition="top center",
        textfont={"size": 10, "color": QUIET},
        marker={"size": 9, "color": QUIET},
        hovertemplate="%{text}<extra></extra>",
        name="known tasks",
    )
    if new is not None:
        figure.add_scatter(
            x=new[:1],
            y=new[1:2],
            mode="markers+text",
            text=[name],
            textposition="bottom center",
            textfont={"size": 13, "color": ACCENT},
            marker={"size": 16, "color": ACCENT, "symbol": "star"},
            hovertemplate="%{text}<extra></extra>",
            name="this table",
        )
    figure.update_layout(
        template="plotly_white",
        title="Tasks that the same configurations suit lie together",
        showlegend=False,
        xaxis_title=f"first component, {share[0]:.0%} of the spread",
        yaxis_title=f"second component, {share[1]:.0%}",
    )
    return figure
