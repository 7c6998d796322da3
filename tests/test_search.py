from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pytest
import sklearn
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from scipy import sparse
from searching import inexperienced, small_frame, small_table
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from metahpo import MetaModel, MetaSearchCV, Space, learners

X, Y = small_table()
LOGISTIC = {
    "C": FloatDistribution(1e-2, 1e2, log=True),
    "fit_intercept": CategoricalDistribution([True, False]),
}
BLANK = MetaModel.blank()


def search(estimator: Any = None, space: Any = None, **options: Any) -> MetaSearchCV:
    options = {"n_trials": 3, "cv": 3, "model": BLANK} | options
    if estimator is None:
        estimator, space = LogisticRegression(), space or LOGISTIC
    return MetaSearchCV(estimator, space, **options)


def assert_as_grid_search(done: MetaSearchCV, X: Any, y: Any, **fit_params: Any) -> None:
    """Check results and refit against GridSearchCV over the very same parameter settings."""
    grid = [
        {name: [value] for name, value in params.items()} for params in done.cv_results_["params"]
    ]
    names = ("cv", "scoring", "refit", "error_score", "return_train_score")
    theirs = GridSearchCV(done.estimator, grid, **{n: getattr(done, n) for n in names})
    theirs.fit(X, y, **fit_params)
    assert done.cv_results_.keys() == theirs.cv_results_.keys()
    for key, column in theirs.cv_results_.items():
        if "_time" in key:
            assert np.shape(done.cv_results_[key]) == np.shape(column)
        elif key.startswith("std_"):
            np.testing.assert_allclose(done.cv_results_[key], column, rtol=1e-12)
        elif key == "params":
            assert done.cv_results_[key] == column
        else:
            np.testing.assert_array_equal(done.cv_results_[key], column)
            assert done.cv_results_[key].dtype == column.dtype
    for name in ("best_index_", "best_score_", "best_params_", "n_splits_", "multimetric_"):
        assert getattr(done, name) == getattr(theirs, name), name
    assert type(done.scorer_) is type(theirs.scorer_)
    np.testing.assert_array_equal(done.predict(X), theirs.predict(X))
    assert done.score(X, y) == theirs.score(X, y)


# ---------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_train_score": True, "cv": KFold(4, shuffle=True, random_state=1)},
        {"scoring": "neg_log_loss", "cv": ShuffleSplit(2, test_size=0.5, random_state=0)},
        {"scoring": ["accuracy", "roc_auc"], "refit": "roc_auc", "return_train_score": True},
        {"scoring": {"a": "f1", "b": make_scorer(accuracy_score)}, "refit": "b"},
        {"scoring": lambda model, X, y: f1_score(y, model.predict(X))},
        {"scoring": lambda model, X, y: {"x": model.score(X, y), "y": 1.0}, "refit": "x"},
        {"cv": [(np.arange(40), np.arange(40, 60)), (np.arange(20, 60), np.arange(20))]},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_results_are_grid_search_s_own(options: dict[str, Any]) -> None:
    assert_as_grid_search(search(**options).fit(X, Y), X, Y)


def test_conditional_parameters_are_masked() -> None:
    options = {"space": learners["svc"].space, "n_trials": 6}
    done = search(SVC(), model=inexperienced("svc"), **options).fit(X, Y)
    assert np.ma.is_masked(done.cv_results_["param_degree"])
    assert_as_grid_search(done, X, Y)


@pytest.mark.parametrize("scoring", [None, "accuracy", ["accuracy", "f1"]])
@pytest.mark.parametrize("return_train_score", [False, True])
def test_sample_weight_reaches_fit_and_score(scoring: Any, return_train_score: bool) -> None:
    weight = np.where(np.arange(len(Y)) % 3 == 0, 5.0, 0.5)
    refit = "f1" if isinstance(scoring, list) else True
    options = {"scoring": scoring, "refit": refit, "return_train_score": return_train_score}
    done = search(cv=2, **options).fit(X, Y, sample_weight=weight)
    assert_as_grid_search(done, X, Y, sample_weight=weight)
    unweighted = search(cv=2, **options).fit(X, Y)
    assert not np.array_equal(done.best_estimator_.coef_, unweighted.best_estimator_.coef_)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        search(cv=2, **options).fit(X, Y, sample_weight=weight[:-1])


def test_a_metric_without_weights_is_warned_of() -> None:
    y = X[:, 0] + X[:, 1]
    weighted = search(Ridge(), {"alpha": FloatDistribution(0.1, 10)}, scoring="neg_max_error")
    with pytest.warns(UserWarning, match="max_error does not support sample_weight"):
        weighted.fit(X, y, sample_weight=np.ones(len(y)))


def test_fit_parameters_reach_the_steps() -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    weight = np.linspace(0, 1, len(Y))
    space = {"logisticregression__C": LOGISTIC["C"]}
    done = search(pipeline, space).fit(X, Y, logisticregression__sample_weight=weight)
    assert_as_grid_search(done, X, Y, logisticregression__sample_weight=weight)


def test_groups_reach_the_splitter() -> None:
    groups = np.arange(len(Y)) % 7
    done = search(cv=GroupKFold(3)).fit(X, Y, groups=groups)
    assert_as_grid_search(done, X, Y, groups=groups)
    with pytest.raises(ValueError, match="groups"):
        search(cv=GroupKFold(3)).fit(X, Y)


def test_metadata_routing() -> None:
    weight = np.where(np.arange(len(Y)) % 3 == 0, 5.0, 0.5)
    groups = np.arange(len(Y)) % 7
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LogisticRegression().set_fit_request(sample_weight=True)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        done = search(
            estimator, LOGISTIC, cv=GroupKFold(3), scoring=scorer, return_train_score=True
        )
        done.fit(X, Y, sample_weight=weight, groups=groups)
        assert_as_grid_search(done, X, Y, sample_weight=weight, groups=groups)
        assert done.score(X, Y, sample_weight=weight) != done.score(X, Y)
        with pytest.raises(TypeError, match="unexpected"):
            done.fit(X, Y, nonsense=weight)


def test_the_number_of_jobs_changes_nothing() -> None:
    one, two = (search(n_jobs=n_jobs, n_trials=2).fit(X, Y) for n_jobs in (1, 2))
    assert one.cv_results_["params"] == two.cv_results_["params"]
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )


def test_the_seed_decides() -> None:
    def tried(random_state: Any) -> list[Any]:
        done = search(random_state=random_state, n_trials=5).fit(X, Y)
        return list(done.cv_results_["params"])

    assert tried(1) == tried(1)
    assert tried(1) != tried(2)
    assert tried(np.random.RandomState(1)) == tried(np.random.RandomState(1))


# ---------------------------------------------------------------------- a scikit-learn citizen


def test_is_a_parameterised_estimator() -> None:
    original = search(scoring="f1")
    copied = clone(original.set_params(n_trials=7, estimator__C=3.0))
    assert copied.get_params()["estimator__C"] == 3.0
    assert (copied.n_trials, copied.scoring) == (7, "f1")
    assert is_classifier(original)
    assert is_regressor(search(Ridge(), LOGISTIC))
    assert "MetaSearchCV" in repr(original)


def test_can_be_cross_validated_and_nested() -> None:
    scores = cross_val_score(make_pipeline(StandardScaler(), search()), X, Y, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_survives_pickling() -> None:
    done = search().fit(X, Y)
    again = pickle.loads(pickle.dumps(done))
    np.testing.assert_array_equal(again.predict_proba(X), done.predict_proba(X))
    assert again.study_.best_value == done.best_score_


def test_offers_what_its_estimator_offers() -> None:
    done = search().fit(X, Y)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        theirs = getattr(done.best_estimator_, method)(X)
        np.testing.assert_array_equal(getattr(done, method)(X), theirs)
    assert list(done.classes_) == [0, 1]
    assert not hasattr(done, "transform")
    assert not hasattr(search(SVC(), LOGISTIC), "predict_proba")
    with pytest.raises(NotFittedError):
        search().predict(X)
    assert not hasattr(search(), "n_features_in_")


def test_searches_transformers_and_outlier_detectors() -> None:
    pca = search(PCA(), {"n_components": IntDistribution(1, 4)}).fit(X)
    assert pca.transform(X).shape == (len(X), pca.best_params_["n_components"])
    assert pca.inverse_transform(pca.transform(X)).shape == X.shape
    assert pca.meta_features_ is None
    forest = IsolationForest(n_estimators=5, random_state=0)
    space = {"max_features": FloatDistribution(0.5, 1)}
    found = search(forest, space, scoring=lambda model, X, y=None: model.score_samples(X).mean())
    assert found.fit(X).score_samples(X).shape == (len(X),)


def test_dataframes_go_through() -> None:
    frame, answer = small_frame()
    front = make_column_transformer(
        (OneHotEncoder(), ["f"]), remainder=StandardScaler(), verbose_feature_names_out=False
    ).set_output(transform="pandas")
    pipeline = Pipeline([("front", front), ("svc", SVC())]).set_output(transform="default")
    done = search(pipeline, {"svc__C": LOGISTIC["C"]}, scoring="roc_auc").fit(frame, answer)
    assert list(done.feature_names_in_) == list("abcdef")
    assert done.n_features_in_ == 6
    assert list(done.classes_) == ["no", "yes"]
    assert done.meta_features_["nr_cat"] == 1
    assert_as_grid_search(done, frame, answer)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, list])
def test_takes_any_table(kind: Any) -> None:
    done = search().fit(kind(X.tolist()) if kind is list else kind(X), Y)
    np.testing.assert_allclose(
        done.cv_results_["mean_test_score"], search().fit(X, Y).cv_results_["mean_test_score"]
    )
    assert done.meta_features_["nr_inst"] == len(X)


def test_takes_tables_of_other_libraries() -> None:
    table = pa.table({name: X[:, i] for i, name in enumerate("abcde")})
    to_pandas = FunctionTransformer(lambda table: table.to_pandas())
    done = search(make_pipeline(to_pandas, SVC()), {"svc__C": LOGISTIC["C"]}).fit(table, Y)
    assert done.meta_features_["nr_attr"] == 5


def test_takes_texts() -> None:
    texts = [f"{'good' if y else 'bad'} thing {i % 7}" for i, y in enumerate(Y)]
    pipeline = make_pipeline(TfidfVectorizer(), SVC())
    assert search(pipeline, {"svc__C": LOGISTIC["C"]}).fit(texts, Y).score(texts, Y) == 1.0


def test_takes_kernels() -> None:
    done = search(SVC(kernel="precomputed"), {"C": LOGISTIC["C"]}).fit(X @ X.T, Y)
    assert_as_grid_search(done, X @ X.T, Y)
    assert done.meta_features_ is None


def test_without_refit() -> None:
    done = search(refit=False).fit(X, Y)
    assert done.best_params_ == done.study_.best_params
    assert not hasattr(done, "best_estimator_")
    for what in ("predict", "score", "classes_", "n_features_in_"):
        with pytest.raises(AttributeError, match=what):
            getattr(done, what)(X)


def test_refit_may_choose_for_itself() -> None:
    def last(results: dict[str, Any]) -> int:
        return len(results["params"]) - 1

    done = search(refit=last, scoring=["accuracy", "f1"]).fit(X, Y)
    assert done.best_index_ == 2
    assert not hasattr(done, "best_score_")
    assert done.study_.best_value == done.cv_results_["mean_test_accuracy"].max()
    with pytest.raises(IndexError, match="99"):
        search(refit=lambda results: 99).fit(X, Y)


# ---------------------------------------------------------------------- experience


def test_starts_from_the_models_suggestion(tiny_model: MetaModel) -> None:
    pipeline = make_pipeline(StandardScaler(), SVC())
    done = search(pipeline, model=tiny_model, n_trials=4).fit(X, Y)
    first = done.study_.trials[0].params
    suggested = tiny_model.suggest(done.meta_features_, n=1)[0]
    assert first == {f"svc__{name}": value for name, value in suggested.items()}
    assert done.transfer_.mapped == tuple(f"svc__{name}" for name in learners["svc"].space.names)
    assert set(done.best_params_) <= set(pipeline.get_params())


def test_reports_the_transfer_in_the_users_spelling(tiny_model: MetaModel) -> None:
    space = {
        "svc__C": FloatDistribution(1e-3, 1e6, log=True),
        "svc__gamma": FloatDistribution(1e-3, 1, log=True),
        "svc__tol": FloatDistribution(1e-5, 1e-1, log=True),
        "pca__n_components": IntDistribution(2, 4),
    }
    pipeline = Pipeline([("pca", PCA()), ("svc", SVC(kernel="poly", degree=2))])
    done = search(pipeline, space, model=tiny_model).fit(X, Y)
    assert done.transfer_.mapped == ("svc__C", "svc__gamma")
    assert set(done.transfer_.clipped) == {"svc__C"}
    assert done.transfer_.unknown == ("svc__tol", "pca__n_components")
    fixed = {"svc__kernel": "poly", "svc__degree": 2, "svc__gamma_rule": "value"}
    assert fixed.items() <= done.transfer_.fixed.items()
    assert done.study_.best_params == done.best_params_


def test_an_unknown_estimator_is_tuned_from_its_own_trials() -> None:
    class Peak(BaseEstimator):
        def __init__(self, x: float = 0.0) -> None:
            self.x = x

        def fit(self, X: Any, y: Any = None) -> Peak:
            return self

        def score(self, X: Any, y: Any = None) -> float:
            return -((self.x - 3.0) ** 2)

    done = MetaSearchCV(Peak(), {"x": FloatDistribution(-10, 10)}, n_trials=15, cv=2).fit(X, Y)
    assert done.cv_results_["params"][0] == {"x": 0.0}  # where the estimator stands
    assert done.transfer_.unknown == ("x",)
    assert abs(done.best_params_["x"] - 3.0) < 0.5


def test_the_learner_itself_can_be_chosen() -> None:
    from metahpo.catalogue import UnionLearner

    two = {name: learners[name] for name in ("logistic_regression", "decision_tree")}
    union = UnionLearner.of("two", two, "decision_tree")
    frame, answer = small_frame()
    done = search(union.make(), learner=union, n_trials=6).fit(frame, answer)
    assert {trial.params["learner"] for trial in done.study_.trials} == set(two)
    assert set(done.best_params_) == {"preprocess", "estimator"}
    assert done.score(frame, answer) > 0.5


def test_a_callback_can_end_the_search() -> None:
    seen = []

    def stop(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seen.append(trial.value)
        if len(seen) == 2:
            study.stop()

    done = search(callbacks=[stop], n_trials=9).fit(X, Y)
    assert list(done.cv_results_["mean_test_score"]) == seen
    assert len(seen) == 2


def test_a_timeout_ends_the_search() -> None:
    done = search(n_trials=None, timeout=0.2).fit(X, Y)
    assert 1 <= len(done.study_.trials) < 1000


@pytest.mark.parametrize("level", [optuna.logging.INFO, optuna.logging.WARNING])
@pytest.mark.parametrize(("verbose", "silent"), [(0, True), (1, False)])
def test_is_as_silent_as_asked(
    verbose: int,
    silent: bool,
    level: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    optuna.logging.enable_propagation()  # to where caplog listens
    try:
        search(SVC(), model=inexperienced("svc"), verbose=verbose).fit(X, Y)
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.disable_propagation()
        optuna.logging.set_verbosity(before)
    assert (not caplog.records) == silent
    assert capfd.readouterr().out == ""


# ---------------------------------------------------------------------- failures


class Fragile(DecisionTreeClassifier):
    """A tree that cannot be fitted at some depths."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, check_input: bool = True) -> Fragile:
        if self.max_depth % 2:
            raise RuntimeError(f"depth {self.max_depth} is odd")
        return super().fit(X, y, sample_weight, check_input)


DEPTH = {"max_depth": IntDistribution(1, 8)}


@pytest.mark.parametrize("error_score", [np.nan, -1.0])
def test_failures_are_scored_and_told(error_score: float) -> None:
    fragile = search(
        Fragile(random_state=0, max_depth=2), DEPTH, n_trials=5, error_score=error_score
    )
    with pytest.warns(FitFailedWarning, match=r"is odd.*their score is"):
        done = fragile.fit(X, Y)
    odd = done.cv_results_["param_max_depth"].data.astype(int) % 2 == 1
    assert odd.any()
    assert not odd.all()
    mean = done.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(mean[odd], np.full(odd.sum(), error_score))
    assert (mean[~odd] > 0).all()
    with pytest.warns((FitFailedWarning, UserWarning), match="fits failed|non-finite"):
        assert_as_grid_search(done, X, Y)


def test_failures_can_be_raised() -> None:
    with pytest.raises(RuntimeError, match="is odd"):
        search(Fragile(random_state=0, max_depth=2), DEPTH, n_trials=8, error_score="raise").fit(
            X, Y
        )


def test_when_all_trials_fail_it_says_why() -> None:
    odd = {"max_depth": CategoricalDistribution([1, 3, 5])}
    with pytest.raises(ValueError, match=r"3 failed, the last with: .*is odd"):
        search(Fragile(random_state=0, max_depth=1), odd).fit(X, Y)


@pytest.mark.parametrize("refit", ["f1", False])
def test_a_score_for_failures_is_no_success(refit: Any) -> None:
    odd = {"max_depth": CategoricalDistribution([1, 3, 5])}
    for options in ({}, {"scoring": ["f1", "accuracy"], "refit": refit}):
        hopeless = search(Fragile(max_depth=1), odd, error_score=0.0, **options)
        with pytest.raises(ValueError, match=r"3 failed, the last with: .*is odd"):
            hopeless.fit(X, Y)


def refusing(model: Any, X: Any, y: Any) -> float:
    raise LookupError("this metric\nis of no use")


@pytest.mark.parametrize("scoring", [refusing, {"a": refusing, "b": "accuracy"}])
@pytest.mark.parametrize("fit_params", [{}, {"sample_weight": np.ones(60)}])
@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:The scoring")
def test_when_the_metric_fails_it_says_why(scoring: Any, fit_params: dict[str, Any]) -> None:
    refused = search(scoring=scoring, refit=True if callable(scoring) else "a")
    with pytest.raises(ValueError, match=r"3 failed, .*: LookupError: this metric") as caught:
        refused.fit(X, Y, **fit_params)
    assert "\n" not in str(caught.value)
    assert caught.value.__notes__ == ["error_score='raise' shows where"]


def test_a_metric_that_fails_is_no_fit_that_fails() -> None:
    def seldom(model: Any, X: Any, y: Any) -> float:
        if model.C < 1:
            raise LookupError
        return float(model.score(X, y))

    with pytest.warns(UserWarning, match="Scoring failed") as caught:
        search(scoring=seldom, n_trials=9).fit(X, Y)
    assert not [warning for warning in caught if warning.category is FitFailedWarning]


def test_when_time_is_up_at_once_it_says_so() -> None:
    with pytest.raises(ValueError, match="no trial was run; the time was up"):
        search(n_trials=None, timeout=1e-9).fit(X, Y)


def test_trials_can_be_run_without_a_conclusion() -> None:
    odd = {"max_depth": CategoricalDistribution([1, 3, 5])}
    study = search(Fragile(max_depth=1), odd).run_trials(X, Y)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
    done = search()
    assert len(done.run_trials(X, Y).trials) == 3
    assert not hasattr(done, "best_params_")


def interrupting(after: int) -> Any:
    """Make a metric that is interrupted by Ctrl-C after some calls."""
    calls = []

    def metric(model: Any, X: Any, y: Any) -> float:
        calls.append(model)
        if len(calls) > after:
            raise KeyboardInterrupt
        return float(model.score(X, y))

    return metric


def test_ctrl_c_keeps_the_best_so_far() -> None:
    interrupted = search(scoring=interrupting(after=7), n_trials=9)
    with pytest.warns(UserWarning, match="interrupted after 2 trials"):
        interrupted.fit(X, Y)
    assert len(interrupted.cv_results_["params"]) == 2
    assert interrupted.predict(X).shape == Y.shape


def test_ctrl_c_before_anything_is_done_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        search(scoring=interrupting(after=2)).fit(X, Y)


FRAME = pd.DataFrame(X, columns=list("abcde"))


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (X, np.ones(60), {}, r"y has only one class, 1\.0; "),
        (X, np.ones(60, dtype=int), {}, "y has only one class, 1; "),
        (X[:1], Y[:1], {}, "there is only one row"),
        (X, np.r_[np.zeros(58), 1, 1], {}, r"the class 1\.0 has 2 members, fewer than the 3"),
        (X, np.r_[[None], Y[1:]], {}, "Input y contains NaN: 1 of 60"),
        (X, np.r_[[np.inf], Y[1:]], {}, "Input y contains inf"),
        (X, X[:, 0], {}, "Unknown label type"),
        (X, Y[:-1], {}, "inconsistent numbers of samples"),
        (X[:0], Y[:0], {}, "0 sample"),
        (FRAME.set_axis(list("abcda"), axis=1), Y, {}, "several columns named 'a'"),
        (X, Y, {"scoring": "acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (X, Y, {"scoring": ["f1", "rocauc"], "refit": "f1"}, "did you mean 'roc_auc'"),
        (X, Y, {"scoring": "r2"}, "'r2' measures regression, .* is a classifier"),
        (X, np.arange(60) % 3, {"scoring": "f1"}, "'f1' does not fit .* multiclass"),
        (X, Y, {"scoring": {}}, "scoring is empty"),
        (X, Y, {"scoring": ["f1", "accuracy"]}, "must name the one to tune"),
        (X, Y, {"scoring": ["f1", "accuracy"], "refit": "f2"}, "refit='f2'.*'f1', 'accuracy'"),
        (X, Y, {"scoring": lambda m, X, y: {"a": 1.0, "b": 1.0}}, "must name the one to tune"),
        (X, Y, {"n_trials": 0}, "n_trials is 0"),
        (X, Y, {"n_trials": 2.5}, r"n_trials is 2\.5"),
        (X, Y, {"n_trials": None}, "never end"),
        (X, Y, {"timeout": "10m"}, "timeout is '10m'"),
        (X, Y, {"error_score": "ignore"}, "error_score"),
        (X, Y, {"space": {"c": LOGISTIC["C"]}}, "unknown parameter 'c'; did you mean 'C'"),
        (X, Y, {"space": {"C": LOGISTIC["C"]}, "cv": 100}, "fewer than the 100 folds"),
    ],
)
def test_bad_input_is_named(X: Any, y: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        search(**options).fit(X, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("space", [[LOGISTIC], "C", 3])
def test_what_is_no_space_is_named(space: Any) -> None:
    with pytest.raises(TypeError, match=r"^space is of type \w+; give a metahpo\.Space, or a map"):
        search(LogisticRegression(), space).fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "y", "scoring", "message"),
    [
        (Ridge(), Y.astype(float), "accuracy", "'accuracy' does not fit Ridge"),
        (Ridge(), np.where(Y, "a", "b"), None, "is a regressor, but y holds '[ab]'"),
        (SVC(), Y, "neg_log_loss", "'neg_log_loss' does not fit SVC .* predict_proba"),
        (
            SVC(),
            np.where(Y, "a", "b"),
            "f1",
            "'f1' does not fit SVC .* pos_label.*; use 'f1_macro'",
        ),
    ],
)
def test_a_metric_must_fit_estimator_and_target(
    estimator: Any, y: Any, scoring: str | None, message: str
) -> None:
    space = {"tol": FloatDistribution(1e-5, 1e-2)}
    with pytest.raises(ValueError, match=message):
        search(estimator, space, scoring=scoring).fit(X, y)


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision"])
def test_a_metric_that_ranks_fits_a_classifier_that_decides_or_gives_probabilities(
    scoring: str,
) -> None:
    decides, gives = SVC(), DecisionTreeClassifier(random_state=0)
    assert search(decides, {"C": LOGISTIC["C"]}, scoring=scoring).fit(X, Y).best_score_ > 0.5
    depth = {"max_depth": IntDistribution(1, 5)}
    assert search(gives, depth, scoring=scoring).fit(X, Y).best_score_ > 0.5


def test_a_space_with_conditions_and_names_of_its_own_is_searched_as_it_is() -> None:
    space = Space(
        {
            "svc__kernel": CategoricalDistribution(["rbf", "poly"]),
            "svc__degree": IntDistribution(2, 3),
        },
        {"svc__degree": ("svc__kernel", ["poly"])},
    )
    pipeline = make_pipeline(StandardScaler(), SVC())
    with pytest.warns(UserWarning, match="has 3 configurations; the search ends when each has"):
        done = search(pipeline, space, model=inexperienced("svc"), n_trials=6).fit(X, Y)
    tried = done.cv_results_["params"]
    assert sorted((p["svc__kernel"], p.get("svc__degree")) for p in tried) == [
        ("poly", 2), ("poly", 3), ("rbf", None)
    ]  # fmt: skip
