"""Stopping: for how long it pays to train features, by what they foretell of tasks held out.

Features that are trained for longer tell more of the training tasks, and from some point on less
of others. What counts is how a new task's scores follow from a few of its own: its weights are
taken to be as those of the training tasks, w ~ N(mean, C), and conditioned on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metahpo.surrogate.features import FeatureNet, FeatureOptions, settled
from metahpo.surrogate.tasks import TaskPrior, fit_task_prior

Array = NDArray[np.float64]

_TASKS = 500  # of those trained on that say what weights are like, at most
_GIVEN = (5, 20)  # trials of a task held out that are known; what the others scored is foretold
_FORETOLD = 500  # of those others, at most
_DRAWS = 10  # of which those are


class Ranked(NamedTuple):
    """The trials of some tasks, one task behind the other."""

    X: Array
    """(n, d): encoded configurations."""
    z: list[Array]
    """Each task's Gaussian ranks."""

    @property
    def task(self) -> NDArray[np.int64]:
        """(n,): the task of each trial."""
        return np.repeat(np.arange(len(self.z)), [len(z) for z in self.z])

    def take(self, tasks: NDArray[np.intp]) -> Ranked:
        """Return some of the tasks, by number."""
        parts = self._by_task(self.X)
        return Ranked(np.concatenate([parts[t] for t in tasks]), [self.z[t] for t in tasks])

    def seen(self, features: FeatureNet) -> Iterator[tuple[Array, Array]]:
        """Yield each task's features, (n_i, F), and ranks, (n_i,)."""
        return zip(self._by_task(features(self.X).astype(float)), self.z, strict=True)

    def _by_task(self, rows: Array) -> list[Array]:
        return np.split(rows, np.cumsum([len(z) for z in self.z])[:-1])


def steps_that_pay(
    own: Ranked, held: Ranked, *, options: FeatureOptions, device: str, seed: int
) -> int:
    """Return after how many steps features foretell tasks held out best.

    Training is stopped as soon as a cycle made it worse.

    Parameters
    ----------
    own, held : Ranked
        What is trained on, and what is not.
    options : FeatureOptions
    device : str
        Where torch trains.
    seed : int
    """
    best, least = 0, math.inf
    telling = own.take(np.random.default_rng(seed).permutation(len(own.z))[:_TASKS])
    for steps, features in settled(
        own.X, own.task, np.concatenate(own.z), options=options, device=device, seed=seed
    ):
        prior = fit_task_prior(telling.seen(features))
        error = _missed(prior, held.seen(features), np.random.default_rng(seed))
        if error >= least:
            break
        best, least = steps, error
    return best


def _missed(
    prior: TaskPrior, tasks: Iterator[tuple[Array, Array]], rng: np.random.Generator
) -> float:
    """Return the mean square of what is missed of tasks' ranks, given some of them."""
    errors, mean = [], prior.weights.mean(0)
    for phi, z in tasks:
        for n, _ in product(_GIVEN, range(_DRAWS)):
            given, rest = np.array_split(rng.permutation(len(z)), 2)
            w = prior.weights_given(phi[given[:n]], z[given[:n]], mean)
            errors.append(np.square(z[rest[:_FORETOLD]] - phi[rest[:_FORETOLD]] @ w).mean())
    return float(np.mean(errors))
