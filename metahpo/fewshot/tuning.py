"""A few-shot family as a task for a tuner: the space, and what an evaluation is.

A configuration of :data:`SPACE` is plain MAML with these settings, meta-trained for a fixed
number of *passes*, so that a larger batch or more steps are paid for with fewer outer updates.
One pass is a forward and a backward pass of one task; an inner step costs one, or two where the
outer gradient goes through it::

    passes an update = task_batch · (1 + inner_steps · (2 if order == "second" else 1))
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo.engine import InnerRule, OuterOptions, StepCount, TaskSource
from metahpo.fewshot.curves import losses_by_step
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.method import Method
from metahpo.fewshot.source import Split
from metahpo.fewshot.taskfile import FewShotPlan, NetPlan
from metahpo.fewshot.training import fit_seed, split_tasks
from metahpo.metadataset import Direction
from metahpo.space import Config, Space

_MOST_STEPS = 6

SPACE = Space(
    {
        "inner_rate": FloatDistribution(1e-3, 1.0, log=True),
        "inner_steps": IntDistribution(1, _MOST_STEPS),
        "outer_rate": FloatDistribution(1e-4, 3e-2, log=True),
        "task_batch": IntDistribution(4, 64, log=True),
        "width": IntDistribution(16, 128, log=True),
        "order": CategoricalDistribution(["second", "first"]),
    },
    # Finn et al.'s settings for sinusoids
    default={
        "inner_rate": 0.01,
        "inner_steps": 1,
        "outer_rate": 1e-3,
        "task_batch": 25,
        "width": 40,
        "order": "second",
    },
)
"""What is tuned."""

DIRECTION: Direction = "minimize"
METRIC = "query loss"
_JUDGED = 400  # meta-validation and meta-test tasks each
_VAL_SEED, _TEST_SEED = 3_000_017, 5_000_011


@dataclass(frozen=True)
class Evaluation:
    """What became of a configuration.

    Attributes
    ----------
    score : float
        Mean query loss on meta-validation tasks after the trained number of steps; NaN where
        training diverged.
    test_score : float
        The same on meta-test tasks.
    seconds : float
        CPU time of meta-training.
    """

    score: float
    test_score: float
    seconds: float


def passes_an_update(config: Mapping[str, Any]) -> int:
    """Return what one outer update of a configuration costs; see the module."""
    a_step = 2 if config["order"] == "second" else 1
    return int(config["task_batch"] * (1 + config["inner_steps"] * a_step))


def configured(plan: FewShotPlan, config: Config, passes: int) -> FewShotPlan:
    """Return a task with a configuration's settings, trained for about so many passes."""
    rule = InnerRule(rate=config["inner_rate"], order=config["order"])
    return replace(
        plan,
        net=_widened(plan, config["width"]),
        method_name="maml",
        method=Method(rule, steps=config["inner_steps"]),
        outer=_outer(plan, passes // passes_an_update(config), config),
    )


def conditions(plan: FewShotPlan) -> dict[str, Any]:
    """Return what of a declaration evaluations depend on; not their configuration."""
    return plan.declared_without("seeds", "learner", "evaluation", "shifted", "second")


def learned(plan: FewShotPlan, passes: int) -> FewShotPlan:
    """Return a task that learns rates and steps by gradient, trained for at most so many passes.

    All else is as in the default configuration.
    """
    default = {**SPACE.default, "inner_steps": _MOST_STEPS}
    rule = InnerRule(rate=default["inner_rate"], rates="tensor_step", learned=True)
    return replace(
        plan,
        net=_widened(plan, default["width"]),
        method_name="maml++",
        method=Method(rule, steps=StepCount(maximum=_MOST_STEPS)),
        outer=_outer(plan, passes // passes_an_update(default), default),
    )


def evaluate(plan: FewShotPlan, seed: int = 0) -> Evaluation:
    """Meta-train a task's learner and measure it on meta-validation and meta-test tasks."""
    begun = time.process_time()
    learner = fit_seed(plan, seed)
    seconds = time.process_time() - begun
    splits: tuple[tuple[Split, int], ...] = (("val", _VAL_SEED), ("test", _TEST_SEED))
    score, test_score = (
        _mean_loss(learner, split_tasks(plan, plan.source, split), seed + offset)
        for split, offset in splits
    )
    if not (isfinite(score) and isfinite(test_score)):
        return Evaluation(nan, nan, seconds)
    return Evaluation(score, test_score, seconds)


def _mean_loss(learner: MetaLearner, tasks: TaskSource, seed: int) -> float:
    steps = learner.steps_
    losses = losses_by_step(learner, tasks, episodes=_JUDGED, steps=steps, seed=seed)
    return float(losses[-1].mean())


def _widened(plan: FewShotPlan, width: int) -> NetPlan:
    return replace(plan.net, hidden=(width, width), filters=width)


def _outer(plan: FewShotPlan, iterations: int, config: Mapping[str, Any]) -> OuterOptions:
    iterations = max(iterations, 1)
    return replace(
        plan.outer,
        iterations=iterations,
        validate_every=iterations,
        tasks=config["task_batch"],
        learning_rate=config["outer_rate"],
    )
