from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from searching import inexperienced, knowing
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from xgboost import XGBClassifier

from metahpo import MetaModel, MetaSearchCV, Space, learners
from metahpo.catalogue import UnionLearner
from metahpo.search.pipeline import find_place, plan_search

SINGLE = [name for name, learner in learners.items() if not isinstance(learner, UnionLearner)]
C = FloatDistribution(1e-2, 1e2, log=True)


def printed(estimator: BaseEstimator) -> str:
    """Return all that an estimator sets, as its repr without abbreviation."""
    return str(estimator.__repr__(N_CHAR_MAX=10**6))


@pytest.mark.parametrize("name", SINGLE)
def test_every_learner_is_found_and_set_as_its_own_factory_does(name: str) -> None:
    learner = learners[name]
    pipeline = Pipeline(learner.make().steps[-1:])
    plan = plan_search(pipeline, model=inexperienced(name))
    assert plan.place.learner is learner
    assert plan.space == learner.space.prefixed(plan.place.prefix)
    assert plan.fixed == {}
    for config in learner.space.sample(8):
        spelled = {plan.place.prefix + key: value for key, value in config.items()}
        ours = clone(pipeline).set_params(**plan.params_of(spelled))
        assert printed(ours[-1]) == printed(learner.make(config)[-1])


@pytest.mark.parametrize("name", ["auto", "auto_regressor"])
def test_a_choice_among_learners_replaces_both_steps(name: str) -> None:
    learner = learners[name]
    plan = plan_search(learner.make(), model=inexperienced(name), learner=name)
    for config in learner.space.sample(8):
        ours = clone(learner.make()).set_params(**plan.params_of(config))
        assert printed(ours) == printed(learner.make(config))


@pytest.mark.parametrize(
    "scoring", ["accuracy", "neg_log_loss", {"a": "f1", "b": "neg_brier_score"}]
)
def test_learners_that_the_metric_cannot_measure_are_not_chosen(scoring: Any) -> None:
    X, y = make_classification(60, random_state=0)
    search = MetaSearchCV(
        learners["auto"].make(),
        learner="auto",
        model=inexperienced("auto"),
        scoring=scoring,
        refit=isinstance(scoring, str) or "b",
        n_trials=1,
        cv=2,
    ).fit(X, y)
    chosen = search.study_.trials[0].distributions["learner"].choices
    probable = {"k_neighbors", "random_forest", "mlp"}
    assert probable <= set(chosen)
    assert ("svc" in chosen) == (scoring == "accuracy")


def test_a_choice_among_learners_needs_their_pipeline() -> None:
    with pytest.raises(ValueError, match=r"learners\['auto'\]\.make\(\)"):
        plan_search(SVC(), learner="auto", model=inexperienced("auto"))


@pytest.mark.parametrize(
    ("estimator", "prefix", "learner"),
    [
        (SVC(), "", "svc"),
        (Pipeline([("scale", StandardScaler()), ("my_model", SVC())]), "my_model__", "svc"),
        (make_pipeline(make_pipeline(SVC())), "pipeline__svc__", "svc"),
        (TransformedTargetRegressor(SVR()), "regressor__", "svr"),
        (CalibratedClassifierCV(SVC()), "estimator__", "svc"),
        (
            make_pipeline(
                make_column_transformer((StandardScaler(), [0])),
                TransformedTargetRegressor(make_pipeline(StandardScaler(), SVR())),
            ),
            "transformedtargetregressor__regressor__svr__",
            "svr",
        ),
        (AdaBoostClassifier(), "", "ada_boost"),
        (make_pipeline(Lasso()), "lasso__", None),
        (AdaBoostClassifier(LogisticRegression()), "", None),
        (TransformedTargetRegressor(), "", None),
        (make_pipeline(StandardScaler(), "passthrough"), "", None),
    ],
)
def test_finds_the_estimator_that_learns(
    estimator: BaseEstimator, prefix: str, learner: str | None
) -> None:
    place = find_place(estimator)
    assert place.prefix == prefix
    assert place.learner is (None if learner is None else learners[learner])


def test_a_subclass_is_told_by_name() -> None:
    class MySVC(SVC):
        pass

    assert find_place(MySVC()).learner is None
    assert find_place(MySVC(), "svc").learner is learners["svc"]


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        ("random_forest", "'random_forest' tunes 'criterion', which SVC does not"),
        ("ada_boost", "'ada_boost' tunes '[a-z_]*', which SVC does not"),
    ],
)
def test_a_learner_that_the_estimator_is_not(learner: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_search(make_pipeline(StandardScaler(), SVC()), learner=learner)


def test_the_search_starts_at_what_the_pipeline_sets() -> None:
    pipeline = make_pipeline(StandardScaler(), SVC(C=10, gamma=0.5, kernel="poly"))
    plan = plan_search(pipeline, model=inexperienced("svc"))
    assert plan.space.default == {
        "svc__C": 10.0,
        "svc__kernel": "poly",
        "svc__class_weight": None,
        "svc__gamma_rule": "value",
        "svc__gamma": 0.5,
        "svc__degree": 3,
        "svc__coef0": 0.0,
    }
    own = plan_search(SVC(C=1e6, kernel="precomputed"), {"C": C}, inexperienced("svc"))
    assert own.space.default == {"C": 100.0}  # the nearest that the space holds


@pytest.mark.parametrize(
    ("estimator", "stays"),
    [
        (SVC(kernel="precomputed"), {"kernel", "gamma_rule", "gamma", "degree", "coef0"}),
        (SVC(kernel=np.dot), {"kernel", "gamma_rule", "gamma", "degree", "coef0"}),
        (SVC(class_weight={0: 10, 1: 1}), {"class_weight"}),
        (XGBClassifier(max_depth=None), set()),  # None is the library's own default
    ],
)
def test_a_value_that_the_learners_space_has_no_word_for_stays(
    estimator: Any, stays: set[str]
) -> None:
    plan = plan_search(estimator)
    assert plan.place.learner is not None
    assert set(plan.place.learner.space.names) - set(plan.space.names) == stays
    tuned = plan.params_of(plan.space.default, seed=0)
    assert not tuned.keys() & stays


def test_what_is_set_and_not_searched_is_fixed() -> None:
    pipeline = make_pipeline(SVC(kernel="poly", degree=4, gamma=0.5))
    space = {"svc__C": C, "svc__tol": FloatDistribution(1e-5, 1e-1, log=True)}
    plan = plan_search(pipeline, space, inexperienced("svc"))
    assert plan.fixed == {
        "svc__kernel": "poly",
        "svc__class_weight": None,
        "svc__gamma_rule": "value",
        "svc__gamma": 0.5,
        "svc__degree": 4,
        "svc__coef0": 0.0,
    }


def test_children_of_a_searched_parent_are_fixed_though_inactive_now() -> None:
    space = {"C": C, "kernel": CategoricalDistribution(["linear", "rbf"])}
    plan = plan_search(SVC(kernel="linear", gamma=0.5), space, inexperienced("svc"))
    assert plan.fixed["gamma_rule"] == "value"
    assert plan.fixed["gamma"] == 0.5


def test_a_searched_number_leaves_its_rule_open() -> None:
    space = {"gamma": FloatDistribution(1e-3, 1, log=True)}
    plan = plan_search(SVC(C=3), space, inexperienced("svc"))
    assert plan.fixed == {"C": 3, "kernel": "rbf", "class_weight": None}
    assert plan.params_of({"gamma": 0.1}) == {"gamma": 0.1}


@pytest.mark.parametrize("gamma", ["auto", np.float32(0.5), -1])
def test_settings_that_the_model_has_no_word_for_are_not_fixed(gamma: Any) -> None:
    plan = plan_search(SVC(gamma=gamma, class_weight={0: 2}), {"C": C}, inexperienced("svc"))
    assert "class_weight" not in plan.fixed
    assert ("gamma" in plan.fixed) == (gamma != "auto")


def test_parts_of_a_compound_are_completed_by_what_is_set() -> None:
    space = {"mlp__width": IntDistribution(2, 40)}
    pipeline = Pipeline([("mlp", MLPClassifier((30, 30)))])
    plan = plan_search(pipeline, space, inexperienced("mlp"))
    assert plan.space.default == {"mlp__width": 30}
    assert plan.params_of({"mlp__width": 7}) == {"mlp__hidden_layer_sizes": (7, 7)}


def test_rules_may_be_searched_by_name() -> None:
    space = Space({"max_features_rule": CategoricalDistribution(["sqrt", "value"])})
    plan = plan_search(RandomForestClassifier(), space, inexperienced("random_forest"))
    assert plan.params_of({"max_features_rule": "sqrt"}) == {"max_features": "sqrt"}


def test_boosting_gets_the_base_whose_parameters_are_searched() -> None:
    plan = plan_search(
        Pipeline([("ada", AdaBoostClassifier())]),
        {"ada__estimator__min_samples_leaf": IntDistribution(1, 9)},
        inexperienced("ada_boost"),
    )
    params = plan.params_of({"ada__estimator__min_samples_leaf": 4})
    base = Pipeline([("ada", AdaBoostClassifier())]).set_params(**params)["ada"].estimator
    assert (base.min_samples_leaf, base.max_depth) == (4, 1)  # AdaBoost's own default depth


def test_parameters_of_other_steps_can_be_searched() -> None:
    space = {"standardscaler__with_mean": CategoricalDistribution([True, False]), "svc__C": C}
    plan = plan_search(make_pipeline(StandardScaler(), SVC()), space, inexperienced("svc"))
    config = {"standardscaler__with_mean": False, "svc__C": 3.0}
    assert plan.params_of(config) == config


def test_an_own_model_serves_an_estimator_outside_the_catalogue() -> None:
    model = knowing(Space({"C": C}))
    plan = plan_search(make_pipeline(LinearSVC(C=5)), model=model)
    assert plan.space.default == {"linearsvc__C": 5.0}
    assert plan.model is model


@pytest.mark.parametrize(
    ("estimator", "space", "message"),
    [
        (Lasso(), None, "Lasso is not among the learners .* give space="),
        (make_pipeline(Lasso()), None, "'lasso__<parameter>'"),
        (SVC(), {"CC": C}, "unknown parameter 'CC'; did you mean 'C'"),
        (make_pipeline(SVC()), {"C": C}, "unknown parameter 'C'; did you mean 'svc__C'"),
        (make_pipeline(SVC()), {"svm__C": C}, "did you mean 'svc__C'"),
        (SVC(), {}, "space is empty"),
    ],
)
def test_says_what_is_wrong_with_a_space(
    estimator: BaseEstimator, space: dict[str, Any] | None, message: str
) -> None:
    model = "default" if space is None else MetaModel.blank()
    with pytest.raises(ValueError, match=message):
        plan_search(estimator, space, model)


def test_a_learner_must_do_the_estimators_task() -> None:
    with pytest.raises(ValueError, match="ridge"):
        plan_search(SVC(), {"C": C}, MetaModel.blank(), learner="ridge")
