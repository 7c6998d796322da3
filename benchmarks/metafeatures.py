"""What describing a table costs, beside pymfe's cheap groups.

    python benchmarks/metafeatures.py

prints processor and wall-clock seconds of `metahpo.describe` at 10,000 × 50 and 50,000 × 100, for
numbers and for numbers mixed with text, and of pymfe (general, statistical, info-theory and
landmarking groups, its defaults) at 10,000 × 50.
"""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

import metahpo

SIZES = ((10_000, 50), (50_000, 100))
REPEATS = 3
PYMFE_GROUPS = ("general", "statistical", "info-theory", "landmarking")


def make_table(n_rows: int, n_columns: int, kind: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table of three classes; every second column of a mixed one is text."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n_rows)
    X = pd.DataFrame(rng.normal(size=(n_rows, n_columns)) + 0.1 * y[:, None])
    if kind == "mixed":
        for column in range(0, n_columns, 2):
            X[column] = rng.choice(["red", "green", "blue", "black"], n_rows)
    return X, y


def cost(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the least processor and wall-clock seconds over some repeats."""
    costs = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        costs.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(costs)


def pymfe_group(X: pd.DataFrame, y: np.ndarray, group: str) -> Callable[[], object]:
    """Return pymfe's extraction of one group, fitting included."""
    from pymfe.mfe import MFE

    categorical = [i for i, name in enumerate(X) if not pd.api.types.is_numeric_dtype(X[name])]
    values = X.to_numpy(dtype=object if categorical else float)

    def extract() -> object:
        mfe = MFE(groups=[group], summary=["mean", "sd", "min", "max"])
        mfe.fit(values, y, cat_cols=categorical or None, transform_cat=None)
        return mfe.extract(suppress_warnings=True)

    return extract


def report(who: str, table: str, seconds: tuple[float, float]) -> None:
    """Print one line."""
    print(f"{who:<30}{table:<24}{seconds[0]:>8.2f}{seconds[1]:>8.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':<30}{'table':<24}{'CPU s':>8}{'wall s':>8}")
    metahpo.describe(*make_table(100, 5, "mixed"))  # imports are not what is measured
    for n_rows, n_columns in SIZES:
        for kind in ("numeric", "mixed"):
            X, y = make_table(n_rows, n_columns, kind)
            table = f"{n_rows:,} × {n_columns} {kind}"
            report(
                "metahpo.describe, all",
                table,
                cost(lambda X=X, y=y: metahpo.describe(X, y), REPEATS),
            )
    n_rows, n_columns = SIZES[0]
    for kind in ("numeric", "mixed"):
        X, y = make_table(n_rows, n_columns, kind)
        total = np.zeros(2)
        for group in PYMFE_GROUPS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pymfe reports means it cannot take
                seconds = cost(pymfe_group(X, y, group), 1)
            total += seconds
            report(f"pymfe, {group}", f"{n_rows:,} × {n_columns} {kind}", seconds)
        report("pymfe, these groups", f"{n_rows:,} × {n_columns} {kind}", tuple(total))


if __name__ == "__main__":
    main()
