"""What stands in front of an estimator: skrub's TableVectorizer, imputation, scaling.

None of it has a hyperparameter that is searched, so it can be fitted once for many
configurations.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Preprocessing = Literal["scaled", "ordinal", "imputed", "native"]


def preprocessor(kind: Preprocessing, random_state: int | None = 0) -> Any:
    """Build the preprocessing of a kind of estimator.

    Parameters
    ----------
    kind : {"scaled", "ordinal", "imputed", "native"}
        "scaled" for learners that measure distances or shrink weights: categories one-hot,
        missing values imputed, every column standardised. "ordinal" for trees and forests:
        categories as integer codes, missing values left in place. "imputed" for trees under a
        meta-estimator that refuses missing values. "native" for learners that take pandas
        categories themselves.
    random_state : int or None, default=0
        Of the singular value decomposition that turns text into numbers.

    Returns
    -------
    sklearn transformer
        skrub's ``TableVectorizer`` turns strings, dates and high-cardinality text into numbers
        in each kind, and drops columns without a single value.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        OneHotEncoder,
        OrdinalEncoder,
        StandardScaler,
    )
    from skrub import StringEncoder, TableVectorizer, ToCategorical

    text = StringEncoder(random_state=random_state)
    if kind == "scaled":
        # no column of a binary category is dropped: then an unknown one would look like it
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype="float32")
        table = TableVectorizer(low_cardinality=one_hot, high_cardinality=text)
        return make_pipeline(table, SimpleImputer(), StandardScaler())
    if kind == "native":
        return TableVectorizer(low_cardinality=ToCategorical(), high_cardinality=text)
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    table = TableVectorizer(low_cardinality=codes, high_cardinality=text)
    if kind == "imputed":
        return make_pipeline(table, SimpleImputer())
    # as an array: XGBoost and LightGBM refuse columns named "income [USD]"
    as_array = FunctionTransformer(
        np.asarray, kw_args={"dtype": "float32"}, feature_names_out="one-to-one"
    )
    return make_pipeline(table, as_array)
