from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from valleys import SPACE, dataset, quick_fit, score

from metahpo import MetaDataset, MetaModel, MetaOptimizer
from metahpo.rehearsal import splits
from metahpo.surrogate.calibration import LEVELS, Calibration, Look, learn_calibration

Array = NDArray[np.float64]


def looks(low: float, high: float) -> list[list[Look]]:
    """Scores that lie `low` times as far below what is foretold as they should, and `high` above.

    That is where trials promised 1 more than the configuration; by a power of that elsewhere, so
    that scores lie where they should of configurations that promise as much as the trials did.
    """
    rng = np.random.default_rng(0)
    seen = []
    for n in (2, 5, 10, 20) * 40:
        trials = float(rng.uniform())
        own = rng.uniform(size=30)
        u = rng.normal(size=30)
        seen.append([Look(n, trials, own, np.where(u < 0, low, high) ** (trials - own) * u)])
    return seen


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    learned = learn_calibration(looks(3.0, 0.5))
    assert learned is not None
    return learned


@pytest.mark.parametrize("n", [2, 7, 20])
def test_quantiles_are_taken_where_scores_were_seen(calibration: Calibration, n: int) -> None:
    levels = (0.025, 0.1, 0.3, 0.7, 0.9, 0.975)
    u, own = norm.ppf(levels), np.array([0.1, 0.5, 0.9])
    for trials in (0.2, 0.9):
        expected = np.where(u < 0, 3.0, 0.5) ** (trials - own[:, None]) * u
        deviates = calibration.deviates(levels, n, trials, own)
        np.testing.assert_allclose(deviates, expected, atol=0.2, rtol=0.1)


def test_beyond_what_was_seen_the_nearest_counts(calibration: Calibration) -> None:
    levels, own = np.linspace(0.001, 0.999, 50).tolist(), np.array([0.0, 1.0])
    nearest = calibration.deviates(levels, 20, 1.0, own)
    far = calibration.deviates(levels, 500, 30.0, np.array([-9.0, 9.0]))
    np.testing.assert_allclose(far, nearest, atol=0.1)
    assert (np.diff(nearest, axis=1) > 0).all()


def test_quantiles_that_cross_are_put_in_order() -> None:
    Q = np.zeros((len(LEVELS), 6))
    Q[:, 2] = np.arcsinh(norm.ppf(LEVELS))  # in order for those that promise, else upside down
    deviates = Calibration(Q, (-1.0, 1.0), 20).deviates(LEVELS, 1, 0.0, np.array([-1.0, 1.0]))
    np.testing.assert_allclose(deviates, np.tile(norm.ppf(LEVELS), (2, 1)))


def test_little_teaches_nothing() -> None:
    assert learn_calibration([]) is None
    known = looks(3.0, 0.5)
    assert learn_calibration([*known[:3], [], []]) is None  # few tasks
    assert learn_calibration([task for task in known if task[0].n < 5]) is None
    assert Calibration.from_tensors({}) is None
    few = quick_fit(dataset(np.linspace(0.1, 0.9, 12).tolist(), n=12))  # too small to be played
    assert few.experience.calibration is None


@pytest.mark.parametrize(
    ("n_tasks", "n_splits", "n_held"), [(6, 3, 6), (26, 4, 24), (40, 5, 40), (120, 3, 72)]
)
def test_where_tasks_are_few_each_is_held_out_in_its_turn(
    n_tasks: int, n_splits: int, n_held: int
) -> None:
    """Together at least sixty, or nearly all; families stay whole, here each of two tasks."""
    plain = dataset(np.linspace(0.1, 0.9, n_tasks).tolist(), n=50)
    family = {task: f"family {i // 2}" for i, task in enumerate(plain.task_ids)}
    info = pd.DataFrame({"family": pd.Series(family)})
    md = MetaDataset.from_frames(plain.trials, plain.tasks, space=SPACE, metric="score", info=info)
    parts = splits(md, seed=0)
    assert len(parts) == n_splits
    held = [task for _, out in parts for task in out.task_ids]
    assert len(held) == len(set(held)) == n_held
    for own, out in parts:
        assert sorted([*own.task_ids, *out.task_ids]) == sorted(md.task_ids)
        assert not {family[task] for task in own.task_ids} & {
            family[task] for task in out.task_ids
        }


@pytest.mark.parametrize(("n_tasks", "n"), [(320, 50), (40, 49), (3, 500)])
def test_enough_tasks_and_tasks_too_small_to_rehearse_on_are_divided_once(
    n_tasks: int, n: int
) -> None:
    assert len(splits(dataset(np.linspace(0.1, 0.9, n_tasks).tolist(), n=n), seed=0)) == 1


def test_few_tasks_teach_less_than_many() -> None:
    """What four tasks say is believed by about half."""
    levels, own = [0.1], np.zeros(1)
    corrected = []
    for n_tasks in (4, 160):
        learned = learn_calibration(looks(3.0, 0.5)[:n_tasks])
        assert learned is not None
        corrected.append(float(learned.deviates(levels, 5, 1.0, own)[0, 0]))
    few, many = corrected
    assert many < few < norm.ppf(0.1) - 0.3


@pytest.fixture(scope="module")
def model() -> MetaModel:
    return quick_fit(dataset(np.linspace(0.03, 0.97, 60).tolist(), n=120))


def test_intervals_hold_their_share_after_trials_that_were_chosen(model: MetaModel) -> None:
    """Of all that is left to choose from, and of what is asked for next."""
    uncorrected = replace(model, experience=replace(model.experience, calibration=None))
    pool = SPACE.sample(150, seed=9)
    held: dict[bool, list[float]] = {True: [], False: []}
    asked = []
    for t in np.linspace(0.1, 0.9, 9):
        scores = np.array([score(config, t) for config in pool])
        for corrected, known in ((True, model), (False, uncorrected)):
            optimizer = MetaOptimizer(
                known,
                {"told": t, "noise 1": 0.0, "noise 2": 0.0},
                candidates=SPACE.to_frame(pool),
            )
            for n in range(10):
                config = optimizer.ask()
                if corrected and n > 1:
                    of_this = optimizer.explain(config)
                    asked.append(of_this.low <= score(config, t) <= of_this.high)
                optimizer.tell(config, score(config, t))
            predicted = optimizer.predict(pool, 0.8)
            inside = (predicted["low"] <= scores) & (scores <= predicted["high"])
            held[corrected].append(float(inside.mean()))
    assert abs(np.mean(held[True]) - 0.8) < 0.12
    assert np.mean(held[False]) < np.mean(held[True]) - 0.1
    assert np.mean(asked) > 0.65


@pytest.mark.parametrize("coverage", [0.05, 0.5, 0.95, float(np.nextafter(1.0, 0.0))])
def test_the_mean_lies_in_every_interval(model: MetaModel, coverage: float) -> None:
    for direction, sign in (("maximize", 1.0), ("minimize", -1.0)):
        optimizer = MetaOptimizer(model, direction=direction)
        for config in SPACE.sample(6, seed=2):
            optimizer.tell(config, sign * score(config, 0.4))
        predicted = optimizer.predict(SPACE.sample(50, seed=3), coverage)
        assert np.isfinite(predicted).all(axis=None)
        assert (predicted["low"] <= predicted["mean"]).all()
        assert (predicted["mean"] <= predicted["high"]).all()


def test_it_survives_storage(model: MetaModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    first, again = (m.experience.calibration for m in (model, MetaModel.load(tmp_path)))
    assert first is not None
    assert again is not None
    own = np.linspace(-1.0, 1.0, 5)
    for n, trials in ((1, 0.0), (10, 1.0)):
        one, other = (c.deviates(LEVELS, n, trials, own) for c in (first, again))
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)
