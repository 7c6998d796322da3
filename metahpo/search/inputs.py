"""Reading what scikit-learn takes as a table: arrays, data frames of any library, lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse


def as_table(X: Any) -> Any:
    """Return a table as a pandas DataFrame, a numpy array or a sparse matrix.

    Parameters
    ----------
    X : table
        Data frames of other libraries are converted by their ``to_pandas``, lists by pandas.
    """
    if isinstance(X, np.ndarray | pd.DataFrame | pd.Series) or sparse.issparse(X):
        return X
    if hasattr(X, "to_pandas"):
        return X.to_pandas()
    return np.asarray(X) if hasattr(X, "__array__") else pd.DataFrame(X)
