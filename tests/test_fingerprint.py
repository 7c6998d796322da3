"""fingerprint: equal for equal content, close for subsets, far for everything else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import bundled, openml_table
from scipy import sparse

from metahpo.fingerprint import SKETCH_SIZE, Fingerprint, fingerprint

DEMO = ("iris", "wine", "breast_cancer", "digits", "diabetes")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_layout_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=30),
            "b": rng.integers(-5, 5, 30),
            "c": rng.choice(["x", "y", None], 30),
            "d": rng.choice([1.5, np.nan], 30),
        }
    )
    y = rng.choice(["no", "yes"], 30)
    rows = rng.permutation(30)
    moved = X.iloc[rows][["d", "b", "a", "c"]].set_axis(list("wxyz"), axis=1)
    moved["x"] = moved["x"].astype("int8")
    moved["y"] = moved["y"].astype("float32")
    moved["z"] = moved["z"].astype("category")
    renamed = np.where(y == "yes", 7, 3)[rows]
    assert fingerprint(X, y) == fingerprint(moved, renamed)


def test_numbers_stored_as_text_are_the_same_numbers() -> None:
    X, y = bundled("digits")
    assert fingerprint(X, y) == fingerprint(X.astype(int).astype(str).astype("category"), y)
    assert fingerprint(X, y) == fingerprint(sparse.csr_array(X.to_numpy()), y.astype(str))
    assert fingerprint(X, y) == fingerprint(X.to_numpy().tolist(), y.tolist())


def test_any_change_of_content_changes_the_digest() -> None:
    X, y = (data.to_numpy() for data in bundled("iris"))
    changed, relabelled = X.copy(), y.copy()
    changed[7, 2] += 0.01
    relabelled[0] = 1
    digests = {
        fingerprint(*table).digest
        for table in [(X, y), (changed, y), (X, relabelled), (X[:-1], y[:-1]), (X[:, :3], y)]
    }
    assert len(digests) == 5


def test_a_change_beyond_six_digits_is_no_change() -> None:
    X, y = bundled("breast_cancer")
    assert fingerprint(X, y) == fingerprint(X * (1 + 1e-12), y)


def test_regression_targets_count_too() -> None:
    X, y = bundled("diabetes")
    assert fingerprint(X, y) == fingerprint(X, y.astype(int))
    assert fingerprint(X, y).digest != fingerprint(X, y + 1).digest


def test_json_round_trip() -> None:
    taken = fingerprint(*bundled("digits"))
    text = json.dumps(taken.to_json())
    assert len(text) < 3_000
    assert Fingerprint.from_json(json.loads(text)) == taken
    for damaged in ({}, {**taken.to_json(), "sketch": "abc"}, {**taken.to_json(), "rows": None}):
        with pytest.raises(ValueError, match="not a fingerprint"):
            Fingerprint.from_json(damaged)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_overlap_estimates_the_share_of_common_rows(share: float) -> None:
    rng = np.random.default_rng(0)
    large, other = rng.normal(size=(6_000, 8)), rng.normal(size=(2_000, 8))
    common = round(2_000 * share)
    small = np.vstack([large[:common], other[common:]])
    first, second = (fingerprint(X, np.arange(len(X)) % 2) for X in (large, small))
    assert first.overlap(second) == second.overlap(first)
    # About 2000 * 512 / 6000 = 170 rows are compared: four standard errors are 0.15 at most.
    assert first.overlap(second) == pytest.approx(share, abs=0.15 if 0 < share < 1 else 0)


def test_overlap_of_small_tables_is_exact() -> None:
    X = np.random.default_rng(0).normal(size=(400, 3))
    y = np.arange(400) % 2
    assert SKETCH_SIZE > 400
    assert fingerprint(X, y).overlap(fingerprint(X[300:], y[300:])) == 1
    assert fingerprint(X[:200], y[:200]).overlap(fingerprint(X[150:], y[150:])) == 50 / 200


def test_a_table_too_small_to_tell_is_nan() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 3))
    one = fingerprint(X[:1], ["a"])
    assert np.isnan(one.overlap(fingerprint(X[1:], np.arange(49_999) % 2)))


def test_known_relatives_are_found_and_nobody_else(shared: Path) -> None:
    """Every scikit-learn table the demo uses, against small and middling tables of the cache."""
    dids = (28, 1510, 11, 16, 22, 37, 40, 41, 48, 53, 337, 1466, 1482, 1488, 1523, 44972, 44994)
    demo = {name: fingerprint(*bundled(name)) for name in DEMO}
    relatives = {(28, "digits"), (1510, "breast_cancer")}
    for did in dids:
        taken = fingerprint(*openml_table(shared, did))
        for name, known in demo.items():
            overlap = known.overlap(taken)
            assert overlap > 0.95 if (did, name) in relatives else overlap == 0, (did, name)
