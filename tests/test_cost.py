"""The cost of evaluations: what is believed of it, and what counting it is worth."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import optuna
import pandas as pd
import pytest
from numpy.typing import NDArray
from optuna.distributions import IntDistribution
from sklearn.svm import SVC
from valleys import QUICK, SPACE, alone, dataset, evaluated, score

from metahpo import MetaDataset, MetaModel, MetaOptimizer, MetaSampler, MetaSearchCV, Space
from metahpo.bench.histories import HistoryContest, HistoryTable, history_contests
from metahpo.bench.methods.simple import RandomSearch
from metahpo.bench.plan import Budget, Entrant, declared_plan
from metahpo.bench.problem import Problem
from metahpo.bench.ring import Unit, play
from metahpo.growth import SECONDS
from metahpo.portfolio import greedy_portfolio
from metahpo.rehearsal import foretold_seconds
from metahpo.space import Config
from metahpo.surrogate.cost import CostBelief, CostHead, fit_cost
from metahpo.surrogate.features import FeatureNet

Array = NDArray[np.float64]

TS = np.linspace(0, 1, 20)


def seconds(config: Config, t: float) -> float:
    """Ten times as long for a tenth of the rate, or for seven more layers; t makes both steeper.

    The rate that is best on the task t, 10 ** (-2 + t), is dear, most of all where t is small.
    """
    steep = 1.0 + t
    depth = (config["depth"] - 1) / 7 if config["kind"] == "deep" else 0.0
    return float(0.1 * 10 ** (steep * (depth - math.log10(config["rate"])) + 2 * t))


def timed(md: MetaDataset, ts: Array) -> MetaDataset:
    """Add what evaluations took on the tasks `ts`, one percent of them unknown."""
    configs = md.space.from_frame(md.trials)
    where = dict(zip(md.task_ids, ts, strict=True))
    took = [seconds(c, where[t]) for c, t in zip(configs, md.trials["task_id"], strict=True)]
    took[::100] = [math.nan] * len(took[::100])
    return MetaDataset.from_frames(
        md.trials.assign(fit_seconds=took),
        md.tasks,
        space=md.space,
        direction=md.direction,
        info=md.info,
    )


@pytest.fixture(scope="module")
def plain() -> MetaModel:
    return MetaModel.fit(alone(dataset(TS[::4])), device="cpu", options=QUICK)


@pytest.fixture(scope="module")
def model() -> MetaModel:
    return MetaModel.fit(timed(alone(dataset(TS, n=40)), TS), device="cpu", options=QUICK)


def explained(belief: CostBelief, model: MetaModel, configs: list[Config], t: float) -> float:
    """Share of the variation of log seconds on the task t that is foretold, its level too."""
    truth = np.log([seconds(config, t) for config in configs])
    mean, _ = belief.log_seconds(model.cost_features(SPACE.codes(configs)))
    return float(1 - ((truth - mean) ** 2).mean() / truth.var())


# ---------------------------------------------------------------------- what is believed


def test_conditioning_is_that_of_a_dense_gaussian() -> None:
    rng = np.random.default_rng(0)
    n, n_features = 7, 4
    root = rng.normal(size=(n_features, n_features))
    belief = CostBelief(rng.normal(size=n_features), root @ root.T, noise=0.3)
    phi, new = rng.normal(size=(n, n_features)), rng.normal(size=(5, n_features))
    took = rng.lognormal(size=n)
    took[2] = math.nan
    known = [0, 1, 3, 4, 5, 6]
    # all log seconds, old and new, are one Gaussian vector: condition on the known part of it
    both = np.concatenate([phi[known], new])
    mean, K = both @ belief.mean, both @ belief.covariance @ both.T
    old, later = slice(0, 6), slice(6, None)
    gain = K[later, old] @ np.linalg.inv(K[old, old] + 0.3 * np.eye(6))
    expected = mean[later] + gain @ (np.log(took[known]) - mean[old])
    variance = np.diag(K[later, later] - gain @ K[old, later]) + 0.3
    found, sd = belief.given(phi, took).log_seconds(new)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(sd, np.sqrt(variance), rtol=1e-6)
    np.testing.assert_allclose(belief.given(phi, took).seconds(new), np.exp(expected), rtol=1e-5)


def test_trials_one_by_one_are_trials_all_at_once() -> None:
    rng = np.random.default_rng(1)
    belief = CostBelief(rng.normal(size=3), np.eye(3), noise=0.1)
    phi, took = rng.normal(size=(4, 3)), rng.lognormal(size=4)
    steps = belief
    for row, second in zip(phi, took, strict=True):
        steps = steps.given(row[None], np.array([second]))
    at_once = belief.given(phi, took)
    np.testing.assert_allclose(steps.mean, at_once.mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(steps.covariance, at_once.covariance, atol=1e-7)
    nothing = belief.given(phi, np.full(4, math.nan))
    np.testing.assert_allclose(nothing.mean, belief.mean)


def head_of(weights: Array) -> CostHead:
    n_features = weights.shape[1]
    net = FeatureNet((np.zeros((1, 2, n_features - 1)),), (np.zeros((1, n_features - 1)),))
    return CostHead(net, weights, 0.01 * np.eye(n_features), np.eye(n_features), noise=0.1)


def test_meta_features_that_tell_are_used_and_others_are_not() -> None:
    rng = np.random.default_rng(2)
    size = rng.permutation(60).astype(float)
    weights = np.column_stack([size / 30, -size / 20, np.ones(60)]) + 0.01 * rng.normal(
        size=(60, 3)
    )
    telling = head_of(weights).prior(size[:, None], ("size",))
    small, large = (telling.belief({"size": value}).mean for value in (3.0, 56.0))
    assert large[0] - small[0] > 1
    assert small[1] - large[1] > 1
    silent = head_of(weights).prior(rng.normal(size=(60, 5)), tuple("abcde"))
    np.testing.assert_allclose(
        silent.belief({"a": 2.0, "b": -2.0}).mean, weights.mean(0), atol=0.35
    )
    np.testing.assert_allclose(telling.belief(None).mean, weights.mean(0), atol=0.1)
    # what is not foretold is what a new task may differ by
    assert telling.covariance[0, 0] < 0.1 * silent.covariance[0, 0]


def test_a_planted_law_is_found_before_and_after_trials(model: MetaModel) -> None:
    configs = SPACE.sample(60, seed=77)
    first, later, untold = [], [], []
    for t in (0.12, 0.37, 0.63, 0.88):
        belief = model.cost_belief({"told": t})
        tried = configs[:5]
        phi = model.cost_features(SPACE.codes(tried))
        took = np.array([seconds(config, t) for config in tried])
        first.append(explained(belief, model, configs[5:], t))
        later.append(explained(belief.given(phi, took), model, configs[5:], t))
        untold.append(explained(model.cost_belief(), model, configs[5:], t))
    assert min(first) > 0.7
    assert min(later) > 0.9
    assert np.mean(untold) < np.mean(first)


def test_tasks_without_seconds_are_left_out_of_the_head() -> None:
    rng = np.random.default_rng(3)
    X, task = rng.random((90, 2)), np.repeat(np.arange(3), 30)
    took = np.exp(2 * X[:, 0] + task)
    took[task == 1] = math.nan
    head = fit_cost(X, task, took, options=QUICK)
    assert head is not None
    assert np.isnan(head.weights).all(1).tolist() == [False, True, False]
    prior = head.prior(np.empty((3, 0)), ())
    level = prior.belief(None).log_seconds(head.features(X[:30]))[0]
    assert level == pytest.approx(1 + 2 * X[:30, 0], abs=0.3)
    assert fit_cost(X, task, np.where(task == 0, 0.0, math.nan), options=QUICK) is None


# ---------------------------------------------------------------------- what it is worth


def spent(model: MetaModel, t: float, *, aware: bool) -> float:
    """Return the seconds until a regret of 0.05, by a study that may take 40 trials."""
    optimizer = MetaOptimizer(model, {"told": t}, cost_aware=aware)
    total = 0.0
    for _ in range(40):
        config = optimizer.ask()
        total += seconds(config, t)
        optimizer.tell(config, score(config, t), seconds=seconds(config, t))
        if score(config, t) > 0.95:
            return total
    return 2 * total


def test_the_same_regret_takes_less_time(model: MetaModel) -> None:
    ratios = [
        spent(model, t, aware=True) / spent(model, t, aware=False)
        for t in np.linspace(0.1, 0.9, 9)
    ]
    assert np.exp(np.mean(np.log(ratios))) < 0.7


def test_the_portfolio_gains_most_per_cost() -> None:
    utilities = np.array([[0.9, 0.9], [0.6, 0.6], [0.0, 1.0], [0.9, 0.2]])
    weights, cost = np.array([0.5, 0.5]), np.array([9.0, 1.0, 1.0, 9.0])
    assert greedy_portfolio(utilities, weights, 2) == [0, 2]
    # gains per cost: .10 .60 .50 .06, then .03 - .20 .02, then .02 - - .02
    assert greedy_portfolio(utilities, weights, 3, cost=cost) == [1, 2, 0]


def test_seconds_told_are_learned_from(model: MetaModel) -> None:
    configs = SPACE.sample(6, seed=5)
    optimizer = MetaOptimizer(model, {"told": 0.5}, cost_aware=True)
    before = optimizer.predict_seconds(configs)
    for config in configs[:3]:  # a machine a thousand times as fast
        optimizer.tell(config, score(config, 0.5), seconds=seconds(config, 0.5) / 1000)
    optimizer.tell(configs[3], 0.1)
    after = optimizer.predict_seconds(configs)
    optimizer.tell(SPACE.default, 0.5, seconds=math.inf)  # says nothing of what it took
    np.testing.assert_array_equal(optimizer.predict_seconds(configs), after)
    assert (after[3:] < before[3:] / 100).all()
    with pytest.raises(ValueError, match="make it with cost_aware=True"):
        MetaOptimizer(model).predict_seconds(configs)


def test_a_study_is_read_with_its_seconds(model: MetaModel) -> None:
    sampler = MetaSampler(model, meta_features={"told": 0.5}, seed=0, cost_aware=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        config: dict[str, Any] = {
            "rate": trial.suggest_float("rate", 1e-3, 1, log=True),
            "share": trial.suggest_float("share", 0, 1),
            "kind": trial.suggest_categorical("kind", ["plain", "deep"]),
        }
        if config["kind"] == "deep":
            config["depth"] = trial.suggest_int("depth", 1, 9)
        trial.set_user_attr(SECONDS, 100 * seconds(config, 0.5))
        return score(config, 0.5)

    before = MetaOptimizer(model, {"told": 0.5}, cost_aware=True).predict_seconds([SPACE.default])
    study.optimize(objective, n_trials=5)
    after = sampler.optimizer(study).predict_seconds([SPACE.default])
    assert after > 10 * before


# ---------------------------------------------------------------------- where it is kept


def test_a_model_without_seconds_says_so(plain: MetaModel) -> None:
    assert plain.card["n_timed"] == 0
    assert plain.card["seconds"] is None
    for make in (MetaOptimizer, MetaSampler):
        with pytest.raises(ValueError, match=r"trained without seconds.*column fit_seconds"):
            make(plain, cost_aware=True)


def test_the_card_says_how_well_seconds_are_foretold(model: MetaModel, plain: MetaModel) -> None:
    new = np.array([0.12, 0.37, 0.63, 0.88])
    held = timed(dataset(new, n=40), new)
    told = foretold_seconds(model, held)
    assert told is not None
    assert told["n_tasks"] == 4
    assert 0.7 < told["r2"] <= 1
    assert foretold_seconds(plain, held) is None
    assert foretold_seconds(model, dataset(new)) is None


def test_saving_keeps_it(model: MetaModel, plain: MetaModel, tmp_path: Path) -> None:
    model.save(tmp_path / "timed")
    loaded = MetaModel.load(tmp_path / "timed")
    configs = SPACE.sample(9, seed=3)
    expected, found = (
        MetaOptimizer(m, {"told": 0.4}, cost_aware=True).predict_seconds(configs)
        for m in (model, loaded)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert loaded.card["n_timed"] == model.card["n_timed"] == 792
    plain.save(tmp_path / "plain")
    assert MetaModel.load(tmp_path / "plain").experience.cost is None


def test_a_finished_study_teaches_its_seconds(model: MetaModel, tmp_path: Path) -> None:
    configs = SPACE.sample(12, seed=8)
    frame = SPACE.to_frame(configs).assign(score=[score(c, 0.9) for c in configs])
    slow = frame.assign(fit_seconds=[1e6 * seconds(c, 0.9) for c in configs])
    grown = model.update(slow, {"told": 0.9})
    before, after = (
        MetaOptimizer(m, {"told": 0.9}, cost_aware=True).predict_seconds(configs)
        for m in (model, grown)
    )
    assert (after > before).all()
    # one without seconds is a task of which nothing is known, also on disk
    untimed = model.update(frame, {"told": 0.9})
    untimed.save(tmp_path)
    same = MetaOptimizer(MetaModel.load(tmp_path), {"told": 0.9}, cost_aware=True)
    np.testing.assert_allclose(same.predict_seconds(configs), before, rtol=0.2)


def test_a_search_that_only_time_ends_counts_seconds() -> None:
    md = made_up.meta_dataset(4)
    model = MetaModel.fit(
        MetaDataset.from_frames(md.trials.assign(fit_seconds=0.5), space=md.space),
        device="cpu",
        options=QUICK,
    )
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2

    def counts(model: MetaModel, **limits: Any) -> bool:
        search = MetaSearchCV(SVC(), model=model, **limits)
        study = search.open_study(X, y)
        sampler: Any = study.sampler
        return bool(sampler.optimizer(study).cost_aware)

    assert counts(model, n_trials=None, timeout=60)
    assert not counts(model, n_trials=30, timeout=60)
    assert not counts(model)
    assert counts(model, cost_aware=True)
    untimed = replace(model, experience=replace(model.experience, cost=None))
    assert not counts(untimed, n_trials=None, timeout=60)
    with pytest.raises(ValueError, match="trained without seconds"):
        counts(untimed, cost_aware=True)


# ---------------------------------------------------------------------- in the ring


class Clock(RandomSearch):
    """Random search that asks for nothing but the time; another process could import it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen = TAKEN
        self.seen.clear()

    def took(self, seconds: float) -> None:
        self.seen.append(seconds)


class Exact(RandomSearch):
    """Random search that takes more questions than there are candidates for a mistake."""

    def ask(self) -> Config:
        if not self._left:
            raise ValueError("there is nothing left")
        return super().ask()


TAKEN: list[float] = []


def history(folder: Path, ts: Array, took: bool = True) -> Path:
    trials, _ = evaluated(ts, n=20)
    frame = trials.rename(columns={name: f"hp_{name}" for name in SPACE.names})
    if took:
        frame["timetrain"] = 0.3 + frame["hp_share"]
    folder.mkdir()
    frame.to_parquet(folder / "valleys.parquet")
    return folder


def contests(folder: Path) -> list[HistoryContest]:
    plan = declared_plan(
        {"name": "valleys", "histories": str(folder), "seconds": 2.0, "methods": ["random"]}
    )
    return history_contests(plan, folder)


def test_a_history_is_played_against_the_seconds_it_recorded(tmp_path: Path) -> None:
    contest = contests(history(tmp_path / "timed", TS[:5]))[0]
    entrant = Entrant("clock", f"{__name__}:Clock")
    runs = play(Unit(contest, entrant, seed=0, budget=Budget(seconds=2.0)))
    recorded = contest.table.pool(contest.task_id)["fit_seconds"]
    assert set(runs["evaluate_seconds"]) <= set(recorded)
    np.testing.assert_allclose(runs["elapsed"], runs["evaluate_seconds"].cumsum())
    assert (runs["suggest_seconds"] > 0).all()
    assert runs["elapsed"].iloc[-2] < 2.0 <= runs["elapsed"].iloc[-1]
    assert list(runs["evaluate_seconds"]) == TAKEN


def test_a_run_ends_where_all_that_a_history_has_is_tried(tmp_path: Path) -> None:
    contest = contests(history(tmp_path / "timed", TS[:5]))[0]
    entrant = Entrant("exact", f"{__name__}:Exact")
    runs = play(Unit(contest, entrant, seed=0, budget=Budget(seconds=1e9)))
    assert list(runs["status"]) == ["ok"] * 20


def test_a_budget_in_seconds_needs_a_history_that_has_them(tmp_path: Path) -> None:
    folder = history(tmp_path / "untimed", TS[:5], took=False)
    with pytest.raises(ValueError, match=r"'valleys' does not say .* give a budget in trials"):
        contests(folder)


def test_the_space_of_a_history_can_be_stored(tmp_path: Path) -> None:
    frame = pd.DataFrame({"task_id": ["a"] * 3, "hp_rounds": [1, 20, 900], "acc": [0.1, 0.2, 0.3]})
    frame.to_parquet(tmp_path / "wide.parquet")
    space = HistoryTable(str(tmp_path), "wide", "acc").space
    assert space.distributions["rounds"] == IntDistribution(1, 900, log=True)
    assert Space.from_json(space.to_json()) == space


def test_the_command_measures_how_well_seconds_are_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ts = np.linspace(0, 1, 25)
    trials, features = evaluated(ts, n=30)
    where = dict(zip(features.index, ts, strict=True))
    took = [
        seconds(config, where[task])
        for config, task in zip(SPACE.from_frame(trials), trials["task_id"], strict=True)
    ]
    table = trials.rename(columns={name: f"hp_{name}" for name in SPACE.names})
    table.assign(timetrain=took).to_parquet(tmp_path / "valleys.parquet")
    features.rename_axis("task_id").reset_index().to_parquet(
        tmp_path / "valleys_metafeatures.parquet"
    )
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    given = ["cost.py", "--table", "valleys", "--histories", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*given, "--out", str(tmp_path / "out")])
    import_module("cost").main()
    facts = json.loads((tmp_path / "out" / "cost.json").read_text())
    found = pd.DataFrame(facts["rows"], columns=facts["columns"])
    by = found.set_index(["by", "told"])["R²"]
    assert by["task's mean", 0] == 0
    assert 0.6 < by["cost head", 0] < by["cost head", 5] <= 1
