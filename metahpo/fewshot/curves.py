"""Scores after 0, 1, 2, … inner steps, on as many episodes as wanted."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from metahpo.engine import Episodes, TaskSource
from metahpo.fewshot.learners import MetaLearner

_AT_ONCE = 100  # episodes that are in memory at a time


def episode_batches(tasks: TaskSource, episodes: int, *, seed: int) -> Iterator[Episodes]:
    """Draw so many episodes, in batches; the same seed draws the same ones for every learner."""
    generator = Generator().manual_seed(seed)
    for start in range(0, episodes, _AT_ONCE):
        yield tasks.sample(min(_AT_ONCE, episodes - start), generator)


def scores_by_step(
    learner: MetaLearner, tasks: TaskSource, *, episodes: int, steps: int, seed: int = 0
) -> Tensor:
    """Measure accuracy or mean squared error on every episode's queries.

    Parameters
    ----------
    learner : MetaLearner
    tasks : TaskSource
    episodes, steps : int
    seed : int, default=0
        Of the episodes.

    Returns
    -------
    Tensor, shape (steps + 1, episodes)
    """
    batches = episode_batches(tasks, episodes, seed=seed)
    return torch.cat([_scores(learner, batch, steps).cpu() for batch in batches], 1)


def losses_by_step(
    learner: MetaLearner, tasks: TaskSource, *, episodes: int, steps: int, seed: int = 0
) -> Tensor:
    """Measure the query loss on every episode: shape (steps + 1, episodes)."""
    batches = episode_batches(tasks, episodes, seed=seed)
    return torch.cat([learner.losses(batch, steps).cpu() for batch in batches], 1)


def _scores(learner: MetaLearner, batch: Episodes, steps: int) -> Tensor:
    predicted = learner.path(batch, steps)  # (steps + 1, B, Q, outputs)
    y = batch.query_y.to(predicted.device)
    if learner.loss == "mse":
        return (predicted - y).square().mean((2, 3))
    return (predicted.argmax(-1) == y).float().mean(2)
