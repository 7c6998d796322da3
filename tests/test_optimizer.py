"""MetaOptimizer: asked and told on tasks with known optima, kind and unkind."""

from __future__ import annotations

import math
import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from valleys import SPACE, alone, dataset, quick_fit, regret, score

from metahpo import MetaModel, MetaOptimizer, Space
from metahpo.proposals import Proposals
from metahpo.space import Config
from metahpo.training import Experience
from metahpo.transfer import Transfer


@pytest.fixture(scope="module")
def model() -> MetaModel:
    return quick_fit(alone(dataset(np.linspace(0, 1, 20))))


def tune(optimizer: MetaOptimizer, n: int, t: float, sign: float = 1.0) -> list[Config]:
    """Tune on the task t for `n` trials."""
    tried = []
    for _ in range(n):
        config = optimizer.ask()
        optimizer.tell(config, sign * score(config, t))
        tried.append(config)
    return tried


# ---------------------------------------------------------------------- ask and tell


def test_what_is_asked_is_valid_new_and_the_callers_to_change(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model, {"told": 0.4})
    seen = set()
    for _ in range(8):
        config = optimizer.ask()
        assert SPACE.validate(config) == config
        seen.add(repr(config))
        told = dict(config)
        config["rate"] = -1.0
        optimizer.tell(told, score(told, 0.4))
    assert len(seen) == 8
    assert len(optimizer.trials) == 8


def test_the_first_trials_are_the_portfolio(model: MetaModel) -> None:
    features = {"told": 0.8}
    assert MetaOptimizer(model, features).ask() == model.suggest(features, 1)[0]
    # batches too: nothing is known yet of what the first of them will show
    assert MetaOptimizer(model, features).ask(3) == model.suggest(features, 3)


@pytest.mark.parametrize("told", [0, 1, 5])
def test_a_batch_holds_different_configurations(model: MetaModel, told: int) -> None:
    optimizer = MetaOptimizer(model)
    tune(optimizer, told, 0.3)
    batch = optimizer.ask(4)
    assert len({repr(config) for config in batch}) == 4
    assert not {repr(c) for c in batch} & {repr(config) for config, _ in optimizer.trials}
    assert optimizer.ask() not in batch
    for config in reversed(batch):  # results come back in any order
        optimizer.tell(config, score(config, 0.3))
    assert len(optimizer.trials) == told + 4


def test_a_batch_that_is_too_large_leaves_nothing_awaited(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model, candidates=SPACE.to_frame(SPACE.sample(3, seed=9)))
    with pytest.raises(ValueError, match="all 3 candidates have been tried"):
        optimizer.ask(5)
    assert len(optimizer.ask(3)) == 3


@pytest.mark.parametrize("n", [0, -1])
def test_a_batch_of_none_is_refused(model: MetaModel, n: int) -> None:
    with pytest.raises(ValueError, match=f"^n is {n}; give 1 or more$"):
        MetaOptimizer(model).ask(n)


def test_what_has_begun_elsewhere_is_not_asked_again(model: MetaModel) -> None:
    first = MetaOptimizer(model).ask()
    optimizer = MetaOptimizer(model)
    optimizer.begin(first)
    assert optimizer.ask() != first
    with pytest.raises(ValueError, match="unknown parameter 'rat'; did you mean 'rate'"):
        optimizer.begin({"rat": 1.0})


def test_trials_that_were_not_asked_for_count(model: MetaModel) -> None:
    after, chance = [], []
    for t in (0.1, 0.3, 0.5, 0.7, 0.9):
        optimizer = MetaOptimizer(model)
        for config in SPACE.sample(10, seed=3):
            optimizer.tell(config, score(config, t))
        assert optimizer.best is not None
        assert optimizer.best[1] == max(score(config, t) for config, _ in optimizer.trials)
        after.append(regret([optimizer.ask()], t))
        chance += [regret([config], t) for config in SPACE.sample(20, seed=4)]
    assert np.mean(after) < 0.6 * np.mean(chance)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rates": 0.1}, "unknown parameter 'rates'; did you mean 'rate'"),
        ({"rate": 2.0}, r"sets rate=2.0, outside \[0.001, 1.0\]"),
        ({"kind": "plain", "depth": 3}, "sets 'depth', which is active only where kind is 'deep'"),
        ({"rate": True}, "sets rate=True; a number is needed"),
        ({"kind": "flat"}, "kind='flat'; the choices are 'plain', 'deep'"),
    ],
)
def test_what_the_space_cannot_hold_is_not_taken(
    model: MetaModel, config: Config, message: str
) -> None:
    optimizer = MetaOptimizer(model)
    with pytest.raises(ValueError, match=message):
        optimizer.tell(config, 0.5)
    assert optimizer.trials == []


def test_a_configuration_may_lack_parameters(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model)
    for config in ({"rate": 0.01}, {"share": 0.4, "kind": "deep"}, {}, {"rate": 0.02}):
        optimizer.tell(config, score({"rate": 0.5, "kind": "plain", "depth": 1} | config, 0.4))
        assert SPACE.validate(optimizer.ask())
    assert optimizer.best is not None


def test_the_seed_decides(model: MetaModel) -> None:
    asked = [tune(MetaOptimizer(model, {"told": 0.2}, seed=s), 23, 0.2) for s in (5, 5, 6)]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]
    assert tune(MetaOptimizer(model, seed=None), 2, 0.2)


def test_where_earlier_tasks_help_what_they_have_tried_comes_first(model: MetaModel) -> None:
    def new(configs: list[Config]) -> list[bool]:
        return [config not in [*model.pool, SPACE.default] for config in configs]

    helped = new(tune(MetaOptimizer(model, {"told": 0.4}), 24, 0.4))
    assert not any(helped[:10])
    assert any(helped)
    # where they have tried little, that is soon used up
    little = replace(model, experience=shortened(model.experience, 20))
    assert any(new(tune(MetaOptimizer(little, {"told": 0.4}), 14, 0.4)))
    # upside down, what was good is bad, and after a few trials nothing speaks for it
    misled = new(tune(MetaOptimizer(model, {"told": 0.4}), 12, 0.4, sign=-1.0))
    assert any(misled[3:])


def shortened(experience: Experience, n: int) -> Experience:
    """Let the training tasks have tried only the first `n` of their configurations."""
    return replace(experience, pool=experience.pool[:n], memory=experience.memory[:n])


def test_how_far_earlier_tasks_have_tried_a_space(model: MetaModel) -> None:
    def coverage(**others: Any) -> float:
        space = Space(SPACE.distributions | others, SPACE.conditions)
        return Proposals(model, space, Transfer(space, SPACE), np.random.default_rng(0)).coverage

    deep = np.mean([config["kind"] == "deep" for config in model.pool])
    assert coverage() == 1.0
    assert coverage(kind=CategoricalDistribution(["deep"])) == pytest.approx(deep)
    assert 0.0 < coverage(rate=FloatDistribution(1e-2, 1e-1, log=True)) < 1.0
    assert coverage(rate=FloatDistribution(1e-4, 1.0, log=True)) == 0.0
    assert coverage(new=FloatDistribution(0.0, 1.0)) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_what_is_asked_promises_more_than_any_of_very_many_configurations(seed: int) -> None:
    model = MetaModel.load("default", learner="hist_gradient_boosting")
    configs = model.space.sample(24, seed=seed)
    X = model.space.encode(configs)
    scores = -((X - 0.4) ** 2).sum(1)
    optimizer = MetaOptimizer(model, seed=seed)
    for config, told in zip(configs, scores, strict=True):
        optimizer.tell(config, told)
    belief = model.prior().condition(model.encode(configs), X, scores)

    def promise(configs: list[Config]) -> float:
        X = model.space.encode(configs)
        return float(belief.expected_improvement(model.encode(configs), X).max())

    assert promise([optimizer.ask()]) > promise(model.space.sample(20_000, seed=100 + seed))


# ---------------------------------------------------------------------- scores


@pytest.mark.parametrize("failure", [math.nan, math.inf, -math.inf])
def test_a_failed_trial_is_learned_from_and_never_the_best(
    model: MetaModel, failure: float
) -> None:
    optimizer = MetaOptimizer(model)
    first = optimizer.ask()
    optimizer.tell(first, failure)
    assert optimizer.best is None
    assert optimizer.ask() != first
    for config in SPACE.sample(12, seed=1):
        failed = config["kind"] == "deep"
        optimizer.tell(config, failure if failed else score(config, 0.5))
    assert optimizer.best is not None
    assert optimizer.best[0]["kind"] == "plain"
    assert math.isfinite(optimizer.best[1])
    # one kind fails whenever it is tried: it is hardly asked for, whatever the earlier tasks say
    kinds = []
    for _ in range(9):
        config = optimizer.ask()
        kinds.append(config["kind"])
        optimizer.tell(config, failure if kinds[-1] == "deep" else score(config, 0.5))
    assert kinds[0] == "plain"
    assert kinds.count("plain") >= 7


@pytest.mark.parametrize(
    ("score", "seconds", "message"),
    [
        (None, None, "^score is None; give a number, NaN for a failed trial$"),
        ("0.5", None, "^score is '0.5'; give a number"),
        ([0.5, 0.6], None, "^score is of type list; give a number"),
        (np.array([0.5, 0.6]), None, "^score is of type ndarray; give a number"),
        (0.5, "1s", "^seconds is '1s'; give a number, None if not known$"),
    ],
)
def test_a_score_that_is_no_number_is_not_taken(
    model: MetaModel, score: Any, seconds: Any, message: str
) -> None:
    optimizer = MetaOptimizer(model)
    config = optimizer.ask()
    with pytest.raises(ValueError, match=message):
        optimizer.tell(config, score, seconds=seconds)
    assert optimizer.trials == []
    optimizer.forget(config)  # its score is still awaited


@pytest.mark.parametrize(("n", "same"), [(6, False), (7, True), (8, False), (15, True)])
def test_what_the_trials_ruled_out_is_looked_at_again_when_they_have_doubled(
    model: MetaModel, n: int, same: bool
) -> None:
    """The 8th, 16th, ... is the next of the greedy portfolio, whatever the scores."""
    asked = []
    for sign in (1.0, -1.0):
        optimizer = MetaOptimizer(model, {"told": 0.3})
        for config in SPACE.sample(n, seed=4):
            optimizer.tell(config, sign * score(config, 0.3))
        asked.append(optimizer.ask())
    assert (asked[0] == asked[1]) is same
    assert optimizer.ask() not in asked  # and only that one is


def test_numbers_of_any_type_are_scores(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in (np.float32(0.5), np.int64(1), True, np.float16("inf"), 10**400):
            optimizer.tell(optimizer.ask(), number)
    assert [score for _, score in optimizer.trials[:3]] == [0.5, 1.0, 1.0]
    assert all(math.isnan(score) for _, score in optimizer.trials[3:])


def test_minimising_is_maximising_the_negative(model: MetaModel) -> None:
    up = tune(MetaOptimizer(model, {"told": 0.6}), 8, 0.6)
    down = MetaOptimizer(model, {"told": 0.6}, direction="minimize")
    assert tune(down, 8, 0.6, sign=-1.0) == up
    assert down.best is not None
    assert down.best[1] == -max(score(config, 0.6) for config in up)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_many_scores_are_predicted_at_once_each_as_alone(model: MetaModel, sign: float) -> None:
    optimizer = MetaOptimizer(model, direction="maximize" if sign > 0 else "minimize")
    configs = SPACE.sample(12, seed=4)
    assert optimizer.predict(configs).isna().all(axis=None)  # the scores' unit is unknown
    tune(optimizer, 8, 0.5, sign)
    half, most = optimizer.predict(configs, 0.5), optimizer.predict(SPACE.to_frame(configs), 0.95)
    np.testing.assert_allclose(half["mean"], most["mean"])
    assert (most["low"] < half["low"]).all()
    assert (half["low"] < half["mean"]).all()
    assert (half["mean"] < half["high"]).all()
    assert (half["high"] < most["high"]).all()
    explained, at_once = optimizer.explain(configs[3]), optimizer.predict(configs).iloc[3]
    assert (explained.low, explained.high) == pytest.approx((at_once["low"], at_once["high"]))
    truth = [sign * score(config, 0.5) for config in configs]
    assert np.corrcoef(truth, half["mean"])[0, 1] > 0.4
    with pytest.raises(ValueError, match="coverage is 80"):
        optimizer.predict(configs, 80)


@pytest.mark.parametrize("told", [0, 3])
def test_one_configuration_is_no_list_and_none_give_an_empty_table(
    model: MetaModel, told: int
) -> None:
    optimizer = MetaOptimizer(model)
    tune(optimizer, told, 0.5)
    empty = optimizer.predict([])
    assert empty.shape == (0, 3)
    assert set(map(str, empty.dtypes)) == {"float64"}
    single: Any = SPACE.default
    with pytest.raises(TypeError, match=r"^configs is a single configuration; .*: \[config\]$"):
        optimizer.predict(single)


@pytest.mark.parametrize("origin", [300.0, 1e8])
def test_the_origin_of_the_scores_does_not_matter(model: MetaModel, origin: float) -> None:
    candidates = SPACE.to_frame(SPACE.sample(1000, seed=6))  # enough to be glanced at first
    plain, moved = (MetaOptimizer(model, candidates=candidates) for _ in range(2))
    for config in SPACE.sample(6, seed=2):
        plain.tell(config, score(config, 0.5))
        moved.tell(config, score(config, 0.5) + origin)
    assert plain.ask() == moved.ask()
    config = SPACE.sample(1, seed=4)[0]
    means = moved.explain(config).mean - origin, plain.explain(config).mean
    assert means[0] == pytest.approx(means[1], abs=1e-5)


def test_where_half_of_all_score_best_the_others_still_differ(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model)
    configs = SPACE.sample(9, seed=2)
    for config, value in zip(configs, [1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.5, 0.2], strict=True):
        optimizer.tell(config, value)
    mean = optimizer.predict(configs)["mean"]
    assert mean[:5].min() > 0.95
    assert mean[8] < 0.4


def test_scores_that_are_equal_but_for_rounding_are_equal(model: MetaModel) -> None:
    widths = []
    for scores in (
        [0.5, 0.5, 0.5],
        [0.7, 0.7, 0.7],
        [0.7999999999999999, 0.8, 0.8000000000000002],
    ):
        optimizer = MetaOptimizer(model)
        for config, value in zip(SPACE.sample(3, seed=2), scores, strict=True):
            optimizer.tell(config, value)
        predicted = optimizer.predict(SPACE.sample(20, seed=3))
        widths.append(predicted["high"] - predicted["low"])
    assert widths[0].min() > 1e-3
    for width in widths[1:]:
        np.testing.assert_allclose(width, widths[0], rtol=1e-6)


@pytest.mark.parametrize("scores", [[0.5] * 6, [1.0, 1.0, 1.0, 1.0, 0.2, -1e12]])
def test_scores_without_news_and_junk_are_survived(model: MetaModel, scores: list[float]) -> None:
    optimizer = MetaOptimizer(model)
    for config, value in zip(SPACE.sample(6), scores, strict=True):
        optimizer.tell(config, value)
    for _ in range(3):
        config = optimizer.ask()
        assert SPACE.validate(config) == config
        explained = optimizer.explain(config)
        assert math.isfinite(explained.mean)
        optimizer.tell(config, 0.5)


# ---------------------------------------------------------------------- candidates


def test_candidates_restrict_the_search_and_run_out(model: MetaModel) -> None:
    pool = SPACE.to_frame(SPACE.sample(7, seed=9)).set_index(pd.Index(list("abcdefg")))
    optimizer = MetaOptimizer(model, candidates=pool)
    tried = tune(optimizer, 7, 0.5)
    allowed = [repr(config) for config in SPACE.from_frame(pool)]
    assert sorted(repr(SPACE.validate(config)) for config in tried) == sorted(allowed)
    with pytest.raises(ValueError, match="all 7 candidates have been tried"):
        optimizer.ask()


def test_the_best_candidates_come_early(model: MetaModel) -> None:
    early, by_chance = [], []
    for i, t in enumerate((0.1, 0.35, 0.65, 0.9)):
        configs = SPACE.sample(120, seed=30 + i)
        best = regret(configs, t)
        optimizer = MetaOptimizer(model, {"told": t}, candidates=SPACE.to_frame(configs))
        early.append(regret(tune(optimizer, 12, t), t) - best)
        by_chance += [regret(configs[j : j + 12], t) - best for j in range(0, 108, 12)]
    assert np.mean(early) < 0.25 * np.mean(by_chance)


def test_candidates_are_returned_as_they_stand(model: MetaModel) -> None:
    # whole numbers beside a gap are floats in a table, and come back as floats: so can be found
    table = pd.DataFrame(
        {
            "rate": [0.1, 0.2],
            "share": [0.5, 0.5],
            "kind": ["deep", "plain"],
            "depth": [3.0, np.nan],
        }
    )
    optimizer = MetaOptimizer(model, candidates=table)
    rows = [{k: v for k, v in row.items() if v == v} for row in table.to_dict("records")]
    for _ in rows:
        config = optimizer.ask()
        assert config in rows
        optimizer.tell(config, score(config, 0.5))
    with pytest.raises(ValueError, match="all 2 candidates"):
        optimizer.ask()


def test_the_choice_none_among_candidates_is_a_choice() -> None:
    space = Space(
        {"weight": CategoricalDistribution([None, "balanced"]), "C": FloatDistribution(0, 1)}
    )
    pool = space.to_frame([{"weight": None, "C": 0.5}, {"weight": "balanced", "C": 0.5}])
    optimizer = MetaOptimizer(MetaModel.blank(), space=space, candidates=pool)
    asked = optimizer.ask(2)
    assert [space.validate(config) for config in asked] == asked
    assert {config["weight"] for config in asked} == {None, "balanced"}


def test_rows_may_be_incomplete_and_repeated(model: MetaModel) -> None:
    table = pd.DataFrame({"rate": [0.1, 0.1, 0.3, np.nan], "other": 1})
    optimizer = MetaOptimizer(model, candidates=table)
    asked = tune(optimizer, 3, 0.5) if "kind" in table else [optimizer.ask() for _ in range(3)]
    assert sorted(map(repr, asked)) == ["{'rate': 0.1}", "{'rate': 0.3}", "{}"]
    with pytest.raises(ValueError, match="all 4 candidates have been tried"):
        optimizer.ask()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"rate": []}), "candidates is empty"),
        (pd.DataFrame({"rate": [5.0]}), r"rate=5 is outside \[0.001, 1.0\]"),
        (pd.DataFrame({"kind": ["plain"], "depth": [2.0]}), "depth=2 is set where kind makes it"),
        (
            pd.DataFrame({"kind": ["deep"], "depth": [2.5]}),
            r"depth=2\.5; a whole number is needed",
        ),
        (pd.DataFrame({"rate": ["0.5"]}), "rate='0.5'; a number is needed"),
        (pd.DataFrame({"speed": [1.0]}), "candidates has no column of rate, share, kind, depth"),
    ],
)
def test_wrong_candidates_are_told_at_once(
    model: MetaModel, table: pd.DataFrame, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MetaOptimizer(model, candidates=table)


def test_candidates_are_a_table(model: MetaModel) -> None:
    with pytest.raises(TypeError, match=r"^candidates is of type list; give a DataFrame"):
        MetaOptimizer(model, candidates=SPACE.sample(3))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- other spaces


def test_a_narrower_range_is_honoured(model: MetaModel) -> None:
    space = Space(
        {
            "rate": FloatDistribution(0.2, 0.4),
            "kind": CategoricalDistribution(["deep"]),
            "depth": IntDistribution(2, 4),
        }
    )
    optimizer = MetaOptimizer(model, space=space, fixed={"share": 0.5})
    for config in tune(optimizer, 10, 0.5):
        assert space.validate(config) == config
    assert optimizer.transfer.fixed == {"share": 0.5}
    assert optimizer.transfer.mapped == ("rate", "kind", "depth")


def test_what_is_fixed_is_conditioned_on(model: MetaModel) -> None:
    """The default rate is far off; knowing it helps to rank the shares of this task."""
    space = Space({"share": FloatDistribution(0, 1)})
    fixed = {"rate": 0.05, "kind": "deep", "depth": 5}
    optimizer = MetaOptimizer(model, {"told": 0.7}, space, fixed=fixed)
    rank = {share: optimizer.explain({"share": share}).expected_rank for share in (0.1, 0.7)}
    assert rank[0.7] > rank[0.1]
    assert optimizer.transfer.fixed == fixed


def test_a_wider_range_and_a_new_parameter_are_explored(model: MetaModel) -> None:
    """The optimum lies where no earlier task has been, in a direction that none had."""
    space = Space(
        {
            "rate": FloatDistribution(1e-6, 1.0, log=True),
            "share": FloatDistribution(0, 1),
            "warmth": FloatDistribution(0, 10),
        }
    )

    def mine(config: Config) -> float:
        far = (math.log10(config["rate"]) + 4.5) ** 2 / 10
        return 1 - far - (config["share"] - 0.5) ** 2 - ((config["warmth"] - 8) / 10) ** 2

    optimizer = MetaOptimizer(model, space=space, fixed={"kind": "deep", "depth": 5})
    assert optimizer.transfer.unknown == ("warmth",)
    assert optimizer.transfer.clipped == {"rate": "seen from 0.001 to 1"}
    for _ in range(30):
        config = optimizer.ask()
        optimizer.tell(config, mine(config))
    assert optimizer.best is not None
    assert optimizer.best[1] > 0.97
    assert optimizer.best[0]["rate"] < 1e-3


def test_a_space_that_the_model_knows_nothing_of_is_tuned_by_its_own_trials(
    model: MetaModel,
) -> None:
    space = Space({f"x{i}": FloatDistribution(0, 1) for i in range(2)})
    optimizer = MetaOptimizer(model, space=space)
    assert optimizer.transfer.mapped == ()
    assert optimizer.ask() == space.default
    for _ in range(25):
        config = optimizer.ask()
        optimizer.tell(config, -((config["x0"] - 0.9) ** 2) - (config["x1"] - 0.2) ** 2)
    assert optimizer.best is not None
    assert optimizer.best[1] > -0.002


def test_a_part_of_the_space_can_be_asked_for(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model, {"told": 0.5})
    tune(optimizer, 5, 0.5)
    part = Space({**SPACE.distributions, "rate": FloatDistribution(0.3, 0.3)}, SPACE.conditions)
    for config in optimizer.ask(3, within=part):
        assert part.validate(config) == config
    pool = MetaOptimizer(model, candidates=SPACE.to_frame(SPACE.sample(3)))
    with pytest.raises(ValueError, match="exclude each other"):
        pool.ask(within=part)


def test_a_finite_space_runs_dry_without_an_error() -> None:
    space = Space({"n": IntDistribution(1, 3)})
    optimizer = MetaOptimizer(MetaModel.blank(), space=space)
    for i in range(6):
        config = optimizer.ask()
        optimizer.tell(config, float(i))
    assert {config["n"] for config, _ in optimizer.trials} == {1, 2, 3}


def test_what_nobody_knows_is_not_asked_twice_while_something_is_left() -> None:
    space = Space({"n": IntDistribution(1, 5), "kind": CategoricalDistribution(["a", "b"])})
    side_by_side = MetaOptimizer(MetaModel.blank(), space=space).ask(10)
    failing = MetaOptimizer(MetaModel.blank(), space=space)
    for _ in range(10):
        failing.tell(failing.ask(), np.nan)
    for configs in (side_by_side, [config for config, _ in failing.trials]):
        assert len({repr(config) for config in configs}) == 10


@pytest.mark.parametrize("high", [2**62, 2**63 - 1])
def test_whole_numbers_of_any_size(high: int) -> None:
    optimizer = MetaOptimizer(MetaModel.blank(), space={"n": IntDistribution(0, high)})
    for i in range(6):
        optimizer.tell(optimizer.ask(), float(i))
    assert all(0 <= config["n"] <= high for config, _ in optimizer.trials)


# ---------------------------------------------------------------------- trust and quality


def test_trust_follows_whether_the_task_is_like_the_earlier_ones(model: MetaModel) -> None:
    kind, unkind = MetaOptimizer(model), MetaOptimizer(model)
    assert 0.5 < kind.trust == unkind.trust <= 1
    for config in SPACE.sample(25, seed=8):
        kind.tell(config, score(config, 0.45))
        unkind.tell(config, -score(config, 0.45))
    assert kind.trust > 0.9
    assert unkind.trust < 0.5 * kind.trust


def test_it_beats_chance_by_far_on_tasks_like_the_earlier_ones(model: MetaModel) -> None:
    ours, chance = [], []
    for seed, t in enumerate(np.linspace(0.03, 0.97, 6)):
        ours.append(regret(tune(MetaOptimizer(model, {"told": t}, seed=seed), 10, t), t))
        chance += [regret(SPACE.sample(10, seed=s, method="random"), t) for s in range(20)]
    assert np.mean(ours) < 0.3 * np.mean(chance)


def test_a_misleading_past_is_overcome(model: MetaModel) -> None:
    """On the negative of an earlier task every suggestion is among the worst."""

    def contrary(config: Config) -> float:
        return -score(config, 0.5)

    optimizer = MetaOptimizer(model, {"told": 0.5})
    for _ in range(20):
        config = optimizer.ask()
        optimizer.tell(config, contrary(config))
    assert optimizer.best is not None
    chance = [
        max(map(contrary, SPACE.sample(20, seed=seed, method="random"))) for seed in range(20)
    ]
    assert optimizer.best[1] > np.mean(chance)


# ---------------------------------------------------------------------- explanations


def test_an_explanation_names_tasks_a_prediction_and_its_doubt(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model, {"told": 0.25})
    config = {"rate": 0.02, "share": 0.25, "kind": "deep", "depth": 5}
    before = optimizer.explain(config)
    assert math.isnan(before.mean)
    assert before.expected_rank > 0.8
    tune(optimizer, 12, 0.25)
    after = optimizer.explain(config)
    assert after.low < after.mean < after.high
    assert after.mean == pytest.approx(score(config, 0.25), abs=0.1)
    assert after.trust == optimizer.trust
    assert list(after.tasks.columns) == ["name", "weight", "distance", "rank"]
    assert after.tasks["weight"].is_monotonic_decreasing
    assert set(after.tasks.index) <= set(model.task_ids)
    told = np.linspace(0, 1, 20)[[int(task[1:]) for task in after.tasks.index]]
    away = np.average(np.abs(told - 0.25), weights=after.tasks["weight"])
    assert away < 0.25  # the tasks it leans on are neighbours; any would be 0.35 away
    with pytest.raises(ValueError, match="unknown parameter"):
        optimizer.explain({"moon": 1})


def test_the_intervals_hold_what_they_promise(model: MetaModel) -> None:
    """80 % of the truths, give or take: not half, and not all by being endless."""
    inside, width = [], []
    for t in (0.12, 0.37, 0.62, 0.87):
        optimizer = MetaOptimizer(model, {"told": t})
        for config in SPACE.sample(12, seed=70):
            optimizer.tell(config, score(config, t))
        for config in SPACE.sample(25, seed=71):
            explained: Any = optimizer.explain(config)
            inside.append(explained.low <= score(config, t) <= explained.high)
            width.append(explained.high - explained.low)
    assert np.mean(inside) > 0.6
    assert np.median(width) < 0.6


def test_an_optimizer_survives_pickling(model: MetaModel) -> None:
    optimizer = MetaOptimizer(model, {"told": 0.4})
    tune(optimizer, 5, 0.4)
    copy = pickle.loads(pickle.dumps(optimizer))
    assert tune(copy, 3, 0.4) == tune(optimizer, 3, 0.4)


@pytest.mark.parametrize("candidates", [None, SPACE.to_frame(SPACE.sample(64))])
def test_one_made_afresh_knows_nothing_of_the_trials(
    model: MetaModel, candidates: pd.DataFrame | None
) -> None:
    optimizer = MetaOptimizer(model, {"told": 0.4}, candidates=candidates, seed=3)
    used = MetaOptimizer(model, {"told": 0.4}, candidates=candidates, seed=5)
    tune(used, 6, 0.1)
    used.ask()
    fresh = used.afresh(seed=3)
    assert fresh.trials == []
    assert tune(fresh, 6, 0.4) == tune(optimizer, 6, 0.4)
    assert len(used.trials) == 6


def test_a_number_of_candidates_is_what_its_parameter_is(model: MetaModel) -> None:
    """A column with an empty cell holds floats; what is asked for fits an estimator anyway."""
    rows = pd.DataFrame(
        {"rate": [0.1, 0.2], "share": 0.5, "kind": ["deep", "plain"], "depth": [3, None]}
    )
    optimizer = MetaOptimizer(model, candidates=rows)
    asked = [optimizer.ask(), optimizer.ask()]
    assert sorted(type(config["depth"]) for config in asked if "depth" in config) == [int]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"direction": "maximise"}, "direction is 'maximise'; choose 'maximize' or 'minimize'"),
        ({"fixed": {"knid": "deep"}}, "fixed names 'knid', which the model does not know"),
        ({"space": Space({})}, "the space has no parameter"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    model: MetaModel, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MetaOptimizer(model, **wrong)


@pytest.mark.parametrize(
    ("given", "what"), [("default", "'default'"), (None, "None"), (3, "of type int")]
)
def test_a_model_is_needed_not_its_name(given: Any, what: str) -> None:
    with pytest.raises(
        TypeError, match=f"^model is {what}; a MetaModel is needed: MetaModel.load"
    ):
        MetaOptimizer(given)


def test_what_is_awaited_can_be_forgotten(model: MetaModel) -> None:
    """An evaluation that died keeps no later one away from its configuration."""
    rows = SPACE.to_frame(SPACE.sample(2, seed=1))
    optimizer = MetaOptimizer(model, candidates=rows)
    first, second = optimizer.ask(), optimizer.ask()
    optimizer.forget(first)
    assert optimizer.ask() == first
    with pytest.raises(ValueError, match="all 2 candidates have been tried"):
        optimizer.ask()
    optimizer.tell(second, 0.5)
    with pytest.raises(ValueError, match="is awaited; nothing can be forgotten"):
        optimizer.forget(second)
