"""describe against pymfe, the reference implementation of these definitions."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real_data import Data, bundled, openml_table

from metahpo.metafeatures import FEATURE_NAMES, describe

with warnings.catch_warnings():
    # pymfe imports libraries that warn on import about their own future; not ours to mend.
    warnings.simplefilter("ignore")
    from pymfe.mfe import MFE

# Without missing values, which pymfe refuses.
OPENML = {
    "cmc": 23,
    "splice": 46,
    "tic-tac-toe": 50,
    "vowel": 307,
    "prnn_crabs": 446,
    "tae": 48,
    "thoracic-surgery": 1506,
    "car": 40975,
    "mfeat-karhunen": 16,
    "pc4": 1049,
    "attrition": 900003,
    "monks-problems-1": 333,
}
BUNDLED = ("iris", "wine", "breast_cancer", "digits")
SYNTHETIC = ("mixed", "imbalanced")


def synthetic(name: str) -> Data:
    rng = np.random.default_rng(0)
    n_rows = 731
    labels = rng.choice(["a", "b", "c"], n_rows, p=[0.9, 0.08, 0.02])
    X = pd.DataFrame({"x": rng.normal(size=n_rows), "skewed": rng.lognormal(size=n_rows)})
    X["related"] = X["x"] + 0.3 * rng.normal(size=n_rows) + (labels == "a")
    if name == "mixed":
        X["colour"] = rng.choice(["red", "green", "blue"], n_rows)
        X["count"] = rng.integers(0, 9, n_rows)
        X["city"] = [f"city {i}" for i in rng.integers(0, 70, n_rows)]
        labels = rng.choice(["a", "b"], n_rows)
    return X, pd.Series(labels)


def reference(X: pd.DataFrame, y: pd.Series) -> dict[str, float]:
    """Return what pymfe defines on this table, leaving out what it finds undefined."""
    categorical = [i for i, name in enumerate(X) if not pd.api.types.is_numeric_dtype(X[name])]
    values = X.to_numpy(dtype=object if categorical else float)
    with warnings.catch_warnings():
        # Means of negative numbers, constant columns: pymfe and scipy say so, the value is NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        mfe = MFE(
            groups=["general", "statistical", "info-theory"],
            features=sorted({name.split(".")[0] for name in FEATURE_NAMES} & set(PYMFE)),
            summary=["mean", "sd", "min", "max"],
        )
        # Numeric features see numeric columns only; categories and binned numbers the rest.
        mfe.fit(values, pd.factorize(y)[0], cat_cols=categorical or None, transform_cat=None)
        found = dict(zip(*mfe.extract(suppress_warnings=True), strict=True))
    return {name: value for name, value in found.items() if np.isfinite(value)}


PYMFE = MFE.valid_metafeatures(groups=["general", "statistical", "info-theory"])


def compared(X: pd.DataFrame, y: pd.Series) -> set[str]:
    """Assert equality to 1e-6 where both define a feature; return the names."""
    ours, theirs = describe(X, y, "classification"), reference(X, y)
    if any(X[name].nunique() == 1 for name in X):
        # pymfe gives a constant column a concentration of 0/0, which its ε makes 0.5.
        theirs = {k: v for k, v in theirs.items() if not k.startswith("class_conc")}
    names = set(theirs) & set(FEATURE_NAMES)
    for name in sorted(names):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-6, abs=1e-6), name
    return names


@pytest.mark.parametrize("name", [*BUNDLED, *SYNTHETIC])
def test_equals_pymfe(name: str) -> None:
    X, y = bundled(name) if name in BUNDLED else synthetic(name)
    assert len(compared(X, y)) >= 29


@pytest.mark.parametrize("name", OPENML)
def test_equals_pymfe_on_openml(name: str, shared: Path) -> None:
    assert len(compared(*openml_table(shared, OPENML[name]))) >= 29


def test_twenty_features_equal_on_ten_datasets(shared: Path) -> None:
    """The same twenty and more features, on the same ten tables and more."""
    small = ("cmc", "vowel", "prnn_crabs", "tae", "thoracic-surgery", "car", "monks-problems-1")
    tables = [bundled("iris"), bundled("wine"), *map(synthetic, SYNTHETIC)]
    tables += [openml_table(shared, OPENML[name]) for name in small]
    counts = Counter(name for table in tables for name in compared(*table))
    everywhere = [name for name, count in counts.items() if count == len(tables)]
    assert len(tables) >= 10
    assert len(everywhere) >= 20
