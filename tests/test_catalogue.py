"""Every learner on real kinds of tables, against the library's own estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import StandardScaler

from metahpo import learners
from metahpo.catalogue import ROOT, Learner, UnionLearner, resolve_learner

SINGLE = [learner for learner in learners.values() if not isinstance(learner, UnionLearner)]
UNIONS = [learner for learner in learners.values() if isinstance(learner, UnionLearner)]
every_learner = pytest.mark.parametrize("learner", SINGLE, ids=lambda learner: learner.name)
every_union = pytest.mark.parametrize("learner", UNIONS, ids=lambda learner: learner.name)
# fitting until convergence is the user's to decide on; everything else has to be silent
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mixed_table(n: int = 90, seed: int = 0) -> pd.DataFrame:
    """A table as people have them: every kind of column, gaps in most."""
    rng = np.random.default_rng(seed)
    gap = rng.random((n, 5)) < 0.15
    words = [f"{w} number {i}" for i, w in enumerate(rng.choice(["red", "blue", "old"], n))]
    return pd.DataFrame(
        {
            "size [cm]": rng.normal(size=n),
            "weight": np.where(gap[:, 0], np.nan, rng.lognormal(size=n)),
            "count": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "kind": np.where(gap[:, 1], None, rng.choice(["a", "b", "c"], n)),
            "sex": rng.choice(["f", "m"], n),
            "grade": pd.Categorical(rng.choice(["low", "mid", "high"], n)),
            "member": rng.random(n) < 0.5,
            "maybe": pd.array(np.where(gap[:, 2], None, rng.random(n) < 0.5), dtype="boolean"),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, n), "D"),
            "note": np.where(gap[:, 3], None, words),
            "constant": 1.0,
            "empty": np.nan,
        }
    ).assign(since=lambda X: X["since"].mask(gap[:, 4]))


X = mixed_table()
SIGNAL = X["size [cm]"] + X["sex"].eq("f") - X["grade"].eq("low")
TARGETS = {
    "classification": np.where(SIGNAL > 0.3, "yes", "no"),
    "regression": 50 + 10 * SIGNAL.to_numpy(),
}


def fitted(learner: Learner, config: Any = None, **options: Any) -> Any:
    return learner.make(config, **options).fit(X, TARGETS[learner.task])


# ---------------------------------------------------------------------- the default


@every_learner
@unconverged
def test_the_default_configuration_is_the_librarys_own(learner: Learner) -> None:
    """Fitted alone on the preprocessed table, the bare class predicts exactly the same."""
    pipeline = fitted(learner, random_state=3)
    bare = learner.estimator_class(**learner.fixed)
    if "random_state" in bare.get_params():
        bare.set_params(random_state=3)
    if learner.parallel:
        bare.set_params(n_jobs=1)
    codes, target = pipeline[:-1].transform(X), TARGETS[learner.task]
    if learner.scale_target:
        bare = TransformedTargetRegressor(bare, transformer=StandardScaler())
    names = np.unique(target)
    if learner.encode_labels:
        target = (target == names[1]).astype(int)
    expected = bare.fit(codes, target).predict(codes)
    if learner.encode_labels:
        expected = names[expected]
    np.testing.assert_array_equal(pipeline.predict(X), expected)


@every_learner
def test_only_what_is_declared_departs_from_the_librarys_defaults(learner: Learner) -> None:
    made = learner.make(random_state=None, n_jobs=None)[-1]
    inner = getattr(made, "regressor", None) or getattr(made, "estimator", None)
    estimator = inner if learner.scale_target or learner.encode_labels else made
    own, default = estimator.get_params(False), learner.estimator_class().get_params(False)
    changed = {
        name for name in own if name not in default or repr(own[name]) != repr(default[name])
    }
    # XGBoost's defaults are None, which stand for the values that it documents
    stated = {
        name for name in changed if default.get(name) is None and name in learner.space.names
    }
    assert changed - stated - ({"estimator"} if learner.base else set()) == set(learner.fixed)


# ---------------------------------------------------------------------- any table


@every_learner
@unconverged
def test_it_fits_and_predicts_on_a_table_of_every_kind(learner: Learner) -> None:
    pipeline = fitted(learner)
    new = mixed_table(20, seed=1).assign(kind="unseen", sex="x", note="quite new", empty=3.0)
    predicted = pipeline.predict(new)
    if learner.task == "classification":
        assert set(predicted) <= {"yes", "no"}
        assert list(pipeline.classes_) == ["no", "yes"]
        assert pipeline.score(X, TARGETS["classification"]) > 0.7
    else:
        assert np.isfinite(predicted).all()
        assert pipeline.score(X, TARGETS["regression"]) > 0.3


@every_learner
@unconverged
def test_it_fits_on_arrays(learner: Learner) -> None:
    numbers = X[["size [cm]", "weight"]].to_numpy()
    y = TARGETS[learner.task]
    assert len(learner.make().fit(numbers, y).predict(numbers)) == len(X)
    objects = X[["size [cm]", "sex"]].to_numpy(dtype=object)
    assert len(learner.make().fit(objects, y).predict(objects)) == len(X)
    assert len(learner.make().fit(pd.DataFrame(numbers), y).predict(pd.DataFrame(numbers))) == len(
        X
    )


@every_learner
def test_sparse_input_is_refused_by_its_type(learner: Learner) -> None:
    with pytest.raises(TypeError, match="csr_matrix"):
        learner.make().fit(sparse.csr_matrix(np.eye(90)), TARGETS[learner.task])


@every_learner
@unconverged
def test_the_same_random_state_gives_the_same_predictions(learner: Learner) -> None:
    first = fitted(learner, random_state=7)
    again = clone(first).fit(X, TARGETS[learner.task])
    np.testing.assert_array_equal(first.predict(X), again.predict(X))


@pytest.mark.parametrize("name", [one.name for one in SINGLE if one.task == "classification"])
@unconverged
def test_classifiers_take_any_labels(name: str) -> None:
    data = X[["size [cm]", "weight"]].fillna(0.0)
    for labels in ([3, 7], [True, False], ["b", "a"], [-1.0, 1.0]):
        y = np.array(labels)[(SIGNAL > 0.3).astype(int)]
        pipeline = learners[name].make().fit(data, y)
        assert set(pipeline.predict(data)) == set(labels)
        np.testing.assert_array_equal(pipeline.classes_, np.unique(y))
        if hasattr(pipeline, "predict_proba"):
            best = pipeline.predict_proba(data).argmax(axis=1)
            np.testing.assert_array_equal(pipeline.classes_[best], pipeline.predict(data))


# ---------------------------------------------------------------------- the space


@every_learner
@unconverged
def test_sampled_configurations_fit_and_read_back(learner: Learner) -> None:
    for config in learner.space.sample(3, seed=5):
        assert len(fitted(learner, config).predict(X)) == len(X)
    for config in [learner.space.default, *learner.space.sample(64, seed=6)]:
        params = learner.params_of(config)
        assert learner.config_of(params) == config
        # the class itself takes every parameter, besides those of the estimator inside
        own = {name: value for name, value in params.items() if "__" not in name}
        assert own.items() <= learner.estimator_class(**own).get_params().items()


@every_learner
def test_configurations_are_read_from_a_whole_estimator(learner: Learner) -> None:
    config = learner.space.sample(2, seed=8)[1]
    made = learner.make(config)[-1]
    inner = made.regressor if learner.scale_target else made
    inner = inner.estimator if learner.encode_labels else inner
    assert learner.config_of(inner.get_params()) == config


def test_rules_tell_symbols_from_numbers() -> None:
    svc, tree, forest = (learners[n] for n in ("svc", "decision_tree", "random_forest"))
    assert svc.params_of(svc.space.default)["gamma"] == "scale"
    assert svc.config_of({"C": 1.0, "kernel": "rbf", "gamma": 0.1}) == {
        "C": 1.0,
        "kernel": "rbf",
        "gamma_rule": "value",
        "gamma": 0.1,
    }
    assert tree.params_of(tree.space.default)["max_depth"] is None
    assert forest.config_of({"max_features": "sqrt"}) == {"max_features_rule": "sqrt"}
    # what the space does not hold is left for the caller to judge
    assert svc.config_of({"kernel": "rbf", "gamma": "auto"})["gamma"] == "auto"


def test_layers_are_searched_as_depth_and_width() -> None:
    mlp = learners["mlp"]
    config = mlp.space.default | {"layers": 3, "width": 20}
    assert mlp.params_of(config)["hidden_layer_sizes"] == (20, 20, 20)
    for sizes, read in (
        ((20, 20), {"layers": 2, "width": 20}),
        ([50], {"layers": 1, "width": 50}),
        (30, {"layers": 1, "width": 30}),
        ((20, 10), {}),
        ((), {}),
    ):
        assert mlp.config_of({"hidden_layer_sizes": sizes}) == read


def test_a_wrong_configuration_is_told_why() -> None:
    with pytest.raises(ValueError, match="unknown parameter 'c'; did you mean 'C'"):
        learners["svc"].make({**learners["svc"].space.default, "c": 1.0})
    with pytest.raises(ValueError, match="lacks the parameter 'learner'"):
        learners["auto"].make({})


def test_cores_go_to_the_learners_that_can_use_them() -> None:
    assert learners["random_forest"].make(n_jobs=2)[-1].n_jobs == 2
    assert learners["xgboost"].make(n_jobs=2)[-1].estimator.n_jobs == 2
    assert (
        learners["svc"].make(n_jobs=2)[-1].get_params() == learners["svc"].make()[-1].get_params()
    )


# ---------------------------------------------------------------------- all learners as one


@every_union
def test_the_union_makes_what_its_branches_make(learner: UnionLearner) -> None:
    assert set(learner.branches) == {one.name for one in SINGLE if one.task == learner.task}
    for config in [learner.space.default, *learner.space.sample(12, seed=2)]:
        branch, own = learner.split(config)
        assert branch.name == config[ROOT]
        assert branch.space.validate(own) == own
        assert repr(learner.make(config, random_state=4)) == repr(branch.make(own, random_state=4))


def test_learners_are_found_by_name_and_family() -> None:
    for learner in learners.values():
        assert resolve_learner(learner.name, learner.task) is learner
        assert resolve_learner(learner.family, learner.task) is learner
    assert resolve_learner("svc", "regression") is learners["svr"]
    assert resolve_learner("auto", "regression") is learners["auto_regressor"]


def test_every_workhorse_does_both_tasks() -> None:
    families = {
        task: {one.family for one in learners.values() if one.task == task} for task in TARGETS
    }
    assert families["classification"] == families["regression"]
    assert {"svc", "random_forest", "extra_trees", "decision_tree", "k_neighbors", "mlp"} | {
        "logistic_regression",
        "ada_boost",
        "hist_gradient_boosting",
        "auto",
    } <= families["classification"]


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        (
            "random_forrest",
            "classification",
            "unknown learner 'random_forrest'; did you mean 'ran",
        ),
        ("svr", "classification", "the learner 'svr' does regression, not classification"),
        ("qqqq", "regression", "unknown learner 'qqqq'; known are ada_boost, auto, "),
    ],
)
def test_a_learner_that_is_not_there(name: str, task: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_learner(name, task)


def test_the_catalogue_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        learners["mine"] = learners["svc"]  # type: ignore[index]
