"""The page: one HTML file without outside references, which a person wants to look at."""

from __future__ import annotations

import math
import platform
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from metahpo.page import write_html
from metahpo.report.comparison import comparison
from metahpo.report.figures import as_html, coordinates, history, importances, shown_range
from metahpo.report.files import as_params
from metahpo.report.result import Tried, TuningResult

_CLASSES = 8  # classes that the page names
_COLUMN_KINDS = {"number": "numeric", "category": "categorical", "text": "text", "date": "date"}


def write_page(result: TuningResult, path: Path) -> None:
    """Write the page of a tuning result.

    Parameters
    ----------
    result : TuningResult
    path : Path
        The HTML file; about 5 MB, nearly all of it plotly's own code.

    Raises
    ------
    OSError
        Naming the file, if it cannot be written.
    """
    write_html(path, "report", _context(result))


def _context(result: TuningResult) -> dict[str, Any]:
    from plotly.offline import get_plotlyjs

    compared = comparison(result)
    lowest = shown_range(result)[0]
    return {
        "result": result,
        "best": result.best,
        "best_learner": as_params(result.learner, result.best.config)[0],
        "default_learner": as_params(result.learner, result.learner.space.default)[0],
        "seconds": sum(t.seconds for t in result.trials if not math.isnan(t.seconds)),
        "n_failed": sum(trial.failed for trial in result.trials),
        "n_below": sum(trial.score < lowest for trial in result.trials),
        "rows": [_row(result, trial) for trial in result.trials],
        "columns": _columns(result),
        "missing": float(result.table.X.isna().to_numpy().mean()),
        "target": _target(result),
        "tasks": result.explanation.tasks.to_dict("records"),
        "compared": compared,
        "history": as_html(history(result)),
        "importances": as_html(importances(compared)) if compared else "",
        "coordinates": as_html(coordinates(compared, result.metric)) if compared else "",
        "plotlyjs": get_plotlyjs(),
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in ("metahpo", "scikit-learn", "optuna", "skrub")},
        },
    }


def _row(result: TuningResult, trial: Tried) -> dict[str, Any]:
    learner, params = as_params(result.learner, trial.config)
    return {"trial": trial, "learner": learner, "params": params, "best": trial is result.best}


def _columns(result: TuningResult) -> list[tuple[str, int]]:
    kinds = list(result.table.kinds.values())
    return [(word, kinds.count(kind)) for kind, word in _COLUMN_KINDS.items() if kind in kinds]


def _target(result: TuningResult) -> dict[str, Any]:
    """Summarise the target: the shares of its classes, or its quantiles."""
    y = result.table.y
    if result.table.task == "regression":
        quantiles = y.astype(float).quantile([0, 0.25, 0.5, 0.75, 1])
        return {"quantiles": quantiles.tolist()}
    shares = y.astype(str).value_counts(normalize=True)
    return {"shares": list(shares.head(_CLASSES).items()), "n_classes": len(shares)}
