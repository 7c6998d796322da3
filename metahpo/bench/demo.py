"""The demo: real datasets that no training saw, tuned warm and cold at the same budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from metahpo.bench.curves import draw_curves
from metahpo.bench.race import Contest, Entry, race
from metahpo.bench.summary import Standing, summarize, to_markdown

METHODS = ("metahpo", "tpe_default", "gp_default")
N_TRIALS = 20
SEEDS = 3
AT = (1, 5, 10, 20)


def breast_cancer() -> tuple[Any, Any]:
    """Wisconsin diagnostic breast cancer: 569 × 30, 2 classes."""
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True, as_frame=True)  # type: ignore[no-any-return]


def wine() -> tuple[Any, Any]:
    """UCI wine cultivars: 178 × 13, 3 classes."""
    from sklearn.datasets import load_wine

    return load_wine(return_X_y=True, as_frame=True)  # type: ignore[no-any-return]


def digits() -> tuple[Any, Any]:
    """UCI handwritten digits, test part: 1,797 × 64, 10 classes."""
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True, as_frame=True)  # type: ignore[no-any-return]


def diabetes() -> tuple[Any, Any]:
    """Diabetes progression (Efron et al. 2004): 442 × 10, regression."""
    from sklearn.datasets import load_diabetes

    return load_diabetes(return_X_y=True, as_frame=True)  # type: ignore[no-any-return]


CONTESTS = (
    Contest("breast_cancer", "hist_gradient_boosting", breast_cancer, "accuracy", n_folds=3),
    Contest("wine", "mlp", wine, "accuracy", n_folds=3),
    Contest("digits", "svc", digits, "accuracy", n_folds=3),
    Contest("diabetes", "hist_gradient_boosting_regressor", diabetes, "r2", n_folds=3),
)


def run_demo(
    out: Path, *, n_jobs: int = 2, finished: Callable[[Entry], None] = lambda entry: None
) -> list[Standing]:
    """Run the demo and write ``runs.csv``, ``summary.md`` and ``curves.png``.

    Parameters
    ----------
    out : Path
        The folder to write.
    n_jobs : int, default=2
        Processes.
    finished : callable, optional
        Called with every entry that is through.

    Returns
    -------
    list of Standing
        How every method stands on every dataset.
    """
    out.mkdir(parents=True, exist_ok=True)
    runs = race(
        CONTESTS, METHODS, seeds=SEEDS, n_trials=N_TRIALS, n_jobs=n_jobs, finished=finished
    )
    standings = summarize(runs)
    runs.to_csv(out / "runs.csv", index=False)
    (out / "summary.md").write_text(to_markdown(standings, AT) + "\n")
    draw_curves(runs, out / "curves.png")
    return standings
