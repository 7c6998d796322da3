"""What a meta-learner is compared with: the same net, without anything learned about learning.

joint
    Trained on all tasks at once, without an inner loop, then fine-tuned on a task's support. In
    classification the net learns to tell all training classes apart and its head is replaced.
scratch
    A fresh net, trained on the support alone.

Both take plain gradient steps on all parameters, at the rate that does best on meta-validation
tasks with as many shots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metahpo.engine import Episodes, InnerRule, TaskSource
from metahpo.fewshot.curves import losses_by_step
from metahpo.fewshot.learners import LossName, MetaLearner
from metahpo.fewshot.method import Method
from metahpo.fewshot.source import Source
from metahpo.fewshot.taskfile import FewShotPlan

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""The learning rates that the baselines choose from."""

_JOINT = Method(InnerRule(), steps=0)


def loss_of(source: Source) -> LossName:
    """Return the loss that a source's targets ask for."""
    return "mse" if source.classes is None else "cross_entropy"


def can_be_joint(source: Source) -> bool:
    """Tell whether the tasks of a source have anything in common that can be trained at once."""
    return source.classes is None or source.has_labels


def joint_learner(plan: FewShotPlan, seed: int) -> tuple[MetaLearner, TaskSource]:
    """Return the untrained joint baseline, and the tasks to train it on."""
    source, training = plan.source, plan.training
    outputs = None
    if source.classes is None:
        tasks: TaskSource = source.tasks("train", shots=1, queries=training.queries)
    else:
        x, y = source.labelled("train")
        tasks = _Pool(x, y, per_task=(source.classes or 1) * training.queries)
        outputs = int(y.max()) + 1
    learner = MetaLearner(
        plan.net.build(source, outputs), _JOINT, loss=loss_of(source), transductive=True, seed=seed
    )
    return learner, tasks


@dataclass(frozen=True)
class _Pool:
    """Examples of all classes as the queries of a single task."""

    x: Tensor
    y: Tensor
    per_task: int

    def sample(self, tasks: int, generator: Generator) -> Episodes:
        rows = torch.randint(len(self.x), (1, tasks * self.per_task), generator=generator)
        x, y = self.x[rows], self.y[rows]
        return Episodes(x[:, :1], y[:, :1], x, y)


def fine_tuned(plan: FewShotPlan, joint: MetaLearner | None, seed: int) -> MetaLearner:
    """Return a learner that takes plain steps from the joint net, or from scratch without one."""
    rule = InnerRule(rate=RATES[0], order="first")
    learner = MetaLearner(
        plan.net.build(plan.source), Method(rule), loss=loss_of(plan.source), seed=seed
    )
    if joint is not None:
        for name, trained in joint.parameters.items():
            if name.startswith("theta."):
                fits = trained.shape == learner.parameters[name].shape
                # a head for all training classes says nothing on new ones: theirs starts at 0
                learner.parameters[name] = (
                    trained if fits else torch.zeros_like(learner.parameters[name])
                )
    return learner


def with_best_rate(
    learner: MetaLearner, tasks: TaskSource, *, episodes: int, steps: int
) -> MetaLearner:
    """Set the rate whose best step has the least loss on meta-validation tasks."""
    least: dict[float, float] = {}
    for rate in RATES:
        _set_rate(learner, rate)
        losses = losses_by_step(learner, tasks, episodes=episodes, steps=steps).mean(1)
        least[rate] = float(losses.nan_to_num(nan=torch.inf).min())
    _set_rate(learner, min(least, key=least.__getitem__))
    return learner


def rate_of(learner: MetaLearner) -> float:
    """Return a baseline's rate."""
    return float(learner.parameters["rate.all"].exp())


def _set_rate(learner: MetaLearner, rate: float) -> None:
    learner.parameters["rate.all"] = torch.tensor(rate).log().to(learner.device)
