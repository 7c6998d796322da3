"""Training and measuring a declared task: what is kept, what is resumed, what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from metahpo.engine import LabelledTasks, Progress
from metahpo.fewshot.baselines import RATES
from metahpo.fewshot.curves import episode_batches, scores_by_step
from metahpo.fewshot.evaluation import JOINT, META, ORACLE, SCRATCH, SECOND, evaluate_task
from metahpo.fewshot.pictures import draw_curves
from metahpo.fewshot.results import read_numbers, write_numbers
from metahpo.fewshot.summary import at_chosen, pooled, to_markdown
from metahpo.fewshot.taskfile import FewShotPlan, TrainingPlan, declared_task
from metahpo.fewshot.training import (
    FewerShots,
    jobs,
    load_trained,
    read_training,
    split_tasks,
    train_task,
)

DECLARED: dict[str, Any] = {
    "seeds": 2,
    "source": {"kind": "sinusoid"},
    "net": {"hidden": [8]},
    "learner": {"method": "maml++", "maximum": 2, "price": 0.01},
    "training": {
        "shots": 5,
        "iterations": 20,
        "second_iterations": 15,
        "tasks": 4,
        "validate_every": 5,
        "validation": 20,
    },
    "evaluation": {
        "shots": [2, 5],
        "steps": 3,
        "episodes": 30,
        "queries": 10,
        "baseline_steps": 4,
    },
    "shifted": {"faster": {"frequency": [2.0, 3.0]}},
    "second": {"phase": [3.2, 6.2]},
}


def plan(**changes: Any) -> FewShotPlan:
    return declared_task({**DECLARED, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train_task(plan(), out)
    return out


@pytest.fixture(scope="module")
def rows(trained: Path) -> pd.DataFrame:
    return evaluate_task(plan(), trained)


def parameters(out: Path, name: str) -> dict[str, Tensor]:
    return load_trained(out, name).parameters


def test_every_seed_has_its_learner_its_baseline_and_its_second_family(trained: Path) -> None:
    names = [job.name for job in jobs(plan())]
    assert names[:3] == ["seed-0", "seed-0/joint", "seed-0/second"]
    for name in names:
        facts = read_training(trained, name)
        assert facts["iterations"] == (15 if name.endswith("second") else 20)
        assert facts["seconds"] > 0
        assert len(facts["history"]) == (0 if name.endswith("joint") else facts["iterations"] // 5)
    first, second = parameters(trained, "seed-0"), parameters(trained, "seed-1")
    assert not torch.equal(first["theta.head.weight"], second["theta.head.weight"])


@pytest.mark.parametrize("stopped_at", [3, 13])
def test_a_stopped_training_ends_as_if_it_had_not_been(
    trained: Path, tmp_path: Path, stopped_at: int
) -> None:
    def stop(name: str, at: Progress) -> None:
        if name == "seed-0/second" and at.iteration == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_task(plan(seeds=1), tmp_path, stop)
    with pytest.raises(ValueError, match="holds no finished seed-0/second"):
        load_trained(tmp_path, "seed-0/second")
    seen: list[tuple[str, int]] = []
    train_task(plan(seeds=1), tmp_path, lambda name, at: seen.append((name, at.iteration)))
    assert {name for name, _ in seen} == {"seed-0/second"}
    assert seen[0][1] == stopped_at // 5 * 5 + 1
    for job in jobs(plan(seeds=1)):
        for name, value in parameters(trained, job.name).items():
            assert torch.equal(value, parameters(tmp_path, job.name)[name]), (job.name, name)


def test_another_task_is_refused_and_another_evaluation_is_not(trained: Path) -> None:
    train_task(plan(evaluation={"shots": [1]}), trained, pytest.fail)
    with pytest.raises(ValueError, match=r"holds learners of another task: \[net\] differs"):
        train_task(plan(net={"hidden": [9]}), trained)


def test_every_curve_is_there(rows: pd.DataFrame) -> None:
    counted = rows.groupby(["family", "learner"])["step"].agg(["size", "max"])
    curves = 2 * 2  # seeds and shots
    assert counted.to_dict("index") == {
        ("own", META): {"size": 4 * curves, "max": 3},
        ("faster", META): {"size": 4 * curves, "max": 3},
        ("second", META): {"size": 4 * curves, "max": 3},
        ("own", SECOND): {"size": 4 * curves, "max": 3},
        ("second", SECOND): {"size": 4 * curves, "max": 3},
        ("own", JOINT): {"size": 5 * curves, "max": 4},
        ("own", SCRATCH): {"size": 5 * curves, "max": 4},
        ("own", ORACLE): {"size": curves, "max": 0},
    }
    assert (rows["n"] == 30).all()
    assert np.isclose(rows["rate"].dropna().to_numpy()[:, None], RATES).any(1).all()
    assert rows.loc[rows["learner"].isin([JOINT, SCRATCH]), "rate"].notna().all()
    assert (rows.loc[(rows["learner"] == ORACLE) & (rows["shots"] == 5), "mean"] < 1e-6).all()


def test_scores_are_those_of_plain_gradient_descent(trained: Path) -> None:
    learner = load_trained(trained, "seed-0")
    tasks = plan().source.tasks("test", shots=5, queries=10)
    scores = scores_by_step(learner, tasks, episodes=3, steps=3, seed=7)
    (batch,) = episode_batches(tasks, 3, seed=7)
    theta = {n: p for n, p in learner.parameters.items() if n.startswith("theta.")}

    def forward(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        hidden = torch.relu(x @ weights["theta.layer0.weight"] + weights["theta.layer0.bias"])
        return hidden @ weights["theta.head.weight"] + weights["theta.head.bias"]

    for task in range(3):
        weights = {n: p.clone() for n, p in theta.items()}
        for step in range(4):
            error = forward(weights, batch.query_x[task]) - batch.query_y[task]
            assert float(error.square().mean()) == pytest.approx(
                float(scores[step, task]), rel=1e-4
            )
            leaves = {n: p.detach().requires_grad_() for n, p in weights.items()}
            loss = (forward(leaves, batch.support_x[task]) - batch.support_y[task]).square().mean()
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
                log_rate = learner.parameters[name.replace("theta.", "rate.")]
                rate = log_rate[min(step, len(log_rate) - 1)].exp()
                weights[name] = (leaf - rate * gradient).detach()


def test_seeds_are_averaged(rows: pd.DataFrame) -> None:
    table = pooled(rows)
    key = ("own", META, False, 5, 2)
    own = rows[(rows["family"] == "own") & (rows["learner"] == META)]
    own = own[(own["shots"] == 5) & (own["step"] == 2)]
    assert table.loc[key, "mean"] == pytest.approx(own["mean"].mean())
    assert table.loc[key, "seeds_sd"] == pytest.approx(np.std(own["mean"], ddof=1))
    assert table.loc[key, "ci95"] == pytest.approx((1.96 * own["sd"] / np.sqrt(30)).mean())
    assert table.loc[key, "seeds"] == 2
    assert (at_chosen(rows).index.get_level_values("step") == -1).all()


def test_an_infinite_loss_has_no_finite_interval(rows: pd.DataFrame) -> None:
    exploded = rows.assign(mean=np.inf, sd=np.nan)
    assert np.isinf(pooled(pd.concat([rows[:5], exploded]))["ci95"]).all()


SESSION = {
    "command": "metahpo fewshot eval x",
    "metahpo": "0",
    "machine": {"cores": 2, "cpu": "fast"},
    "versions": {"python": "3", "torch": "2"},
}


def test_the_page_holds_what_was_measured(
    rows: pd.DataFrame, trained: Path, tmp_path: Path
) -> None:
    trainings = {job.name: read_training(trained, job.name) for job in jobs(plan())}
    page = to_markdown("waves", "MSE", rows, trainings, SESSION)
    mean = pooled(rows).loc[("own", META, False, 5, 1), "mean"]
    assert f"{mean:#.3g}" in page
    for words in ("After each number", "oracle", "faster", SECOND, "seed-1/second", "2 cores"):
        assert words in page
    draw_curves(rows, "MSE", tmp_path / "waves.png")
    assert (tmp_path / "waves.png").read_bytes().startswith(b"\x89PNG")
    write_numbers(tmp_path, "waves", {"session": SESSION}, rows)
    facts, again = read_numbers(tmp_path / "waves.json")
    assert facts == {"session": SESSION}
    pd.testing.assert_frame_equal(again, rows, check_dtype=False, rtol=1e-5)
    json.loads((tmp_path / "waves.json").read_text(), parse_constant=pytest.fail)  # no NaN


def test_images_are_measured_both_ways(shared: Path, tmp_path: Path) -> None:
    declared = declared_task(
        {
            "source": {
                "kind": "omniglot",
                "folder": str(shared / "data" / "omniglot"),
                "rotations": False,
            },
            "net": {"kind": "conv4", "filters": 8, "norm": "batch"},
            "learner": {"method": "anil", "rate": 0.1},
            "training": {"shots": 1, "queries": 2, "iterations": 2, "tasks": 2, "validation": 2},
            "evaluation": {
                "shots": [1],
                "steps": 1,
                "episodes": 4,
                "queries": 2,
                "baselines": ["joint", "oracle"],
                "baseline_steps": 1,
            },
        }
    )
    train_task(declared, tmp_path)
    rows = evaluate_task(declared, tmp_path)
    assert set(rows["learner"]) == {META, JOINT}  # nobody knows the form of a character
    assert set(rows["transductive"]) == {False, True}
    assert rows["mean"].between(0, 1).all()
    head = load_trained(tmp_path, "seed-0/joint").parameters["theta.head.weight"]
    assert head.shape[-1] == 1028
    page = to_markdown(
        "x", "accuracy", rows, {"seed-0": read_training(tmp_path, "seed-0")}, SESSION
    )
    assert "1, not transductive" in page


def test_tasks_may_have_different_numbers_of_shots() -> None:
    declared = plan(training={**DECLARED["training"], "fewest_shots": 2})
    tasks = split_tasks(declared, declared.source, "train")
    episodes = tasks.sample(200, torch.Generator().manual_seed(0))
    assert episodes.support_mask is not None
    assert set(episodes.support_mask.sum(1).tolist()) == {2, 3, 4, 5}
    with pytest.raises(ValueError, match="fewest_shots is 6; it lies between 1 and shots"):
        plan(training={"shots": 5, "fewest_shots": 6})


def test_every_class_keeps_as_many_shots() -> None:
    x, y = torch.arange(30.0)[:, None], torch.arange(30) % 3
    training = TrainingPlan(shots=4, fewest_shots=1)
    tasks = FewerShots(LabelledTasks(x, y, ways=3, shots=4, queries=2), training)
    episodes = tasks.sample(50, torch.Generator().manual_seed(0))
    assert episodes.support_mask is not None
    counts = [
        y[m].bincount(minlength=3).tolist()
        for y, m in zip(episodes.support_y, episodes.support_mask, strict=True)
    ]
    assert all(len(set(count)) == 1 for count in counts)
    assert {count[0] for count in counts} == {1, 2, 3, 4}
