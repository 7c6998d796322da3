"""``cv_results_``: the trials as scikit-learn's searches lay them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from metahpo.search.folds import ErrorScore, Fold, metrics_of

Array = NDArray[np.float64]


def cv_results(
    params: Sequence[Mapping[str, Any]],
    folds: Sequence[Sequence[Fold]],
    *,
    error_score: ErrorScore,
    return_train_score: bool,
) -> dict[str, Any]:
    """Lay out the scores of several parameter settings.

    Parameters
    ----------
    params : sequence of dict
        What each trial set.
    folds : sequence of sequence of dict
        What came out of each trial's folds.
    error_score : float or "raise"
        The score of a fold that failed.
    return_train_score : bool
        Whether to include the training scores.

    Returns
    -------
    dict
        ``mean_``, ``std_`` and ``split<i>_`` of every score, ``rank_test_<metric>`` from 1 (best),
        times in seconds, ``param_<name>`` as masked arrays, and ``params``.
    """
    fill = np.nan if error_score == "raise" else float(error_score)
    results: dict[str, Any] = {}
    for time in ("fit_time", "score_time"):
        results |= _statistics(time, _column(time, folds, fill))
    for name in dict.fromkeys(name for setting in params for name in setting):
        results[f"param_{name}"] = _masked([setting.get(name, np.ma.masked) for setting in params])
    results["params"] = [dict(setting) for setting in params]
    metrics = metrics_of([fold for trial in folds for fold in trial])
    for metric in metrics:
        for part in ("test", "train") if return_train_score else ("test",):
            name = f"{part}_{metric}"
            scores = _column(name, folds, fill)
            results |= {f"split{i}_{name}": column for i, column in enumerate(scores.T)}
            results |= _statistics(name, scores)
            if part == "test":
                results[f"rank_{name}"] = _ranks(results[f"mean_{name}"])
    return results


def _column(name: str, folds: Sequence[Sequence[Fold]], fill: float) -> Array:
    return np.array([[fold.get(name, fill) for fold in trial] for trial in folds], dtype=float)


def _statistics(name: str, values: Array) -> dict[str, Array]:
    return {f"mean_{name}": values.mean(axis=1), f"std_{name}": values.std(axis=1)}


def _ranks(means: Array) -> NDArray[np.int32]:
    if np.isnan(means).all():
        return np.ones(len(means), dtype=np.int32)
    filled = np.where(np.isnan(means), np.nanmin(means) - 1, means)
    return rankdata(-filled, method="min").astype(np.int32)


def _masked(values: Sequence[Any]) -> Any:
    """Make a column of values; numbers keep their type, anything else is an object."""
    present = [value for value in values if value is not np.ma.masked]
    numbers = all(isinstance(value, bool | int | float | np.number) for value in present)
    column = np.ma.array(
        np.empty(len(values), dtype=np.array(present).dtype if numbers else object), mask=True
    )
    for i, value in enumerate(values):
        if value is not np.ma.masked:
            column[i] = value
    return column
