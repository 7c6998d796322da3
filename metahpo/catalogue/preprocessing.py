"""What stands in front of an estimator: skrub's TableVectorizer, imputation, scaling.

None of it has a hyperparameter that is searched, so it can be fitted once for many
configurations.
"""

from __future__ import annotations

from typing import Any, Literal

Preprocessing = Literal["scaled", "ordinal", "imputed", "native"]


def preprocessor(kind: Preprocessing) -> Any:
    """Build the preprocessing of a kind of estimator.

    Parameters
    ----------
    kind : {"scaled", "ordinal", "imputed", "native"}
        "scaled" for learners that measure distances or shrink weights: categories one-hot,
        missing values imputed, every column standardised. "ordinal" for trees and forests:
        categories as integer codes, missing values left in place. "imputed" for trees under a
        meta-estimator that refuses missing values. "native" for learners that take pandas
        categories themselves.

    Returns
    -------
    sklearn transformer
        skrub's ``TableVectorizer`` turns strings, dates and high-cardinality text into numbers
        in each kind, and drops columns without a single value.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler
    from skrub import TableVectorizer, ToCategorical

    if kind == "scaled":
        return make_pipeline(TableVectorizer(), SimpleImputer(), StandardScaler())
    if kind == "native":
        return TableVectorizer(low_cardinality=ToCategorical())
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    table = TableVectorizer(low_cardinality=codes)
    return make_pipeline(table, SimpleImputer()) if kind == "imputed" else table
