"""MetaModel: what it learns from tasks with known optima, and how it survives on disk."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from valleys import QUICK, SPACE, alone, dataset, evaluated, quick_fit, regret, score

from metahpo import MetaDataset, MetaModel, MetaOptimizer, MetaSampler, Space
from metahpo.artifact import ArtifactFormat
from metahpo.portfolio import greedy_portfolio

TS = np.linspace(0, 1, 20)


@pytest.fixture(scope="module")
def model() -> MetaModel:
    return quick_fit(dataset(TS))


@pytest.fixture(scope="module")
def plain_model() -> MetaModel:
    """A model of the same tasks that none was held out from, so none taught it to adapt."""
    return quick_fit(alone(dataset(TS)))


def belief(model: MetaModel, sign: float = 1.0, **options: Any) -> tuple[Any, ...]:
    """Everything a study sees of a model, after six trials on one more task."""
    optimizer = MetaOptimizer(model, {"told": 0.3}, **options)
    for config in SPACE.sample(6, seed=50):
        optimizer.tell(config, sign * score(config, 0.3))
    seen = [optimizer.explain(config) for config in SPACE.sample(4, seed=51)]
    predictions = [(e.mean, e.low, e.high, e.expected_rank, e.trust) for e in seen]
    return model.suggest({"told": 0.3}, 8), optimizer.ask(3), predictions


def assert_same_belief(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert one[:2] == other[:2]
    np.testing.assert_allclose(one[2], other[2], rtol=1e-5)


# ---------------------------------------------------------------------- what it suggests


def test_first_suggestions_beat_the_default_and_chance(model: MetaModel) -> None:
    first, five, default, chance = [], [], [], []
    for t in np.linspace(0.05, 0.95, 10):
        suggested = model.suggest({"told": t}, 5)
        first.append(regret(suggested[:1], t))
        five.append(regret(suggested, t))
        default.append(regret([SPACE.default], t))
        chance += [regret(SPACE.sample(5, seed=s, method="random"), t) for s in range(10)]
    assert np.mean(first) < 0.5 * np.mean(default)
    assert np.mean(five) < 0.5 * np.mean(chance)


def test_the_meta_feature_that_tells_leads_to_the_right_valley(model: MetaModel) -> None:
    def told(t: float) -> float:
        return float(np.mean([regret(model.suggest({"told": t}, 3), t)]))

    def lied(t: float) -> float:
        return regret(model.suggest({"told": 1 - t}, 3), t)

    ends = (0.0, 0.1, 0.9, 1.0)
    assert np.mean([told(t) for t in ends]) < 0.6 * np.mean([lied(t) for t in ends])


def test_suggestions_are_valid_different_and_the_callers_to_change(model: MetaModel) -> None:
    suggested = model.suggest(None, 30)
    assert [SPACE.validate(config) for config in suggested] == suggested
    assert len({repr(config) for config in suggested}) == 30
    assert model.suggest(None, 5) == suggested[:5]
    suggested[0]["rate"] = 123.0
    assert model.suggest(None, 1)[0]["rate"] != 123.0
    everything = model.suggest(None, 10**6)
    assert SPACE.default in everything


def test_unknown_and_undefined_meta_features_do_no_harm(model: MetaModel) -> None:
    expected = model.suggest({"told": 0.2}, 5)
    assert model.suggest({"told": 0.2, "moon": 3.0, "noise 1": np.nan}, 5) == expected
    assert model.suggest({"told": None, "noise 1": 0.0}, 5) == model.suggest({"noise 1": 0.0}, 5)


WRONG_META_FEATURES: list[tuple[Any, type[Exception], str]] = [
    (
        {"moon": 1.0},
        ValueError,
        r"no name that the model knows \(noise 1, noise 2, told\); give metahpo\.describe",
    ),
    ({"told": "high"}, ValueError, "^meta_features sets told='high'; a number is needed$"),
    ({"told": [0.2]}, ValueError, r"^meta_features sets told=\[0\.2\]; a number is needed$"),
    ([0.2], TypeError, "^meta_features is of type list; give a mapping of names to numbers"),
]


@pytest.mark.parametrize(("given", "kind", "message"), WRONG_META_FEATURES)
def test_meta_features_that_say_nothing_are_not_taken_in_silence(
    model: MetaModel, given: Any, kind: type[Exception], message: str
) -> None:
    trials = [(config, score(config, 0.3)) for config in SPACE.sample(3)]
    takers: list[Callable[[], Any]] = [
        lambda: model.suggest(given),
        lambda: model.embed(given),
        lambda: model.update(trials, given),
        lambda: MetaOptimizer(model, given),
        lambda: MetaSampler(model, meta_features=given),
    ]
    for taker in takers:
        with pytest.raises(kind, match=message):
            taker()


def test_a_row_of_a_table_will_do_as_meta_features(model: MetaModel) -> None:
    row = {"told": 0.2, "noise 1": 0.0}
    assert MetaOptimizer(model, pd.Series(row)).ask() == MetaOptimizer(model, row).ask()
    assert model.suggest(pd.Series(row)) == model.suggest(row)


def test_where_no_meta_features_count_any_will_do(model: MetaModel) -> None:
    relevance = replace(model.relevance, scale=np.zeros(3))
    deaf = replace(model, experience=replace(model.experience, relevance=relevance))
    for indifferent in (deaf, MetaModel.blank()):
        assert indifferent.suggest({"moon": 1.0}) == indifferent.suggest(None)
        assert MetaOptimizer(indifferent, {"moon": 1.0}, SPACE).ask()


def test_a_model_with_meta_features_of_its_own_serves_a_table(model: MetaModel) -> None:
    sampler = MetaSampler(model, X=[[1.0], [2.0], [3.0], [4.0]], y=[0, 1, 0, 1])
    assert sampler.meta_features is not None
    assert model.suggest(sampler.meta_features)


@pytest.mark.parametrize("seed", range(5))
def test_a_portfolio_is_greedy_and_so_nearly_as_good_as_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    utilities, weights = rng.random((9, 6)), rng.dirichlet(np.ones(6))

    def value(rows: Any) -> float:
        return float(utilities[list(rows)].max(0) @ weights)

    picks = greedy_portfolio(utilities, weights, 4)
    for i, pick in enumerate(picks):
        left = [row for row in range(9) if row not in picks[:i]]
        assert value([*picks[:i], pick]) == max(value([*picks[:i], row]) for row in left)
    best = max(value(rows) for rows in combinations(range(9), 4))
    assert value(picks) >= (1 - 1 / np.e) * best  # Nemhauser et al. 1978
    assert greedy_portfolio(utilities, weights, 2, picks[:2]) == picks[2:]
    assert not set(picks[:2]) & set(greedy_portfolio(utilities, weights, 4, (), picks[:2]))


# ---------------------------------------------------------------------- what it is made from


def test_the_card_says_what_it_was_trained_on(model: MetaModel) -> None:
    card = model.card
    assert card["n_tasks"] == len(model.task_ids) == 20
    assert card["n_evaluations"] == 500
    assert (card["n_failed"], card["n_tasks_constant"], card["meta_features"]) == (0, 0, 3)
    assert (card["metric"], card["direction"], card["seed"]) == ("score", "maximize", 0)
    assert card["parameters"] == list(SPACE.names)
    held_out = card["held_out"]
    assert held_out["n_tasks"] == 4
    assert all(s < r for s, r in zip(held_out["suggested"], held_out["random"], strict=True))
    assert held_out["suggested"] == sorted(held_out["suggested"], reverse=True)
    json.dumps(card)


def test_the_seed_decides(plain_model: MetaModel) -> None:
    assert_same_belief(belief(quick_fit(alone(dataset(TS)))), belief(plain_model))
    other = quick_fit(alone(dataset(TS)), seed=1)
    assert belief(other)[2] != belief(plain_model)[2]


def test_minimising_the_negative_is_the_same(plain_model: MetaModel) -> None:
    trials, tasks = evaluated(TS, 25)
    losses = trials.assign(score=-trials["score"])
    md = MetaDataset.from_frames(losses, tasks, space=SPACE, metric="loss", direction="minimize")
    loss = quick_fit(alone(md))
    suggested, asked, predictions = belief(loss, sign=-1.0)
    plain = belief(plain_model)
    assert (suggested, asked) == plain[:2]
    mean, high, low = (-np.array(predictions)[:, i] for i in range(3))
    np.testing.assert_allclose(np.stack([mean, low, high], 1), np.array(plain[2])[:, :3])


def test_a_study_may_look_the_other_way_than_its_model(model: MetaModel) -> None:
    assert_same_belief(
        (*belief(model, sign=-1.0, direction="minimize")[:2], []), (*belief(model)[:2], [])
    )


def test_what_failed_is_not_suggested() -> None:
    trials, tasks = evaluated(TS, 25)
    broken = trials["kind"].eq("deep").to_numpy()  # the better kind, where it works
    md = MetaDataset.from_frames(
        trials.assign(score=trials["score"].mask(broken)), tasks, space=SPACE, metric="score"
    )
    model = quick_fit(md)
    assert model.card["n_failed"] == broken.sum()
    assert {config["kind"] for config in model.suggest(None, 5)} == {"plain"}


def test_tasks_may_be_ragged_and_values_missing_without_a_reason() -> None:
    trials, _ = evaluated([0.1, 0.2, 0.3, 0.4, 0.5], 25)
    left = trials.groupby("task_id").cumcount() < trials["task_id"].map(
        {"t0": 25, "t1": 3, "t2": 12, "t3": 2, "t4": 20}
    )
    trials = trials[left].copy()
    trials.loc[trials.index[::4], "share"] = np.nan
    trials.loc[trials.index[::5], ["kind", "depth"]] = None
    md = MetaDataset.from_frames(trials, None, space=SPACE, metric="score")
    model = quick_fit(md)
    assert model.card["n_evaluations"] == 62
    assert len(model.suggest(None, 3)) == 3
    optimizer = MetaOptimizer(model)
    for _ in range(4):
        config = optimizer.ask()
        optimizer.tell(config, score({"kind": "plain"} | config, 0.3))


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_one_task_is_enough(n_tasks: int) -> None:
    model = quick_fit(dataset([0.4, 0.5][:n_tasks]))
    assert len(model.task_ids) == n_tasks
    assert model.card["held_out"] is None
    assert regret(model.suggest(None, 1), 0.4) < 0.1  # the best it has seen
    assert belief(model)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", r"device is 'gpu'; choose 'auto', 'cpu' or 'cuda'"),
        ("cuda:99", r"device is 'cuda:99', which cannot be used here \(.+\); choose 'cpu' or"),
    ],
    ids=["no such name", "no such hardware"],
)
def test_a_device_that_cannot_be_trained_on_is_refused(device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        MetaModel.fit(dataset(TS[:4]), device=device)
    assert "\n" not in str(caught.value)


def test_tasks_on_which_all_is_the_same_are_left_out_and_counted() -> None:
    trials, tasks = evaluated([0.1, 0.2, 0.3], 25)
    constant = trials["task_id"].eq("t1")
    trials = trials.assign(score=trials["score"].mask(constant, 0.5))
    model = quick_fit(MetaDataset.from_frames(trials, tasks, space=SPACE, metric="score"))
    assert model.task_ids == ("t0", "t2")
    assert model.card["n_tasks_constant"] == 1
    with pytest.raises(ValueError, match="no task has two trials with different scores"):
        quick_fit(
            MetaDataset.from_frames(trials[constant], space=SPACE, metric="score"),
        )


def test_without_a_single_task_it_starts_at_the_default() -> None:
    blank = MetaModel.blank()
    optimizer = MetaOptimizer(blank, {"told": 0.5}, SPACE)
    assert optimizer.transfer.unknown == SPACE.names
    assert optimizer.ask() == SPACE.default
    optimizer.tell(SPACE.default, score(SPACE.default, 0.5))
    for _ in range(15):
        config = optimizer.ask()
        optimizer.tell(config, score(config, 0.5))
    assert optimizer.trust == pytest.approx(0.0)
    assert optimizer.best is not None
    assert optimizer.best[1] > 0.9


# ---------------------------------------------------------------------- on disk


@pytest.fixture
def saved(model: MetaModel, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_saved_and_loaded_it_believes_the_same(model: MetaModel, saved: Path) -> None:
    loaded = MetaModel.load(saved)
    assert model.experience.adaptation
    assert_same_belief(belief(loaded), belief(model))
    assert loaded.card == model.card
    assert loaded.space == model.space
    assert (loaded.metric, loaded.direction, loaded.task_ids) == (
        model.metric,
        model.direction,
        model.task_ids,
    )
    again = saved.parent / "again"
    loaded.save(again)
    assert_same_belief(belief(MetaModel.load(str(again))), belief(loaded))
    assert {path.suffix for path in saved.iterdir()} == {".json", ".parquet", ".safetensors"}


def test_saving_again_replaces_and_leaves_nothing_half_written(saved: Path) -> None:
    small = quick_fit(dataset([0.4]))
    small.save(saved)
    assert MetaModel.load(saved).task_ids == ("t0",)
    assert len(list(saved.iterdir())) == 4


FILES = ["model.json", "model.safetensors", "tasks.parquet", "pool.parquet"]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def scramble(file: Path) -> None:
    file.write_bytes(file.read_bytes()[::-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, scramble, empty, os.remove])
def test_damage_is_told_by_file(name: str, damage: Callable[[Path], None], saved: Path) -> None:
    damage(saved / name)
    with pytest.raises(ValueError, match=name) as caught:
        MetaModel.load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def rewrite(saved: Path, **changes: Any) -> None:
    header = json.loads((saved / "model.json").read_text()) | changes
    kept = {name: value for name, value in header.items() if value is not ...}
    (saved / "model.json").write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "metahpo.MetaDataset"}, "model.json does not belong to a MetaModel"),
        ({"schema_version": 99}, "model.json has schema version 99; this metahpo reads up to"),
        ({"schema_version": "1"}, "model.json has schema version 1; this metahpo reads up to"),
        ({"space": ...}, "model.json is damaged: it has no 'space'"),
        ({"sha256": {}}, "model.json is damaged: its checksums are not those of a MetaModel"),
        ({"sha256": [1]}, "model.json is damaged: its checksums are not those of a MetaModel"),
        ({"space": {"parameters": {}}}, "holds no valid MetaModel: this is not a space"),
        ({"space": None}, "holds no valid MetaModel: this is not a space"),
        ({"noise": "loud"}, "holds no valid MetaModel: could not convert"),
    ],
)
def test_a_header_that_does_not_fit(changes: dict[str, Any], message: str, saved: Path) -> None:
    rewrite(saved, **changes)
    with pytest.raises(ValueError, match=message):
        MetaModel.load(saved)


def test_a_save_that_fails_leaves_what_was_saved(saved: Path) -> None:
    def fails(path: Path) -> None:
        raise OSError(28, "No space left on device")

    model, before = MetaModel.load(saved), (saved / "model.json").read_text()
    kind = ArtifactFormat("metahpo.MetaModel", 1, "model.json", ())
    files = {"model.safetensors": Path.touch, "tasks.parquet": fails}
    with pytest.raises(OSError, match=r"cannot write .*tasks\.parquet: No space left"):
        kind.write(saved, {}, files)
    assert (saved / "model.json").read_text() == before
    assert MetaModel.load(saved).task_ids == model.task_ids


def test_what_is_no_dataset_is_not_learned_from() -> None:
    with pytest.raises(TypeError, match=r"^md is of type DataFrame; MetaDataset\.from_frames"):
        MetaModel.fit(pd.DataFrame())  # type: ignore[arg-type]


def test_other_folders_are_no_models(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is no MetaModel: it has no model\.json"):
        MetaModel.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"is no MetaModel: it has no model\.json"):
        MetaModel.load(saved / "model.json")
    dataset([0.1]).save(tmp_path / "data")
    with pytest.raises(ValueError, match=r"data is no MetaModel: it has no model\.json"):
        MetaModel.load(tmp_path / "data")
    with pytest.raises(ValueError, match="unknown learner 'svm'; did you mean 'svc'"):
        MetaModel.load("default", learner="svm")


@pytest.mark.parametrize("name", ["svc", "svr"])
def test_a_learner_is_no_folder(
    name: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{name} is a learner, .* model give learner='{name}'$"):
        MetaModel.load(name)
    saved.rename(name)  # but it may be the name of one
    assert MetaModel.load(name)


def test_a_folder_may_hold_the_models_of_several_learners(saved: Path, tmp_path: Path) -> None:
    for name in ("svc", "mine"):
        shutil.copytree(saved, tmp_path / "trained" / name)
        assert MetaModel.load(tmp_path / "trained", learner=name).task_ids
    assert MetaModel.load(saved, learner="mlp").task_ids  # a single model is what it is
    for learner, missing in ((None, "auto"), ("mlp", "mlp")):
        with pytest.raises(ValueError, match=f"models of mine, svc, and none of {missing}; give"):
            MetaModel.load(tmp_path / "trained", learner=learner)


def test_a_learners_name_says_the_task() -> None:
    assert MetaModel.load("default", learner="ridge").metric == "r2"
    with pytest.raises(ValueError, match="'ridge' does regression, not classification"):
        MetaModel.load("default", learner="ridge", task="classification")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_loading_never_unpickles(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where somebody has put a pickle in place of the tensors, with its checksum."""
    monkeypatch.chdir(tmp_path)
    payload = pickle.dumps(Bomb())
    for name in FILES[1:]:
        before = (saved / name).read_bytes(), (saved / "model.json").read_text()
        (saved / name).write_bytes(payload)
        sums = json.loads((saved / "model.json").read_text())["sha256"]
        rewrite(saved, sha256=sums | {name: hashlib.sha256(payload).hexdigest()})
        with pytest.raises(ValueError, match="holds no valid MetaModel"):
            MetaModel.load(saved)
        (saved / name).write_bytes(before[0])
        (saved / "model.json").write_text(before[1])
    assert not (tmp_path / "exploded").exists()
    assert MetaModel.load(saved)


def test_where_it_cannot_be_written_is_said(model: MetaModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        model.save(tmp_path / "file")


def test_the_space_may_be_of_any_kind(tmp_path: Path) -> None:
    """Names with spaces, numbers and None among the choices, a union of learners."""
    union = Space.union({"valley": SPACE, "other one": SPACE}, "learner")
    rng = np.random.default_rng(0)
    trials = pd.concat(
        [
            union.to_frame(union.sample(20, seed=i)).assign(task_id=i, score=rng.normal(size=20))
            for i in range(3)
        ]
    )
    model = quick_fit(MetaDataset.from_frames(trials, space=union, metric="score"))
    model.save(tmp_path / "union")
    assert MetaModel.load(tmp_path / "union").suggest(None, 9) == model.suggest(None, 9)


def test_options_say_how_the_network_is_trained() -> None:
    assert quick_fit(dataset([0.5])).experience.features.size == QUICK.members * QUICK.features + 1
