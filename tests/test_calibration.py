from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from valleys import SPACE, dataset, quick_fit, score

from metahpo import MetaModel, MetaOptimizer
from metahpo.surrogate.calibration import LEVELS, Calibration, Shown, learn_calibration

Array = NDArray[np.float64]


def looks(low: float, high: float) -> list[Shown]:
    """Scores that lie `low` times as far below what is foretold as they should, and `high` above.

    After trials that promise 1; by a power of that after others, so where they should after 0.
    """
    rng = np.random.default_rng(0)
    shown = []
    for n in (2, 5, 10, 20) * 60:
        promise = float(rng.uniform())
        u = rng.normal(size=30)
        u = np.where(u < 0, low**promise, high**promise) * u
        shown.append(Shown(n, promise, u))
    return shown


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    learned = learn_calibration(looks(3.0, 0.5))
    assert learned is not None
    return learned


@pytest.mark.parametrize("promise", [0.0, 0.5, 1.0])
def test_levels_are_corrected_by_what_was_seen(calibration: Calibration, promise: float) -> None:
    wanted = (0.025, 0.1, 0.3, 0.7, 0.9, 0.975)
    for n in (2, 7, 20):
        deviates = calibration.deviates(wanted, n, promise)
        u = norm.ppf(wanted)
        expected = np.where(u < 0, 3.0, 0.5) ** promise * u
        assert deviates == pytest.approx(expected, abs=0.2, rel=0.07)


def test_levels_rise_wherever_they_are_asked_for(calibration: Calibration) -> None:
    wanted = np.concatenate([[1e-6, 1e-3], np.linspace(0.01, 0.99, 50), [1 - 1e-3, 1 - 1e-6]])
    for n, promise in ((1, -5.0), (3, 0.4), (200, 9.0)):
        assert (np.diff(calibration.deviates(wanted, n, promise)) >= 0).all()
    # beyond what was seen, the nearest counts
    assert calibration.deviates(wanted, 20, 1.0) == pytest.approx(
        calibration.deviates(wanted, 500, 30.0), abs=0.05
    )


def test_nothing_is_learned_from_nothing() -> None:
    assert learn_calibration([]) is None
    assert Calibration.from_tensors({}) is None


@pytest.fixture(scope="module")
def model() -> MetaModel:
    return quick_fit(dataset(np.linspace(0.03, 0.97, 30).tolist(), n=120))


def test_intervals_hold_their_share_after_trials_that_were_chosen(model: MetaModel) -> None:
    uncorrected = replace(model, experience=replace(model.experience, calibration=None))
    rest = SPACE.sample(200, seed=9)
    held: dict[bool, list[float]] = {True: [], False: []}
    for t in (0.12, 0.31, 0.52, 0.68, 0.87):
        scores = np.array([score(config, t) for config in rest])
        for corrected, known in ((True, model), (False, uncorrected)):
            optimizer = MetaOptimizer(known, {"told": t, "noise 1": 0.0, "noise 2": 0.0})
            for _ in range(8):
                config = optimizer.ask()
                optimizer.tell(config, score(config, t))
            predicted = optimizer.predict(rest, 0.8)
            assert (predicted["low"] <= predicted["high"]).all()
            inside = (predicted["low"] <= scores) & (scores <= predicted["high"])
            held[corrected].append(float(inside.mean()))
    assert abs(np.mean(held[True]) - 0.8) < 0.12
    assert abs(np.mean(held[True]) - 0.8) < abs(np.mean(held[False]) - 0.8)


def test_it_survives_storage(model: MetaModel, tmp_path: object) -> None:
    model.save(str(tmp_path))
    first, again = (m.experience.calibration for m in (model, MetaModel.load(str(tmp_path))))
    assert first is not None
    assert again is not None
    for n, promise in ((1, 0.0), (10, 1.0)):
        assert again.deviates(LEVELS, n, promise) == pytest.approx(
            first.deviates(LEVELS, n, promise), abs=1e-4
        )


def test_too_few_tasks_leave_predictions_as_they_are() -> None:
    model = quick_fit(dataset([0.2, 0.4, 0.6], n=20))
    assert model.experience.calibration is None
