"""Meta-testing of trained learners: every number of shots and steps, against the baselines.

All learners see the same episodes, so that differences between them are paired. The columns of
what :func:`evaluate_task` returns, one row a curve's point:

============= ====================================================================================
column        meaning
============= ====================================================================================
family        "own", a shifted family's name, or "second"
learner       "meta", "meta, then second", "joint, fine-tuned", "scratch", "oracle"
transductive  whether queries were normalised by each other's statistics
shots         of the support
seed          of the training
step          inner steps
chosen        whether the step count is the learner's own
rate          the baselines' learning rate, chosen on meta-validation tasks; else NaN
mean          over the episodes
sd            between episodes
n             episodes
============= ====================================================================================

The 95% confidence interval of a mean is mean ± 1.96 · sd / sqrt(n): between episodes. What seeds
change is shown by the seeds' own means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from metahpo.engine import TaskSource
from metahpo.fewshot.baselines import can_be_joint, fine_tuned, rate_of, with_best_rate
from metahpo.fewshot.curves import episode_batches, scores_by_step
from metahpo.fewshot.learners import MetaLearner
from metahpo.fewshot.source import Source
from metahpo.fewshot.taskfile import FewShotPlan
from metahpo.fewshot.training import load_trained

META, SECOND = "meta", "meta, then second"
JOINT, SCRATCH, ORACLE = "joint, fine-tuned", "scratch", "oracle"

_TEST_SEED = 2_000_003
_RATE_EPISODES = 100  # on which the baselines choose their rate


@dataclass(frozen=True)
class Curve:
    """What is measured at once: a learner on a family with a number of shots."""

    family: str
    learner: str
    transductive: bool
    shots: int
    seed: int


def evaluate_task(
    plan: FewShotPlan, out: Path, *, watch: Callable[[int, Curve], None] = lambda done, curve: None
) -> pd.DataFrame:
    """Measure all learners of a trained task, and the baselines.

    Parameters
    ----------
    plan : FewShotPlan
    out : Path
        The folder that :func:`~metahpo.fewshot.training.train_task` filled.
    watch : callable, optional
        Called with every curve that is measured, and how many are.

    Returns
    -------
    DataFrame
        See the module.

    Raises
    ------
    ValueError
        If a learner is missing or not finished.
    """
    parts: list[pd.DataFrame] = []
    for seed in range(plan.seeds):
        for curve, learner in _curves(plan, out, seed):
            parts.append(_measured(plan, curve, learner))
            watch(len(parts), curve)
    return pd.concat(parts, ignore_index=True)


def n_curves(plan: FewShotPlan, out: Path) -> int:
    """Return how many curves :func:`evaluate_task` measures."""
    return sum(len(_curves(plan, out, seed)) for seed in range(plan.seeds))


def _curves(plan: FewShotPlan, out: Path, seed: int) -> list[tuple[Curve, MetaLearner]]:
    """List a seed's curves, each with the learner that starts it."""
    own = load_trained(out, f"seed-{seed}")
    starts = [("own", META, own)]
    starts += [(family, META, own) for family in plan.shifted]
    if plan.second is not None:
        second = load_trained(out, f"seed-{seed}/second")
        starts += [("second", META, own), ("own", SECOND, second), ("second", SECOND, second)]
    baselines = plan.evaluation.baselines
    if "joint" in baselines and can_be_joint(plan.source):
        joint = load_trained(out, f"seed-{seed}/joint")
        starts.append(("own", JOINT, fine_tuned(plan, joint, seed)))
    if "scratch" in baselines:
        starts.append(("own", SCRATCH, fine_tuned(plan, None, seed)))
    if "oracle" in baselines and plan.source.has_oracle:
        starts.append(("own", ORACLE, own))
    return [
        (Curve(family, name, transductive, shots, seed), learner)
        for shots in plan.evaluation.shots
        for transductive in ((False, True) if own.net.uses_batch else (False,))
        for family, name, learner in starts
    ]


def _measured(plan: FewShotPlan, curve: Curve, learner: MetaLearner) -> pd.DataFrame:
    own = curve.learner in (META, SECOND)
    source = _source(plan, curve.family)
    wanted = plan.evaluation
    tasks = source.tasks("test", shots=curve.shots, queries=wanted.queries)
    if curve.learner == ORACLE:
        scores = _oracle_scores(source, tasks, wanted.episodes)
    else:
        learner.transductive = curve.transductive
        steps = max(wanted.steps, learner.steps_) if own else wanted.baseline_steps
        if not own:
            familiar = source.tasks("val", shots=curve.shots, queries=wanted.queries)
            with_best_rate(learner, familiar, episodes=_RATE_EPISODES, steps=steps)
        scores = scores_by_step(
            learner, tasks, episodes=wanted.episodes, steps=steps, seed=_TEST_SEED
        )
    count = torch.arange(len(scores))
    return pd.DataFrame(
        {
            **asdict(curve),
            "step": count,
            "chosen": (count == learner.steps_) & own,
            "rate": nan if own or curve.learner == ORACLE else rate_of(learner),
            "mean": scores.mean(1),
            "sd": scores.std(1),
            "n": scores.shape[1],
        }
    )


def _source(plan: FewShotPlan, family: str) -> Source:
    if family == "second":
        assert plan.second is not None
        return plan.second
    return plan.source if family == "own" else plan.shifted[family]


def _oracle_scores(source: Source, tasks: TaskSource, episodes: int) -> Tensor:
    """Return the oracle's squared errors: (1, episodes)."""
    errors = []
    for batch in episode_batches(tasks, episodes, seed=_TEST_SEED):
        errors.append((source.oracle(batch) - batch.query_y).square().mean((1, 2)))
    return torch.cat(errors)[None]
