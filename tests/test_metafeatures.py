"""describe: the contract, what it must not depend on, and tables that are odd or wrong."""

import datetime
import decimal
import pickle
import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.datasets import load_diabetes, load_iris, load_wine, make_classification

import metahpo
from metahpo.metafeatures import FEATURE_NAMES, VERSION, describe, infer_task

N_ROWS = 60
LABELS = np.array(["a", "b"] * (N_ROWS // 2))
NUMBERS = np.random.default_rng(0).normal(size=(N_ROWS, 3))


def assert_same(first: Mapping[str, float], second: Mapping[str, float]) -> None:
    assert list(first) == list(second)
    for name in first:
        assert first[name] == pytest.approx(second[name], rel=1e-9, abs=1e-9, nan_ok=True), name


def mixed_table(n_rows: int, n_columns: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, n_columns))).rename(columns=str)
    for position in range(0, n_columns, 2):
        frame[str(position)] = rng.choice(["red", "green", "blue", None], n_rows)
    return frame


# The contract


def test_describe_is_a_read_only_mapping_of_floats() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    features = metahpo.describe(X, y)
    assert tuple(features) == FEATURE_NAMES
    assert all(type(value) is float for value in features.values())
    assert (features.task, features.version) == ("classification", VERSION)
    assert features.seconds > 0
    assert features["nr_inst"] == 150
    assert "lm_one_nn" in repr(features)
    with pytest.raises(TypeError):
        features["nr_inst"] = 1.0
    assert_same(features, pickle.loads(pickle.dumps(features)))


def test_both_tasks_have_the_same_names() -> None:
    regression = describe(*load_diabetes(return_X_y=True))
    assert tuple(regression) == FEATURE_NAMES
    assert regression.task == "regression"
    undefined = {"nr_class", "class_ent", "class_ent_share", "class_ratio"}
    assert {name for name in undefined if not np.isnan(regression[name])} == set()


def test_names_are_snake_case_and_as_many_as_promised() -> None:
    assert 50 <= len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) <= 90
    assert all(name.replace("_", "").replace(".", "").isalnum() for name in FEATURE_NAMES)
    assert all(name == name.lower() for name in FEATURE_NAMES)


# Values, against independent oracles


def test_simple_features_of_a_mixed_table() -> None:
    X = pd.DataFrame(
        {
            "age": [20, 30, np.nan, 50, 0, 20],
            "smoker": [True, False, True, True, False, True],
            "city": ["Rome", None, "Oslo", "Rome", "Bern", "Rome"],
            "constant": [7.0] * 6,
            "code": [1, 2, 1, 1, 2, 1],
        }
    )
    features = describe(X, ["u", "u", "u", "v", "v", "u"])
    expected = {
        "nr_attr": 5,
        "nr_num": 3,
        "nr_cat": 2,
        "nr_bin": 2,  # smoker and code
        "constant_share": 1 / 5,
        "missing_cell_share": 2 / 30,
        "missing_row_share": 2 / 6,
        "missing_col_share": 2 / 5,
        "zero_share": 1 / 18,
        "symbols.min": 2,
        "symbols.max": 3,
        "log_nr_onehot": np.log(3 + 2 + 3),
        "duplicate_row_share": 1 / 6,
        "freq_class.min": 1 / 3,
        "class_ratio": 1 / 2,
    }
    assert_same({name: features[name] for name in expected}, expected)


def test_numeric_target_is_described_as_scipy_does() -> None:
    X, y = load_diabetes(return_X_y=True)
    features = describe(X, y)
    shrink = 1 - 1 / len(y)
    assert features["target_skewness"] == pytest.approx(stats.skew(y) * shrink**1.5)
    expected = (stats.kurtosis(y) + 3) * shrink**2 - 3
    assert features["target_kurtosis"] == pytest.approx(expected)
    correlations = [abs(np.corrcoef(column, y)[0, 1]) for column in X.T]
    assert features["target_cor.max"] == pytest.approx(max(correlations))
    assert features["target_cor.mean"] == pytest.approx(np.mean(correlations))


def test_correlation_ratio_is_the_root_of_the_variance_between_classes() -> None:
    X, y = load_wine(return_X_y=True)
    between = [
        sum((y == label).mean() * (x[y == label].mean() - x.mean()) ** 2 for label in set(y))
        for x in X.T
    ]
    expected = np.sqrt(between / X.var(axis=0))
    assert describe(X, y)["target_cor.mean"] == pytest.approx(expected.mean())


def test_principal_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    X, y = load_wine(return_X_y=True)
    pca = PCA().fit((X - X.mean(axis=0)) / X.std(axis=0))
    shares = pca.explained_variance_ratio_
    features = describe(X, y)
    assert features["pca_1_share"] == pytest.approx(shares[0])
    assert features["pca_95_share"] == (np.searchsorted(np.cumsum(shares), 0.95) + 1) / 13


def test_landmarkers_tell_structures_apart() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(900, 2))
    line = describe(X, X[:, 0] > X[:, 1])
    threshold = describe(X, X[:, 0] > 0)
    board = describe(X, (X[:, 0] > 0) ^ (X[:, 1] > 0))
    noise = describe(X, rng.random(900) > 0.5)
    assert line["lm_linear"] > 0.9 > line["lm_stump"]
    assert threshold["lm_stump"] > 0.98
    assert board["lm_one_nn"] > 0.9
    assert abs(board["lm_linear"]) < 0.15
    assert all(
        abs(noise[name]) < 0.15 for name in noise if name.startswith("lm_") and "rows" not in name
    )


def test_landmarkers_of_regression_are_shares_of_variance() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(900, 3))
    line = describe(X, X @ [3.0, -2.0, 1.0])
    step = describe(X, np.where(X[:, 1] > 0, 5.5, -5.5), "regression")
    noise = describe(X, rng.normal(size=900))
    assert line["lm_linear"] > 0.99 > line["lm_one_nn"] > line["lm_stump"]
    assert step["lm_stump"] > 0.97
    assert abs(noise["lm_linear"]) < 0.1
    assert noise["lm_one_nn"] < -0.5


# What the values must not depend on


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, np.ndarray]:
    """Small tables with ties everywhere: few values, repeated rows, columns that look alike."""
    n_rows = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    columns = [
        draw(st.sampled_from(["coarse", "fine", "text", "flag", "constant", "missing"]))
        for _ in range(draw(st.integers(1, 6)))
    ]
    make = {
        "coarse": lambda: rng.integers(0, 3, n_rows).astype(float),
        "fine": lambda: rng.normal(size=n_rows),
        "text": lambda: rng.choice(["x", "y", "z", None], n_rows),
        "flag": lambda: rng.random(n_rows) > 0.5,
        "constant": lambda: np.ones(n_rows),
        "missing": lambda: np.where(rng.random(n_rows) > 0.5, np.nan, rng.integers(0, 2, n_rows)),
    }
    X = pd.DataFrame({f"c{i}": make[kind]() for i, kind in enumerate(columns)})
    target = rng.integers(0, draw(st.integers(1, 4)), n_rows)
    return X, target if draw(st.booleans()) else target + rng.normal(size=n_rows).round(1) + 0.05


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_layout_does_not_matter(data: tuple[pd.DataFrame, np.ndarray], random: object) -> None:
    X, y = data
    task = infer_task(y)
    rows = np.array(random.sample(range(len(X)), len(X)))
    columns = random.sample(list(X), X.shape[1])
    moved = X.iloc[rows][columns].rename(columns=lambda name: f"renamed {name}")
    target = y[rows]
    if task == "classification":
        names = {label: f"class {9 - label}" for label in range(4)}
        target = np.array([names[label] for label in target])
    assert_same(describe(X, y, task), describe(moved, target, task))


@pytest.mark.parametrize("design", ["factorial", "duplicated columns", "repeated rows", "capped"])
def test_layout_does_not_matter_where_rows_and_columns_look_alike(design: str) -> None:
    rng = np.random.default_rng(1)
    if design == "factorial":  # every column holds the same values; y depends on two of five
        X = np.array(np.meshgrid(*[[0.0, 1.0, 2.0]] * 5)).reshape(5, -1).T
        y = (X[:, 1] > X[:, 3]).astype(int)
    elif design == "duplicated columns":
        X = np.repeat(rng.normal(size=(80, 2)), 3, axis=1)
        y = (X[:, 0] > 0).astype(int)
    elif design == "repeated rows":
        X = np.repeat(rng.integers(0, 3, size=(12, 4)).astype(float), 200, axis=0)
        y = rng.integers(0, 2, len(X))
    else:
        X, y = make_classification(25_000, 60, n_classes=3, n_informative=6, random_state=0)
        X = X.round(1)
    rows, columns = rng.permutation(len(X)), rng.permutation(X.shape[1])
    renamed = np.array(["zebra", "ape", "cow"])[y]
    assert_same(describe(X, y), describe(X[rows][:, columns], renamed[rows]))


def test_scale_of_a_column_does_not_matter() -> None:
    X, y = load_wine(return_X_y=True)
    scaled = X * np.power(2.0, np.arange(13))  # exact in binary
    first, second = describe(X, y), describe(scaled, y)
    # Folds are dealt by content, which has changed; all else must be the same.
    same = [name for name in FEATURE_NAMES if not name.startswith("lm_")]
    assert_same(*({name: features[name] for name in same} for features in (first, second)))


def test_deterministic_given_the_seed_which_picks_the_rows() -> None:
    X, y = make_classification(5_000, 20, flip_y=0.2, random_state=0)
    assert_same(describe(X, y, seed=3), describe(X, y, seed=3))
    first, second = describe(X, y, seed=3), describe(X, y, seed=4)
    assert first["lm_linear"] != second["lm_linear"]
    assert first["lm_linear"] == pytest.approx(second["lm_linear"], abs=0.1)
    assert first["skewness.mean"] == pytest.approx(second["skewness.mean"])  # exact: no sample


def test_containers_do_not_matter() -> None:
    X = sparse.random(200, 30, density=0.2, random_state=0, format="csr")
    y = np.arange(200) % 3
    dense = describe(X.toarray(), y)
    for other in (X, X.tocoo(), pd.DataFrame(X.toarray()), X.toarray().astype(object)):
        assert_same(dense, describe(other, y))
    assert_same(dense, describe(pd.DataFrame.sparse.from_spmatrix(X), pd.Series(y, name="label")))
    assert_same(dense, describe(X.toarray().tolist(), y.tolist()))


def test_repeated_rows_do_not_crowd_the_sample() -> None:
    """Half of the rows are one row; a sample by content must take half of its rows from there."""
    rng = np.random.default_rng(0)
    X = np.vstack([np.zeros((40_000, 40)), 1 + rng.random((40_000, 40))])
    features = describe(X, rng.normal(size=80_000))
    assert features["sample_rows"] == 25_000
    # sparsity = (rows / distinct - 1) / (rows - 1): about one value in two is the repeated one.
    assert features["sparsity.mean"] * 24_999 + 1 == pytest.approx(2, abs=0.05)


def test_rare_classes_stay_in_the_sample() -> None:
    X = np.random.default_rng(0).normal(size=(30_000, 5))
    y = np.zeros(30_000, dtype=int)
    y[:3], y[3:6] = 1, 2
    X[:3] += 50
    X[3:6] -= 50
    features = describe(X, y)
    assert features["lm_rows"] == 1_000
    assert features["lm_one_nn"] == pytest.approx(1)


# Odd but legal tables


ODD: dict[str, tuple[object, object]] = {
    "one row": (np.ones((1, 2)), ["a"]),
    "one row, a number": (np.ones((1, 2)), [1.5]),
    "two rows": (np.ones((2, 2)), [1.5, 2.5]),
    "one class": (NUMBERS, ["a"] * N_ROWS),
    "each row a class": (NUMBERS, [f"c{row}" for row in range(N_ROWS)]),
    "constant columns": (np.ones((N_ROWS, 2)), LABELS),
    "constant target": (NUMBERS, np.full(N_ROWS, 0.1)),
    "nothing but missing": (np.full((N_ROWS, 2), np.nan), LABELS),
    "missing objects": (pd.DataFrame({"a": [None] * N_ROWS, "b": ["x"] * N_ROWS}), LABELS),
    "infinite values": (np.where(NUMBERS > 1, np.inf, NUMBERS), LABELS),
    "huge numbers": (NUMBERS * 1e300, NUMBERS[:, 0] * 1e307),
    "tiny numbers": (NUMBERS * 1e-310, NUMBERS[:, 0] * 1e-310),
    "varies in the last digit": (1e9 + NUMBERS * 1e-7, LABELS),
    "unhashable objects": (pd.DataFrame({"a": [1, "x", None, [1, 2], True, 2.5] * 10}), LABELS),
    "complex numbers": (NUMBERS + 1j, LABELS),
    "bytes": (np.array([[b"a", b"b"]] * N_ROWS), LABELS),
    "repeated column names": (pd.DataFrame(NUMBERS, columns=["a", "a", "b"]), LABELS),
    "repeated index": (pd.DataFrame(NUMBERS, index=[0] * N_ROWS), pd.Series(LABELS)),
    "target partly missing": (NUMBERS, [None, "a", "b"] * 20),
    "target of mixed types": (NUMBERS, [1, "a", True] * 20),
    "nullable target": (NUMBERS, pd.array([1, 2, None] * 20, dtype="Int64")),
    "sparse, target partly missing": (sparse.coo_array(NUMBERS), [None, "a", "b"] * 20),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tables_are_described(name: str) -> None:
    X, y = ODD[name]
    features = describe(X, y)
    assert tuple(features) == FEATURE_NAMES
    assert not any(np.isinf(value) for value in features.values())


def test_every_kind_of_column_is_read() -> None:
    dates = pd.date_range("2020", periods=N_ROWS)
    numeric = {
        "date": dates,
        "zoned": dates.tz_localize("CET"),
        "period": pd.period_range("2020", periods=N_ROWS, freq="M"),
        "duration": pd.timedelta_range("1D", periods=N_ROWS),
        "date objects": [datetime.date(2020, 1, 1 + day % 28) for day in range(N_ROWS)],
        "decimals": [decimal.Decimal("1.5"), None] * 30,
        "nullable": pd.array([1, None] * 30, dtype="Int64"),
        "arrow": pd.array([1.5, None] * 30, dtype="float64[pyarrow]"),
        "arrow dates": pd.Series(dates).astype("timestamp[us][pyarrow]"),
        "numbers as objects": np.array([1, 2.5] * 30, dtype=object),
    }
    categorical = {
        "text": ["x", None] * 30,
        "string": pd.array(["x", None] * 30, dtype="string"),
        "category": pd.Categorical(["u", None] * 30, categories=["u", "v", "w"]),
        "bins": pd.cut(NUMBERS[:, 0], 4),
        "boolean": pd.array([True, None] * 30, dtype="boolean"),
        "mixed": [1, "1"] * 30,
        "number as text": ["1.5", "2"] * 30,
    }
    features = describe(pd.DataFrame(numeric | categorical), LABELS)
    assert (features["nr_num"], features["nr_cat"]) == (len(numeric), len(categorical))
    assert features["symbols.min"] == 1  # levels that do not occur are not counted
    assert features["symbols.max"] == 4


def test_a_hundred_thousand_categories() -> None:
    X = pd.DataFrame({"id": [f"customer {i}" for i in range(100_000)], "n": np.arange(100_000)})
    features = describe(X, np.arange(100_000) % 2)
    assert features["symbols.max"] == 100_000
    assert features["high_cardinality_share"] == 0.5


# Bad input


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (None, LABELS, "X is NoneType, not a table"),
        ("data.csv", LABELS, "X is str, not a table"),
        (np.ones(5), LABELS, r"X has shape \(5,\)"),
        (np.ones((0, 2)), LABELS, "X has no rows"),
        (np.ones((N_ROWS, 0)), LABELS, "X has no columns"),
        (np.ones((7, 2)), LABELS, "X has 7 rows but y has 60 values"),
        (NUMBERS, [], "y is empty"),
        (NUMBERS, "target", "y is str"),
        (NUMBERS, None, "y is NoneType"),
        (NUMBERS, NUMBERS, r"y has shape \(60, 3\)"),
        (NUMBERS, pd.DataFrame(NUMBERS), "y has 3 columns"),
        (NUMBERS, pd.Series([None] * N_ROWS, name="risk"), "'risk' has only missing values"),
        (NUMBERS, pd.Series([np.inf] * 2 + [0.5] * 58, name="risk"), "'risk' has 2 infinite"),
        (
            NUMBERS,
            pd.Series([np.nan, 0.5, np.inf] + [0.5] * 57, name="risk"),
            "'risk' has 1 infinite value .first in row 3.",
        ),
        (NUMBERS, pd.Series(pd.date_range("2020", periods=N_ROWS), name="day"), "'day' holds dat"),
    ],
)
def test_bad_input_is_named_in_one_line(X: object, y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        describe(X, y)
    assert "\n" not in str(caught.value)


def test_a_task_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not numeric.*use task='classification'"):
        describe(NUMBERS, LABELS, "regression")
    with pytest.raises(ValueError, match="task is 'ranking'"):
        describe(NUMBERS, LABELS, "ranking")


# Judging the task


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["yes", "no"], "classification"),
        ([True, False, True], "classification"),
        (pd.Categorical([1.5, 2.5, 1.5]), "classification"),
        (["1", 2, None], "classification"),
        ([0, 1, 1, 0], "classification"),
        ([0.0, 1.0, 1.0], "classification"),
        (np.arange(3).repeat(5), "classification"),
        (np.arange(100) % 10, "classification"),
        ([-1, 1], "classification"),
        (pd.array([0, 1, None], dtype="Int8"), "classification"),
        ([0.5, 1.5, 0.5, 1.5], "regression"),
        (np.arange(100), "regression"),
        (np.arange(1000) % 70, "regression"),
        (np.arange(1000) % 70 * 1000.0, "regression"),
        ([decimal.Decimal("1.5"), decimal.Decimal("2")], "regression"),
    ],
)
def test_task_is_judged_as_a_person_would(y: object, task: str) -> None:
    assert infer_task(y) == task


# Cost: the issue allows 0.5 s and 1 s of processor time


@pytest.mark.parametrize(("n_rows", "n_columns", "seconds"), [(10_000, 50, 0.5), (50_000, 100, 1)])
@pytest.mark.parametrize("kind", ["numeric", "mixed", "objects"])
def test_cost(kind: str, n_rows: int, n_columns: int, seconds: float) -> None:
    X = mixed_table(n_rows, n_columns)
    if kind == "numeric":
        X = pd.DataFrame(np.random.default_rng(0).normal(size=X.shape))
    elif kind == "objects":
        X = X.astype({name: object for name in X if X[name].dtype != float})
    y = np.arange(n_rows) % 3
    costs = []
    for _ in range(2):  # the first call may pay for imports
        start = time.process_time()
        describe(X, y)
        costs.append(time.process_time() - start)
    assert min(costs) <= seconds
