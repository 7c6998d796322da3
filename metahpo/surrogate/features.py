"""FeatureNet: features of a configuration, learned over all tasks at once.

Multi-task regression: a network phi shared by all tasks, one linear head a task, squared error on
the tasks' Gaussian ranks. An ensemble's members are trained side by side and their features stand
next to each other, so that one linear model on them is the ensemble.

The learning rate falls to nothing and rises again in cycles, each as long as all before it: so one
training has a settled network after 1000, 2000, 4000, ... steps, and can be stopped after each
(Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017).

Notation
--------
===== =================== ==================================================================
name  shape               meaning
===== =================== ==================================================================
E                         members of the ensemble
X     (n, d)              encoded configurations, activity columns appended
phi   (n, E·F + 1)        features: every member's, scaled by 1/sqrt(E), and a constant
H     (E, tasks, F)       the heads, used in training only
===== =================== ==================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

_CYCLE = 1000  # steps of the first cycle
_STEPS = 1000  # where nothing says how many pay
_MOST_STEPS = 8000  # where no error rises before
_NARROW = 0.1  # an input's deviation at the least: what is nearly constant is not blown up


@dataclass(frozen=True)
class FeatureOptions:
    """How the network is built and trained."""

    members: int = 3
    width: int = 64
    depth: int = 2
    features: int = 32
    steps: int | None = None
    """Of training; None for as many as pay on tasks held out, where there are enough of them."""
    batch: int = 512
    learning_rate: float = 6e-3
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class FeatureNet:
    """The trained network: one (E, in, out) weight and one (E, out) bias a layer."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    def __call__(self, X: Array) -> NDArray[np.float32]:
        """Compute the features of encoded configurations.

        Parameters
        ----------
        X : ndarray of float, shape (n, d)

        Returns
        -------
        ndarray of float32, shape (n, E * F + 1)
            In single precision, as it was trained: more than twice as fast.
        """
        single, (members, _, features) = np.float32, self.weights[-1].shape
        X = X.astype(single)
        phi = np.ones((len(X), self.size), dtype=single)
        for e in range(members):
            hidden = X
            for weight, bias in zip(self.weights, self.biases, strict=True):
                hidden = hidden @ weight[e].astype(single)
                hidden += bias[e].astype(single)
                np.tanh(hidden, out=hidden)
            phi[:, e * features : (e + 1) * features] = hidden / math.sqrt(members)
        return phi

    @property
    def size(self) -> int:
        """Number of features, the constant included."""
        members, _, features = self.weights[-1].shape
        return int(members * features + 1)

    def tensors(self) -> dict[str, Array]:
        """Return the network as named arrays, for storage."""
        return {f"weight_{i}": w for i, w in enumerate(self.weights)} | {
            f"bias_{i}": b for i, b in enumerate(self.biases)
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Array]) -> FeatureNet:
        """Rebuild the network from :meth:`tensors`'s value."""
        layers = range(sum(name.startswith("weight_") for name in tensors))
        return cls(
            tuple(tensors[f"weight_{i}"].astype(float) for i in layers),
            tuple(tensors[f"bias_{i}"].astype(float) for i in layers),
        )


def train_features(
    X: Array,
    task: NDArray[np.int64],
    z: Array,
    *,
    options: FeatureOptions | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> FeatureNet:
    """Train a :class:`FeatureNet` on the trials of all tasks.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
        Encoded configurations.
    task : ndarray of int, shape (n,)
        The task of each trial, counted from 0.
    z : ndarray of float, shape (n,)
        Gaussian ranks of the scores.
    options : FeatureOptions, optional
        1000 steps where they leave that open.
    device : str, default="cpu"
        Where torch trains.
    seed : int, default=0
    """
    options = options or FeatureOptions()
    *_, (_, net) = settled(
        X, task, z, options.steps or _STEPS, options=options, device=device, seed=seed
    )
    return net


def settled(
    X: Array,
    task: NDArray[np.int64],
    z: Array,
    steps: int = _MOST_STEPS,
    *,
    options: FeatureOptions,
    device: str,
    seed: int,
) -> Iterator[tuple[int, FeatureNet]]:
    """Train as :func:`train_features` does, and yield the network at the end of each cycle.

    Yields
    ------
    (int, FeatureNet)
        With the number of steps so far; lastly after `steps`.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    n_tasks = int(task.max()) + 1
    sizes = [X.shape[1], *[options.width] * options.depth, options.features]
    shapes = [(options.members, a, b) for a, b in pairwise(sizes)]
    weights = [torch.randn(s, generator=generator) / s[1] ** 0.5 for s in shapes]
    biases = [torch.zeros(options.members, s[2]) for s in shapes]
    heads = torch.randn(options.members, n_tasks, options.features, generator=generator)
    parameters = [
        p.to(device).requires_grad_() for p in [*weights, *biases, heads / options.features**0.5]
    ]
    layers = len(shapes)
    centre, width = X.mean(0), np.maximum(X.std(0), _NARROW)
    data = torch.as_tensor((X - centre) / width, dtype=torch.float32, device=device)
    target = torch.as_tensor(z, dtype=torch.float32, device=device)
    owner = torch.as_tensor(task, device=device)
    optimizer = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    for start, end in pairwise(_ends(steps)):
        # a tenth; of ten steps that would be one, less which torch divides by
        rise = min(0.9, max(0.1, 1.5 / (end - start)))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.learning_rate, total_steps=end - start, pct_start=rise
        )
        for _ in range(start, end):
            rows = torch.randint(len(X), (options.members, options.batch), generator=generator)
            rows = rows.to(device)
            hidden = data[rows]  # (E, batch, d)
            for weight, bias in zip(parameters[:layers], parameters[layers:-1], strict=True):
                hidden = torch.tanh(hidden @ weight + bias[:, None])
            members = torch.arange(options.members, device=device)[:, None]
            head = parameters[-1][members, owner[rows]]  # (E, batch, F)
            loss = ((hidden * head).sum(-1) - target[rows]).square().mean(1).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        trained = [p.detach().cpu().numpy().astype(float) for p in parameters[:-1]]
        yield end, _undone(trained[:layers], trained[layers:], centre, width)


def _undone(
    weights: Sequence[Array], biases: Sequence[Array], centre: Array, width: Array
) -> FeatureNet:
    """Return the network that takes as they stand the inputs that it was trained on in units."""
    first = weights[0] / width[:, None]
    return FeatureNet((first, *weights[1:]), (biases[0] - centre @ first, *biases[1:]))


def _ends(steps: int) -> list[int]:
    """Return where cycles end, 0 first: each doubles the steps so far."""
    ends = [0, min(_CYCLE, steps)]
    while ends[-1] < steps:
        ends.append(min(2 * ends[-1], steps))
    return ends
