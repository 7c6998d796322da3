"""A finished study becomes a training task; tasks lie in a space where like is near like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from valleys import SPACE, alone, dataset, quick_fit, regret, score

from metahpo import MetaDataset, MetaModel, MetaOptimizer, MetaSampler, Space
from metahpo.space import Config

KNOWN = np.linspace(0.0, 0.6, 13)
NEW = 0.95


@pytest.fixture(scope="module")
def model() -> MetaModel:
    return quick_fit(alone(dataset(KNOWN, n=40)))


def tuned(model: MetaModel, t: float, n: int = 30) -> list[tuple[Config, float]]:
    optimizer = MetaOptimizer(model, {"told": t})
    for _ in range(n):
        config = optimizer.ask()
        optimizer.tell(config, score(config, t))
    return optimizer.trials


def test_a_study_teaches_what_suits_tasks_like_it(model: MetaModel) -> None:
    grown = model.update(tuned(model, NEW), {"told": NEW}, task_id="mine")
    assert grown.task_ids == (*model.task_ids, "mine")
    assert grown.card["n_tasks"] == model.card["n_tasks"] + 1
    assert "mine" not in model.task_ids  # the model given stays what it is
    near = [0.9, 0.95, 1.0]
    before, after = (
        np.mean([regret(m.suggest({"told": t}, 3), t) for t in near]) for m in (model, grown)
    )
    assert after < 0.5 * before


def test_nothing_learned_earlier_is_forgotten(model: MetaModel) -> None:
    grown = model
    for t in (0.7, 0.8, NEW):
        grown = grown.update(tuned(grown, t, 12), {"told": t})
    configs = SPACE.sample(50, seed=9)
    old, new = (m.utilities(m.encode(configs)) for m in (model, grown))
    assert new.shape[1] == len(KNOWN) + 3
    np.testing.assert_allclose(new[:, : len(KNOWN)], old, atol=1e-12)
    for t in KNOWN[::4]:
        assert (
            regret(grown.suggest({"told": t}, 3), t)
            < regret(model.suggest({"told": t}, 3), t) + 0.02
        )


def test_what_a_study_tried_is_remembered_exactly(model: MetaModel) -> None:
    trials = tuned(model, NEW, 20)
    grown = model.update(trials, {"told": NEW}, task_id="mine")
    best = [config for config, _ in sorted(trials, key=lambda trial: -trial[1])[:5]]
    ranks = grown.utilities(grown.encode(best))[:, -1]
    assert (np.diff(ranks) <= 1e-9).all()  # in the order of their scores
    assert ranks[0] == pytest.approx(1.0, abs=0.05)


def test_studies_tables_and_pairs_say_the_same(model: MetaModel, tmp_path: Path) -> None:
    sampler = MetaSampler(model=model, meta_features={"told": NEW}, space=SPACE, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler, study_name="a study")

    def objective(trial: optuna.Trial) -> float:
        config: Config = {
            "rate": trial.suggest_float("rate", 1e-3, 1.0, log=True),
            "share": trial.suggest_float("share", 0.0, 1.0),
            "kind": trial.suggest_categorical("kind", ["plain", "deep"]),
        }
        if config["kind"] == "deep":
            config["depth"] = trial.suggest_int("depth", 1, 9)
        return score(config, NEW)

    study.optimize(objective, n_trials=8)
    pairs = [(trial.params, trial.value) for trial in study.trials]
    table = SPACE.to_frame([params for params, _ in pairs]).assign(score=[y for _, y in pairs])
    ways = [model.update(w, {"told": NEW}) for w in (study, pairs, table)]
    assert [way.task_ids[-1] for way in ways] == ["a study", "study 13", "study 13"]
    configs = SPACE.sample(20, seed=3)
    said = [way.utilities(way.encode(configs)) for way in ways]
    np.testing.assert_allclose(said[1], said[0])
    np.testing.assert_allclose(said[2], said[0])
    ways[0].save(tmp_path / "grown")
    loaded = MetaModel.load(tmp_path / "grown")
    np.testing.assert_allclose(loaded.utilities(loaded.encode(configs)), said[0], atol=1e-5)


def test_failures_count_and_a_minimised_study_is_read_the_other_way() -> None:
    trials = [(config, score(config, 0.5)) for config in SPACE.sample(15, seed=2)]
    failed = [*trials, (SPACE.sample(16, seed=2)[-1], float("nan"))]
    up = quick_fit(alone(dataset(KNOWN)))
    flipped = dataset(KNOWN)
    flipped.trials["score"] *= -1
    down = quick_fit(
        alone(
            type(flipped).from_frames(
                flipped.trials, flipped.tasks, space=SPACE, direction="minimize", metric="score"
            )
        )
    )
    one = up.update(failed)
    other = down.update([(config, -y) for config, y in failed])
    configs = SPACE.sample(20, seed=3)
    np.testing.assert_allclose(
        one.utilities(one.encode(configs)), other.utilities(other.encode(configs)), atol=1e-6
    )
    assert one.card["n_evaluations"] == up.card["n_evaluations"] + 16
    few = up.update([*trials[:2], (SPACE.default | {"share": 0.123}, float("nan"))])
    assert few.pool == up.pool  # the other two are known, and what failed is never suggested


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([(SPACE.default, 1.0)], "no two trials have different scores"),
        ([], "no two trials have different scores"),
        (optuna.create_study(direction="minimize"), "direction is minimize, the model's maximize"),
        (SPACE.to_frame([SPACE.default]), "has no column 'score'"),
    ],
)
def test_what_teaches_nothing_is_refused(model: MetaModel, trials: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.update(trials)  # type: ignore[arg-type]


def test_names_under_a_prefix_are_the_models_own(model: MetaModel) -> None:
    """As a search over a pipeline leaves them behind."""
    trials = tuned(model, NEW, 8)
    under = [({f"step__{name}": v for name, v in config.items()}, y) for config, y in trials]
    table = SPACE.prefixed("step__").to_frame([config for config, _ in under])
    table["score"] = [y for _, y in under]
    whole = model.update(trials, {"told": NEW})
    configs = SPACE.sample(20, seed=3)
    for told in (under, table):
        grown = model.update(told, {"told": NEW}, prefix="step__")
        np.testing.assert_allclose(
            grown.utilities(grown.encode(configs)), whole.utilities(whole.encode(configs))
        )
        np.testing.assert_allclose(
            model.embed(trials=told, prefix="step__"), model.embed(trials=trials)
        )
        for take_in in (model.update, lambda told: model.embed(trials=told)):
            with pytest.raises(
                ValueError, match=r"no parameter of the trials .*; did you mean prefix='step__'\?"
            ):
                take_in(told)
    with pytest.raises(ValueError, match=r"knows no parameter of the trials \(rate, share, kind"):
        MetaModel.blank().update(trials)


def test_a_table_of_trials_is_of_one_task(model: MetaModel) -> None:
    rows = SPACE.to_frame(SPACE.sample(6, seed=3)).assign(score=np.arange(6.0))
    assert model.update(rows.assign(task_id=7)).task_ids[-1] == "7"
    with pytest.raises(ValueError, match="of 2 tasks: a, b; scores are only compared within a"):
        model.update(rows.assign(task_id=[*"aaabbb"]))


def test_a_task_has_one_name(model: MetaModel) -> None:
    trials = [(config, score(config, 0.5)) for config in SPACE.sample(5, seed=2)]
    with pytest.raises(ValueError, match="knows a task 't3' already; give another task_id"):
        model.update(trials, task_id="t3")
    n = len(model.task_ids)
    assert model.update(trials, task_id=0).task_ids[n:] == ("0",)
    grown = model.update(trials, task_id=f"study {n + 1}").update(trials)
    assert grown.task_ids[n:] == (f"study {n + 1}", f"study {n + 2}")


def test_like_lies_near_like(model: MetaModel) -> None:
    points = model.embeddings
    assert list(points.index) == list(model.task_ids)
    apart = np.linalg.norm(points.to_numpy()[:, None] - points.to_numpy()[None], axis=2)
    truly = np.abs(KNOWN[:, None] - KNOWN[None])
    upper = np.triu_indices(len(KNOWN), 1)
    assert np.corrcoef(apart[upper], truly[upper])[0, 1] > 0.8
    # trials place a new task without meta-features, and better than meta-features that say nothing
    for t in (0.1, 0.5):
        trials = [(config, score(config, t)) for config in SPACE.sample(25, seed=77)]
        placed = model.embed(None, trials)
        away = np.linalg.norm(points.to_numpy() - placed, axis=1)
        assert np.corrcoef(away, np.abs(KNOWN - t))[0, 1] > 0.7
        assert np.linalg.norm(placed) > 2 * np.linalg.norm(model.embed())


def test_what_a_study_left_fixed_is_remembered_with_it(model: MetaModel) -> None:
    """Without it configurations lack a parameter: learned from, but never suggested."""
    searched = Space({name: SPACE.distributions[name] for name in ("rate", "share", "depth")})
    optimizer = MetaOptimizer(model, space=searched, fixed={"kind": "deep"})
    for config in searched.sample(6, seed=8):
        optimizer.tell(config, score({**config, "kind": "deep"}, NEW))
    whole = model.update(optimizer.trials, fixed=optimizer.transfer.fixed)
    assert len(whole.pool) > len(model.pool)
    assert whole.pool[-1]["kind"] == "deep"
    with pytest.raises(ValueError, match="fixed names 'knid', which the model does not know"):
        model.update(optimizer.trials, fixed={"knid": "deep"})
    for grown in (whole, model.update(optimizer.trials)):
        for config in grown.pool:
            SPACE.validate(config)  # raises where a parameter is missing


def test_the_choice_none_is_read_from_a_table() -> None:
    space = Space(
        {
            "share": FloatDistribution(0.0, 1.0),
            "weight": CategoricalDistribution([None, "balanced"]),
        }
    )
    rows = pd.DataFrame(
        {"share": [0.1, 0.9, 0.5], "weight": [None, "balanced", None], "score": [0.3, 0.2, 0.1]}
    )
    known = rows.assign(task_id=["a", "a", "b"], score=[0.1, 0.4, 0.2])
    known = pd.concat([known, known.assign(score=[0.2, 0.1, 0.3])])
    md = MetaDataset.from_frames(known, space=space, metric="score")
    grown = quick_fit(md).update(rows.assign(share=rows["share"] + 0.05))
    assert {"share": pytest.approx(0.15), "weight": None} in grown.pool


def test_scores_may_point_the_other_way_than_the_models(model: MetaModel) -> None:
    trials = [(config, score(config, 0.5)) for config in SPACE.sample(15, seed=2)]
    errors = [(config, -y) for config, y in trials]
    same, other = model.update(trials), model.update(errors, direction="minimize")
    configs = SPACE.sample(20, seed=3)
    np.testing.assert_allclose(
        other.utilities(other.encode(configs)), same.utilities(same.encode(configs)), atol=1e-6
    )
