"""Scores after 0, 1, 2, … inner steps, on as many episodes as wanted, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from metahpo.engine import Episodes, TaskSource
from metahpo.fewshot.learners import MetaLearner

_MOST_TASKS = 100
_MOST_NUMBERS = 3e7  # of the parameters of all tasks and steps that are in memory at a time


def episode_batches(
    tasks: TaskSource, episodes: int, *, seed: int, size: int = _MOST_TASKS
) -> Iterator[Episodes]:
    """Draw episodes in batches; a seed's first `n` are the same however many are drawn.

    Parameters
    ----------
    tasks : TaskSource
    episodes : int
        How many in all.
    seed : int
    size : int, default=100
        Most that are yielded at a time.
    """
    generator = Generator().manual_seed(seed)
    for start in range(0, episodes, _MOST_TASKS):
        batch = tasks.sample(min(_MOST_TASKS, episodes - start), generator)
        yield from batch.split(-(-len(batch) // size))


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
        Of the episodes: the same ones for every learner.

    Returns
    -------
    Tensor, shape (steps + 1, episodes)
    """

    def scores(batch: Episodes) -> Tensor:
        predicted = learner.path(batch, steps)  # (steps + 1, B, Q, outputs)
        y = batch.query_y.to(predicted.device)
        if learner.loss == "mse":
            return (predicted - y).square().mean((2, 3))
        return (predicted.argmax(-1) == y).float().mean(2)

    return _by_step(learner, scores, tasks, episodes, steps, seed)


def losses_by_step(
    learner: MetaLearner, tasks: TaskSource, *, episodes: int, steps: int, seed: int = 0
) -> Tensor:
    """Measure the query loss on every episode: shape (steps + 1, episodes)."""
    return _by_step(
        learner, lambda batch: learner.losses(batch, steps), tasks, episodes, steps, seed
    )


def _by_step(
    learner: MetaLearner,
    measure: Callable[[Episodes], Tensor],
    tasks: TaskSource,
    episodes: int,
    steps: int,
    seed: int,
) -> Tensor:
    held = (steps + 1) * sum(
        p.numel() for name, p in learner.parameters.items() if name.startswith("theta.")
    )
    size = max(1, min(_MOST_TASKS, int(_MOST_NUMBERS / held)))
    batches = episode_batches(tasks, episodes, seed=seed, size=size)
    return torch.cat([measure(batch).cpu() for batch in batches], 1)
