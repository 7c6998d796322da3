"""Peers from other libraries, against those libraries themselves; and how the ring counts."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import benching
import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, StratifiedKFold

from metahpo import Space, learners
from metahpo.bench.contest import Contest
from metahpo.bench.gathering import gather
from metahpo.bench.methods import find_method, methods
from metahpo.bench.plan import Budget, Entrant, declared_plan
from metahpo.bench.problem import Glimpse, Knowledge, Problem, Table
from metahpo.bench.ring import Unit, play
from metahpo.bench.runs import PARTIAL
from metahpo.bench.store import Store
from metahpo.collect.tables import read_table

# ---------------------------------------------------------------------- how glimpses count


def peep(shares: list[float], budget: Budget, seed: int = 0) -> pd.DataFrame:
    entrant = Entrant("peeping", "benching:Peeping", {"shares": shares})
    return play(Unit(benching.hills(1)[0], entrant, seed, budget))


@pytest.mark.parametrize("shares", [[], [0.5, 0.5], [0.3], [0.1] * 23, [1 / 3, 1 / 9, 0.9]])
@pytest.mark.parametrize("trials", [1, 4, 9])
def test_glimpses_are_paid_for_by_their_share(shares: list[float], trials: int) -> None:
    runs = peep(shares, Budget(trials=trials))
    assert list(runs["trial"]) == list(range(1, trials + 1))
    # a whole trial counts in the row within which it is finished
    exact = [*(Fraction(share).limit_denominator(1000) for share in shares), Fraction(1)]
    spent, rows = Fraction(0), []
    while spent <= trials:
        spent += sum(exact)
        rows.append(math.ceil(spent))
    assert list(runs.loc[runs["status"] == "ok", "trial"]) == [
        row for row in rows if row <= trials
    ]
    partial = runs["status"] == PARTIAL
    assert runs["score"].isna().equals(partial)
    assert runs["config"].isna().equals(partial)
    assert (runs["score"].dropna() <= 1).all()  # a glimpse's score would be above 9
    pd.testing.assert_series_equal(runs["best"], runs["score"].cummax().ffill(), check_names=False)
    assert runs["evaluate_seconds"].sum() <= trials * 0.01 + 1e-9
    seconds = (runs["suggest_seconds"] + runs["evaluate_seconds"]).cumsum()
    assert runs["elapsed"].to_numpy() == pytest.approx(seconds.to_numpy())


def test_glimpses_on_a_budget_in_seconds() -> None:
    runs = peep([0.25], Budget(seconds=0.2))
    assert runs["elapsed"].iloc[-1] >= 0.2
    assert runs["elapsed"].iloc[-2] < 0.2
    assert set(runs["status"]) == {"ok", PARTIAL}


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"the share of a glimpse is 1\.5"):
        Glimpse({}, 1.5)
    runs = peep([2.0], Budget(trials=2))
    assert list(runs["status"]) == ["crashed", "crashed"]


# ---------------------------------------------------------------------- halving


class Real(ClassifierMixin, BaseEstimator):
    """The catalogue's k-nearest neighbours as an estimator with one parameter."""

    def __init__(self, config: dict | None = None) -> None:
        self.config = config

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Real:
        self.fitted_ = learners["k_neighbors"].make(self.config).fit(X, y)
        self.classes_ = self.fitted_.classes_
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return self.fitted_.predict(X)


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    plan = declared_plan(
        {"name": "w", "datasets": ["wine"], "learners": ["k_neighbors"], "methods": ["halving"]}
    )
    folder = tmp_path_factory.mktemp("wine")
    with Store(folder).opened(plan, "test", 1, resume=True) as store:
        (contest,) = gather(plan, store, print).contests
    return contest


def rounds(contest: Contest, **settings) -> tuple[list[dict], list[float], list[float], dict]:
    """Play one search: the configurations, shares and scores of its rounds, and its winner."""
    tuner = find_method("halving").make(contest.problem(0, 30), **settings)
    configs, shares, scores = [], [], []
    while isinstance(asked := tuner.ask(), Glimpse):
        score = contest.glimpse(asked.config, asked.share).score
        tuner.tell(asked.config, score)
        configs.append(asked.config)
        shares.append(asked.share)
        scores.append(score)
    return configs, shares, scores, asked


@pytest.mark.parametrize("settings", [{}, {"n_candidates": 5, "min_resources": "exhaust"}])
@pytest.mark.filterwarnings("ignore")  # 21 neighbours of 11 rows: a failure, in both
def test_halving_is_what_scikit_learn_does(wine: Contest, settings: dict) -> None:
    configs, shares, scores, winner = rounds(wine, **settings)
    X, y = read_table(wine.part.train)
    n_first = shares.count(shares[0])
    search = HalvingRandomSearchCV(
        Real(),
        {"config": configs[:n_first]},  # all of them: what is drawn is not the matter here
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        random_state=0,
        refit=False,
        **{"n_candidates": n_first, **settings},
    ).fit(X, y.to_numpy())
    expected = pd.DataFrame(search.cv_results_)
    assert sorted(set(shares)) == pytest.approx(np.array(search.n_resources_) / len(y))
    assert [shares.count(share) for share in dict.fromkeys(shares)] == search.n_candidates_
    if not settings:  # scikit-learn's rule: how many are drawn where the number is its own
        assert n_first == len(y) // (3 * 2 * 3)
    told = {
        (json.dumps(config), round(share * len(y))): score
        for config, share, score in zip(configs, shares, scores, strict=True)
    }
    for row in expected.itertuples():
        score = told[json.dumps(row.params["config"]), row.n_resources]
        assert score == pytest.approx(row.mean_test_score, nan_ok=True)
    last = expected[expected["iter"] == expected["iter"].max()]
    best = last[last["mean_test_score"] == last["mean_test_score"].max()]
    assert winner in [params["config"] for params in best["params"]]
    if not settings:
        assert np.isnan(scores).any()


def test_halving_searches_again_while_the_budget_lasts(wine: Contest) -> None:
    runs = play(Unit(wine, Entrant("halving", "halving"), 0, Budget(trials=9)))
    again = play(Unit(wine, Entrant("halving", "halving"), 0, Budget(trials=9)))
    assert list(runs["config"].fillna("")) == list(again["config"].fillna(""))
    whole = runs[runs["status"] == "ok"]
    assert len(whole) >= 2
    assert whole["config"].nunique() == len(whole)
    for row in whole.itertuples():  # what counts is the score on all rows
        assert row.score == wine.evaluate(json.loads(row.config)).score


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_halving_respects_conditions_and_survives_failures() -> None:
    problem = benching.hills(1)[0].problem(0, 30)
    tuner = find_method("halving").make(problem)
    seen = []
    for number in range(40):
        asked = tuner.ask()
        config = asked.config if isinstance(asked, Glimpse) else asked
        assert problem.space.validate(config) == config
        seen.append(config["kind"])
        tuner.tell(config, math.nan if number % 3 == 0 else config["x"])
    assert set(seen) == {"flat", "bent"}


def test_halving_needs_a_table() -> None:
    knowledge = Knowledge(model=None, evaluations=None, describe=dict)
    problem = Problem(benching.SPACE, "maximize", "score", 0, 5, knowledge)
    with pytest.raises(ValueError, match="this problem has no table"):
        find_method("halving").make(problem)
    with pytest.raises(ValueError, match="'halving', which cannot run on histories"):
        declared_plan({"name": "h", "histories": "x", "methods": ["halving"]})


# ---------------------------------------------------------------------- FLAML


def table_of(learner: str, n_columns: int = 6) -> Problem:
    """A problem with a table of 200 rows."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, n_columns))).rename(columns=str)
    found = learners[learner]
    y = pd.Series(rng.integers(0, 2, 200) if found.task == "classification" else X["0"] ** 2)
    knowledge = Knowledge(None, None, dict, lambda: Table(X.assign(a=["u", "v"] * 100), y, 3))
    return Problem(found.space, "maximize", "score", 0, 9, knowledge, learner=found)


@pytest.mark.parametrize(
    ("learner", "estimator"),
    [
        ("lightgbm", "lgbm"),
        ("lightgbm_regressor", "lgbm"),
        ("xgboost", "xgb_limitdepth"),
        ("random_forest", "rf"),
        ("extra_trees_regressor", "extra_tree"),
    ],
)
def test_flaml_suggests_first_what_it_suggests(learner: str, estimator: str) -> None:
    flaml = pytest.importorskip("flaml.default")
    problem = table_of(learner)
    table, space = problem.table, problem.space
    tuner = find_method("flaml_zero_shot").make(problem)
    asked = [space.validate(tuner.ask()) for _ in range(12)]
    task = problem.learner.task
    params, kind = flaml.suggest_hyperparams(task, table.X, table.y, estimator)
    assert kind is problem.learner.estimator_class
    for name, value in problem.learner.params_of(asked[0]).items():
        distribution = space.distributions[name]
        wanted = params.get(name, space.default.get(name, value))
        if isinstance(distribution, FloatDistribution | IntDistribution) and wanted is not None:
            wanted = (
                wanted
                if isinstance(wanted, str)
                else np.clip(wanted, distribution.low, distribution.high)
            )
        assert value == (wanted if isinstance(wanted, str) else pytest.approx(wanted, rel=1e-6))
    distinct = {json.dumps(config) for config in asked}
    assert len(distinct) == 12


def test_flaml_has_no_portfolio_for_most() -> None:
    pytest.importorskip("flaml")
    with pytest.raises(ValueError, match="FLAML has no portfolio for 'svc'; it has lightgbm, xg"):
        find_method("flaml_zero_shot").make(table_of("svc"))
    given = {"name": "f", "datasets": ["iris"], "methods": ["random", "flaml_zero_shot"]}
    declared_plan({**given, "learners": ["extra_trees_regressor", "xgboost"]})
    with pytest.raises(ValueError, match="'flaml_zero_shot', which cannot tune 'mlp', only light"):
        declared_plan({**given, "learners": ["xgboost", "mlp"]})


# ---------------------------------------------------------------------- SMAC

MIXED = Space(
    {
        "kind": CategoricalDistribution([None, "a", True, 0.5]),
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "step": FloatDistribution(0.0, 1.0, step=0.25),
        "size": IntDistribution(1, 64, log=True),
        "depth": IntDistribution(2, 8, step=2),
        "fixed": FloatDistribution(3.0, 3.0),
    },
    conditions={"rate": ("kind", ["a", True]), "depth": ("size", [1, 2, 3])},
    default={"kind": None, "step": 0.5, "size": 8, "fixed": 3.0},
)


def smac_on(problem: Problem, n: int, score) -> list[dict]:
    tuner = find_method("smac").make(problem)
    asked = []
    for _ in range(n):
        asked.append(problem.space.validate(tuner.ask()))
        tuner.tell(asked[-1], score(asked[-1]))
    return asked


@pytest.mark.filterwarnings("ignore")
def test_smac_knows_the_space() -> None:
    smac = pytest.importorskip("metahpo.bench.methods.smac")
    pytest.importorskip("ConfigSpace")
    translated = smac.to_configspace(MIXED)
    for drawn in translated.sample_configuration(50):
        values = dict(drawn)
        kind = MIXED.distributions["kind"].choices[values["kind"]]
        named = {**values, "kind": kind}
        assert sorted(values) == sorted(MIXED.active(named))


@pytest.mark.filterwarnings("ignore")
def test_smac_learns_from_scores_and_from_failures() -> None:
    pytest.importorskip("smac")
    knowledge = Knowledge(None, None, dict)
    problem = Problem(MIXED, "minimize", "loss", 3, 24, knowledge)

    def loss(config: dict) -> float:
        return math.nan if config["size"] > 32 else (config["step"] - 0.25) ** 2 + config["size"]

    asked = smac_on(problem, 20, loss)
    assert asked[0] == MIXED.default
    # what it asks for depends on its clock, too; a space of few values makes it repeat itself
    assert len({json.dumps(config) for config in asked}) >= 10
    late = [loss(config) for config in asked[12:]]
    assert np.nanmin(late) < np.nanmedian([loss(config) for config in asked[:6]])
    assert smac_on(problem, 8, loss) == asked[:8]


def test_the_peers_are_the_optional_ones() -> None:
    optional = {name: method.package for name, method in methods.items() if method.package}
    assert optional == {"cmaes": "cmaes", "flaml_zero_shot": "flaml", "smac": "smac"}
