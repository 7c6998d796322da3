"""Real tables for tests: scikit-learn's own, and those of the local OpenML cache."""

from pathlib import Path

import pandas as pd
from sklearn import datasets

Data = tuple[pd.DataFrame, pd.Series]


def bundled(name: str) -> Data:
    return getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=True)


def openml_table(shared: Path, did: int) -> Data:
    cache = shared / "data" / "openml-cache"
    target = pd.read_csv(cache / "index.csv", index_col="openml_did").loc[did, "target"]
    path = cache / "org" / "openml" / "www" / "datasets" / str(did) / f"dataset_{did}.pq"
    frame = pd.read_parquet(path)
    return frame.drop(columns=target), frame[target]
