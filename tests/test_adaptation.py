"""What tasks held out teach about a study's kernel, scales and noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from metahpo.surrogate import adaptation
from metahpo.surrogate.adaptation import (
    RULE,
    Adaptation,
    HeldOutTask,
    learn_adaptation,
    surprise,
)
from metahpo.surrogate.hypotheses import Told, View, Weighed, initial_hypotheses
from metahpo.surrogate.kernels import matern52
from metahpo.surrogate.null import weigh_null
from metahpo.surrogate.scale import ScalePrior

Array = NDArray[np.float64]

SCALE = ScalePrior(mean=0.0, sd=0.5)
LENGTH, NOISE = np.array([0.2, 5.0]), 0.3  # the second column hardly matters


def smooth_task(rng: np.random.Generator, n: int = 60) -> HeldOutTask:
    """A task that is like none of two training tasks, which know nothing."""
    X = rng.random((n, 2))
    points = torch.from_numpy(X)
    K = matern52(points, points, torch.from_numpy(LENGTH)).numpy()
    y = rng.multivariate_normal(np.zeros(n), K + NOISE * np.eye(n))
    nothing = torch.zeros(1, n, 2, dtype=torch.float64)
    return HeldOutTask(View(points[None], nothing, nothing), y, np.log([0.5, 0.5]), np.zeros(n))


@pytest.fixture(scope="module")
def tasks() -> list[HeldOutTask]:
    rng = np.random.default_rng(0)
    return [smooth_task(rng) for _ in range(12)]


@pytest.fixture(scope="module")
def learned(tasks: list[HeldOutTask]) -> Adaptation:
    learned = learn_adaptation(tasks, SCALE, device="cpu", seed=0)
    assert learned is not None
    return learned


def told(task: HeldOutTask, n: int) -> tuple[Told, Weighed]:
    """Its first trials, and what the null hypotheses make of them."""
    scales, log_scales = SCALE.grid(task.y[:n])
    at = View(*(getattr(task.view, part)[:, :n] for part in ("X", "mean", "root")))
    rest = (task.log_relevance, scales, log_scales)
    trials = Told(
        at,
        torch.from_numpy(task.y[None, :n]),
        torch.ones(1, n, dtype=torch.bool),
        *(torch.from_numpy(values)[None] for values in rest),
    )
    return trials, weigh_null(trials)


def test_what_made_the_tasks_is_found(learned: Adaptation) -> None:
    start, theta = initial_hypotheses(2), learned.theta
    # the hypothesis that the prior favours explains these tasks best
    length = theta["length"][0].exp()
    assert length[0] == pytest.approx(LENGTH[0], rel=0.3)
    assert length[1] > 5 * length[0]
    # the unit of z is free, the share of the noise is not: there is more than it began with
    share, before = ((one["noise"] - one["local"])[0].exp() for one in (theta, start))
    assert share > 2 * before


def test_scores_to_come_are_foretold_better(learned: Adaptation) -> None:
    rng = np.random.default_rng(1)
    gains = []
    for task in (smooth_task(rng) for _ in range(10)):
        trials = told(task, 60)  # all of it, as the evidence of 60 trials
        before, after = (
            float(surprise(*trials)(one.hypotheses(*trials)))
            for one in (Adaptation.unlearned(2), learned)
        )
        gains.append(before - after)
    assert np.mean(gains) > 0.02
    assert np.mean(np.array(gains) > 0) > 0.7


def test_inner_steps_make_the_trials_less_surprising(tasks: list[HeldOutTask]) -> None:
    start = initial_hypotheses(2)
    for task in tasks[:4]:
        trials = told(task, 30)
        losses = []
        for steps in (0, 1, 5, 20):
            moved = Adaptation(start, RULE.initial_log_rates(start, 1), steps).hypotheses(*trials)
            losses.append(float(surprise(*trials)(moved)))
        assert losses == sorted(losses, reverse=True)


def test_a_step_that_leads_nowhere_is_not_taken(tasks: list[HeldOutTask]) -> None:
    start = initial_hypotheses(2)
    rates = {name: rate + 100 for name, rate in RULE.initial_log_rates(start, 1).items()}
    moved = Adaptation(start, rates, 3).hypotheses(*told(tasks[0], 10))
    for name, value in moved.items():
        assert value.isfinite().all()
        assert ((value[0] - start[name]).abs() <= 3).all()


def test_it_is_the_same_for_the_same_seed_and_survives_storage(
    tasks: list[HeldOutTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "_OUTER", replace(adaptation._OUTER, iterations=10))
    first, again = (learn_adaptation(tasks, SCALE, device="cpu", seed=0) for _ in range(2))
    assert first is not None
    assert again is not None
    for one in (again, Adaptation.from_tensors(first.tensors())):
        assert one.steps == first.steps
        for kept, value in ((one.theta, first.theta), (one.log_rates, first.log_rates)):
            assert kept.keys() == value.keys()
            for name in value:
                torch.testing.assert_close(kept[name], value[name], rtol=0, atol=0)


def test_null_hypotheses_stored_by_an_earlier_version_are_left_out(learned: Adaptation) -> None:
    stored = learned.tensors()
    for name in ("local", "noise", "length"):
        value = stored[f"adaptation.theta.{name}"]
        stored[f"adaptation.theta.{name}"] = np.concatenate([value, value, value, value])
    for name, value in Adaptation.from_tensors(stored).theta.items():
        torch.testing.assert_close(value, learned.theta[name], rtol=0, atol=0)


def test_too_few_tasks_teach_nothing(tasks: list[HeldOutTask]) -> None:
    assert learn_adaptation(tasks[:3], SCALE, device="cpu", seed=0) is None
    assert learn_adaptation([], SCALE, device="cpu", seed=0) is None
    constant = [replace(task, y=np.ones_like(task.y)) for task in tasks]
    assert learn_adaptation(constant, SCALE, device="cpu", seed=0) is None


def test_it_says_so_when_it_could_not_learn(
    tasks: list[HeldOutTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "_OUTER", replace(adaptation._OUTER, iterations=5))

    def absurd(task: HeldOutTask) -> HeldOutTask:  # what is foretold is no number, once squared
        return replace(task, view=replace(task.view, mean=1e200 * task.view.X))

    with pytest.warns(UserWarning, match="5 of 5 .* hardly learned"):
        learn_adaptation([absurd(task) for task in tasks], SCALE, device="cpu", seed=0)


def test_another_space_takes_the_length_scales_of_the_parameters_it_shares() -> None:
    theta = initial_hypotheses(3)
    theta["length"] = torch.log(torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64))
    learned = Adaptation(theta, RULE.initial_log_rates(theta, 1), 0)
    known = {"a": slice(0, 1), "b": slice(1, 3)}
    assert learned.on_columns(known, dict(known)) is learned
    other = {"new": slice(0, 1), "b": slice(1, 3), "a": slice(3, 4)}
    length = learned.on_columns(known, other).theta["length"].exp()
    # what is not known is neither short nor long: the geometric mean
    np.testing.assert_allclose(length[0], [2.0, 2.0, 4.0, 1.0])
    nothing = Adaptation.unlearned(0).on_columns({}, other)
    np.testing.assert_allclose(nothing.theta["length"], initial_hypotheses(4)["length"])
