"""Every method on hills and on histories: what it asks, learns, and must not see; the file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import benching
import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from metahpo import MetaDataset, Space
from metahpo.bench.histories import HistoryTable, history_contests
from metahpo.bench.methods import find_method, methods
from metahpo.bench.methods.earlier import (
    earlier_tasks,
    greedy_picks,
    nearest_picks,
    standings,
)
from metahpo.bench.plan import Plan, declared_plan, load_plan
from metahpo.bench.problem import Knowledge, Problem
from metahpo.bench.run import Session, run_benchmark
from metahpo.bench.runs import UNIT, read_runs

PEERS = ("halving", "flaml_zero_shot", "smac")  # see test_bench_peers.py
HERE = ("metahpo", "zero_shot", "random", "tpe", "gp", "tpe_default", "gp_default", "cmaes")
EARLIER = ("portfolio", "portfolio_gp", "nearest", "rgpe")


def hill(seed: int = 0) -> Problem:
    """The first hill, with earlier ones that have meta-features."""
    earlier = benching.hills(1)[0].problem(0, 5).evaluations
    features = pd.DataFrame({"where": [0.0, 1.0, 2.0]}, index=["0", "1", "2"])
    told = MetaDataset.from_frames(earlier.trials, features, space=benching.SPACE)
    problem = benching.hills(1)[0].problem(seed, 12)
    knowledge = Knowledge(problem.knowledge.model, lambda: told, lambda: {"where": 2.5})
    return Problem(benching.SPACE, "maximize", "height", seed, 12, knowledge)


def climb(name: str, seed: int = 0, n: int = 12) -> list[tuple[dict, float]]:
    problem = hill(seed)
    tuner = find_method(name).make(problem)
    trials = []
    for _ in range(n):
        config = problem.space.validate(tuner.ask())
        score = benching.hills(1)[0].evaluate(config).score
        tuner.tell(config, score)
        trials.append((config, score))
    return trials


def test_all_methods_are_tested() -> None:
    assert sorted(methods) == sorted([*HERE, *EARLIER, *PEERS])


@pytest.mark.parametrize("name", [*HERE, *EARLIER])
@pytest.mark.filterwarnings("ignore")
def test_a_method_asks_for_what_the_space_holds(name: str) -> None:
    trials = climb(name)
    assert trials == climb(name)
    finite = [score for _, score in trials if not math.isnan(score)]
    if methods[name].from_default:
        assert trials[0][0] == benching.SPACE.default
    if name in EARLIER:  # the earlier tops are within 0.1 of this one
        assert max(finite) > 0.93


@pytest.mark.parametrize("name", [name for name in methods if methods[name].on_candidates])
@pytest.mark.filterwarnings("ignore")
def test_a_method_learns_from_what_it_did_not_ask_for(name: str) -> None:
    problem = hill()
    tuner = find_method(name).make(problem)
    for config in problem.space.sample(12, seed=3):
        tuner.ask()
        tuner.tell(config, benching.hills(1)[0].evaluate(config).score)
    problem.space.validate(tuner.ask())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpa", "unknown method 'tpa'; did you mean 'tpe'?"),
        ("nowhere:Nothing", "'nowhere:Nothing' cannot be imported: No module named 'nowhere'"),
        ("benching:Nothing", "cannot be imported: module 'benching' has no attribute 'Nothing'"),
        ("benching:Hill", "has no ask and tell, and is no Optuna sampler"),
    ],
)
def test_a_method_that_is_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        find_method(name)
    assert message in str(caught.value)


def test_a_sampler_is_a_method_as_it_is() -> None:
    import optuna

    sampler = optuna.samplers.RandomSampler(seed=5)
    study = optuna.create_study(sampler=sampler)
    expected = [study.ask({"x": FloatDistribution(0, 1)}).params["x"] for _ in range(3)]
    space = Space({"x": FloatDistribution(0, 1)})
    problem = Problem(space, "minimize", "score", 5, 3, hill().knowledge)
    tuner = find_method("optuna.samplers:RandomSampler").make(problem)
    assert [tuner.ask()["x"] for _ in range(3)] == expected


# ---------------------------------------------------------------------- earlier tasks


def test_standings_are_looked_up_and_else_predicted() -> None:
    problem = hill()
    trials = problem.evaluations.trials
    configs = problem.space.from_frame(trials)
    table = standings(configs, problem.evaluations)  # (3, 24)
    for row, (_, own) in zip(table, trials.groupby("task_id"), strict=True):
        scores = own["score"].to_numpy()
        high, low = scores.max(), scores.min()
        assert low > high - 5 * (high - np.median(scores))  # so nothing is junk
        expected = (scores - low) / (high - low)
        assert row[own.index] == pytest.approx(expected)
    assert ((table >= 0) & (table <= 1)).all()
    new = problem.space.sample(5, seed=0)
    assert (standings(new, problem.evaluations) >= 0).all()


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_an_earlier_task_with_a_diverged_score_counts_like_any(direction: str) -> None:
    """Two tasks with opposite tastes; in one, a configuration diverged."""
    sign = 1 if direction == "maximize" else -1
    x = np.linspace(0, 1, 11)
    likes = {"low": 1 - x, "high": x.copy()}
    likes["low"][10] = -1e10
    likes["high"][5] = np.nan
    rows = [
        {"task_id": task, "x": at, "score": sign * score}
        for task, scores in likes.items()
        for at, score in zip(x, scores, strict=True)
    ]
    space = Space({"x": FloatDistribution(0, 1)})
    past = MetaDataset.from_frames(pd.DataFrame(rows), space=space, direction=direction)
    low, high = standings([{"x": float(at)} for at in x], past)
    cut = 1 - 5 * 0.5  # the median of the task that has junk is 0.5
    assert low[:10] == pytest.approx((likes["low"][:10] - cut) / (1 - cut))
    assert (low[10], high[5]) == (0, 0)
    assert high[[0, 10]] == pytest.approx([0, 1])
    assert [earlier.y.min() for earlier in earlier_tasks(past)] == [0, 0]


def test_the_portfolio_is_greedy() -> None:
    problem = hill()
    configs = list(problem.space.from_frame(problem.evaluations.trials))
    table = standings(configs, problem.evaluations)
    picks = greedy_picks(problem, 4)
    best = np.zeros(3)
    for pick in picks:
        gains = np.maximum(table, best[:, None]).mean(0)
        at = int(np.argmin([abs(config["x"] - pick["x"]) for config in configs]))
        assert gains[at] == pytest.approx(gains.max())
        best = np.maximum(best, table[:, at])


def test_the_nearest_tasks_come_first() -> None:
    problem = hill()  # where = 2.5: task 2, then 1, then 0
    trials = problem.evaluations.trials
    order = [trials.loc[trials.loc[trials["task_id"] == task, "score"].idxmax()] for task in "210"]
    picks = nearest_picks(problem, 3)
    assert [pick["x"] for pick in picks] == pytest.approx([row["x"] for row in order])


# ---------------------------------------------------------------------- histories


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables: ten tasks that share 15 configurations, and six with some of their own."""
    folder = tmp_path_factory.mktemp("histories")
    rng = np.random.default_rng(0)
    for name, n_tasks, shared in (("common", 10, True), ("own", 6, False)):
        rows = []
        for task in range(n_tasks):
            draws = np.random.default_rng(7 if shared else task)
            for config in range(15):
                kind = ["a", "b"][draws.integers(2)]
                x, depth = draws.random(), draws.integers(1, 6)
                score = 0.9 - (x - 0.1 * (task % 3)) ** 2 - 0.05 * (kind == "b")
                rows.append(
                    {
                        "task_id": 100 + task,
                        "config_id": config,
                        "hp_kind": kind,
                        "hp_x": x,
                        "hp_depth": depth if kind == "b" else np.nan,
                        "acc": score,
                        "logloss": 1 - score,
                        "timetrain": 0.5,
                    }
                )
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
        features = pd.DataFrame(
            {
                "task_id": 100 + np.arange(n_tasks),
                "size": np.arange(n_tasks) % 3 + rng.random(n_tasks) / 10,
                "family": [f"f{task // 2}" for task in range(n_tasks)],
            }
        )
        features.to_parquet(folder / f"{name}_metafeatures.parquet")
    return folder


def history_plan(folder: Path, **keys: object) -> Plan:
    given = {"name": "h", "histories": str(folder), "methods": ["random"], "trials": 15}
    return declared_plan({**given, "seeds": 1, "n_folds": 3, "folds": [0, 1, 2], **keys})


def test_what_a_history_says_of_its_space(folder: Path) -> None:
    space = HistoryTable(str(folder), "common", "acc").space
    assert space.names == ("kind", "x", "depth")
    assert space.conditions == {"depth": ("kind", ("b",))}
    default = HistoryTable(str(folder), "common", "acc", '{"kind": "b", "x": 0.0}').space.default
    assert default["kind"] == "b"
    assert default["x"] == space.distributions["x"].low
    with pytest.raises(ValueError, match=r"defaults of 'common' name 'y', which it has not"):
        _ = HistoryTable(str(folder), "common", "acc", '{"y": 0.0}').space
    assert HistoryTable(str(folder), "common", "logloss").direction == "minimize"


def test_a_task_counts_whatever_of_it_failed_and_in_any_unit(folder: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(folder / "common.parquet")
    table["neg_log_loss"] = -1e-12 * table["logloss"]
    table.loc[table.groupby("task_id").head(1).index, "neg_log_loss"] = np.nan
    table.loc[table["task_id"] == 109, "neg_log_loss"] = 1.0  # nothing to find
    table.to_parquet(tmp_path / "units.parquet")
    history = HistoryTable(str(tmp_path), "units", "neg_log_loss")
    assert history.direction == "maximize"
    assert set(history.frame["task_id"]) == {str(100 + task) for task in range(9)}
    assert history.frame["score"].isna().sum() == 9


def test_families_stay_together_and_out_of_what_is_learned_from(folder: Path) -> None:
    contests = history_contests(history_plan(folder), Path("models"))
    assert len(contests) == 16
    for contest in contests:
        earlier = set(contest.problem(0, 5).evaluations.task_ids)
        family = {contest.task_id, str(int(contest.task_id) ^ 1)}  # 100 and 101, 102 and 103, …
        assert not family & earlier
        expected = 10 if contest.learner == "common" else 6
        fellows = [c for c in contests if (c.learner, c.fold) == (contest.learner, contest.fold)]
        assert len(earlier) + len(fellows) == expected
    few = history_contests(history_plan(folder, held_out=2, tables=["own"]), Path("models"))
    assert len(few) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("table", ["common", "own"])
def test_everybody_tries_what_there_is_once_each(table: str, folder: Path, tmp_path: Path) -> None:
    names = [name for name in methods if methods[name].on_candidates]
    if table == "own":  # a model takes seconds to train; one table's will do
        names = [name for name in names if not methods[name].needs_model]
    plan = history_plan(folder, methods=names, held_out=1, tables=[table])
    said: list[str] = []
    run_benchmark(plan, tmp_path, Session(say=said.append))
    assert said == ["meta-model 1 of 1 is trained"] * (table == "common")
    runs = read_runs([tmp_path])
    for _, unit in runs.groupby(["task_id", "learner", *UNIT[2:]]):
        frame = pd.read_parquet(folder / f"{table}.parquet")
        known = frame[frame["task_id"].astype(str) == unit["task_id"].iloc[0]]
        assert (unit["status"] == "ok").all(), unit["error"].iloc[-1]
        assert sorted(unit["score"]) == pytest.approx(sorted(known["acc"]))
        assert unit["config"].nunique() == 15
        assert unit["best"].iloc[-1] == unit["optimum"].iloc[0] == known["acc"].max()
        assert unit["worst"].iloc[0] == known["acc"].min()
        assert (unit["evaluate_seconds"] == 0.5).all()
        tried = json.loads(unit["config"].iloc[0])
        assert ("depth" in tried) == (tried["kind"] == "b")
    again: list[str] = []
    run_benchmark(plan, tmp_path, Session(say=again.append))
    assert not again


def test_the_worse_is_minimised(folder: Path, tmp_path: Path) -> None:
    plan = history_plan(folder, metric="logloss", held_out=1, tables=["common"], trials=4)
    run_benchmark(plan, tmp_path)
    runs = read_runs([tmp_path])
    assert set(runs["direction"]) == {"minimize"}
    assert list(runs["best"]) == list(runs["score"].cummin())
    assert runs["optimum"].iloc[0] < runs["worst"].iloc[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tables": ["nothing"]}, "there is no history .*nothing.parquet"),
        ({"histories": "/nowhere"}, "there are no histories in /nowhere"),
        ({"metric": "auc"}, "the history 'common' has no column 'auc'"),
    ],
)
def test_a_history_that_is_not_there(keys: dict, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        history_contests(history_plan(folder, **keys), Path("models"))


# ---------------------------------------------------------------------- the file

PLAN = 'datasets = ["iris"]\nlearners = ["svc"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets = ", "is not TOML"),
        (PLAN + "trails = 3", "unknown key 'trails'; known are"),
        ("seeds = 3\n[source]\nkind = 'sinusoid'", "few-shot learning; see `metahpo fewshot"),
        (PLAN + 'suite = "99"', "give one of suite, tasks, datasets, histories; there is suite"),
        ('learners = ["svc"]', "give one of suite, tasks, datasets, histories; there is none"),
        ('datasets = ["iris"]', "the key 'learners' is missing"),
        (PLAN + 'trials = "many"', "trials is 'many'; an integer is needed"),
        (PLAN + "trials = true", "trials is True; an integer is needed"),
        (PLAN + "trials = 0", "trials is 0; it must be at least 1"),
        (PLAN + "trials = 3\nseconds = 4", "give either trials or seconds, not both"),
        (PLAN + "seconds = 0", "seconds is 0; it must be positive"),
        (PLAN + "seeds = [1, 1]", "seeds must be how many, or a list of different numbers"),
        (PLAN + "seeds = 0", "seeds must be how many"),
        (PLAN + 'folds = ["a"]', "folds is ['a']; a list of integers is needed"),
        (PLAN + "methods = []", "methods is empty"),
        (PLAN + "methods = [1]", "methods is [1]; a list of texts or tables is needed"),
        (PLAN + 'methods = ["tpe", "tpe"]', "methods holds 'tpe' twice"),
        (PLAN + 'methods = ["tpo"]', "unknown method 'tpo'; did you mean 'tpe'"),
        (PLAN + 'baseline = "gp"', "baseline is 'gp', which is not among the methods"),
        (PLAN + 'metric = "acuracy"', "metric 'acuracy' is not one of scikit-learn's scorers"),
        (PLAN + "held_out = 3", "the key 'held_out' means nothing together with 'datasets'"),
        (PLAN + 'model = "mine"', "the key 'evaluations' is missing"),
        ('histories = "x"\nmethods = ["cmaes"]', "'cmaes', which cannot run on histories"),
        ('histories = "x"\nmax_rows = 50', "the key 'max_rows' means nothing together with"),
    ],
)
def test_a_file_with_a_mistake(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^") as caught:
        load_plan(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_declaration_survives_its_record(tmp_path: Path) -> None:
    for text in (
        PLAN + 'methods = ["tpe", { name = "wide", method = "tpe", n_ei_candidates = 99 }]',
        'histories = "x"\nheld_out = 3\n[defaults.y]\nz = 1\n',
    ):
        path = tmp_path / "plan.toml"
        path.write_text(text)
        plan = load_plan(path)
        recorded = json.loads(json.dumps(plan.to_json()))
        kept = {name: value for name, value in recorded.items() if value not in (None, [], {})}
        assert declared_plan(kept) == plan
