"""Candidates: the configurations among which the next trial is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metahpo.space import Config, Space

Array = NDArray[np.float64]

_SPREADS = (0.02, 0.1, 0.3)  # standard deviations of the steps around an incumbent, range = 1
_FLIP = 0.3  # chance that a step changes a parameter at all


def around(
    space: Space, incumbents: Sequence[Config], n: int, rng: np.random.Generator
) -> list[Config]:
    """Draw configurations near good ones: some parameters moved a little, a lot, or re-drawn.

    Parameters
    ----------
    space : Space
    incumbents : sequence of dict
        The configurations to stay near, at least one.
    n : int
        How many to draw.
    rng : numpy.random.Generator
    """
    centres = space.encode(incumbents)[rng.integers(len(incumbents), size=n)]
    fresh = space.encode(space.sample(n, seed=int(rng.integers(2**31)), method="random"))
    step = rng.choice(_SPREADS, size=(n, 1)) * rng.standard_normal(centres.shape)
    moved = np.clip(centres + step, 0.0, 1.0)
    flip = rng.random((n, len(space.names))) < _FLIP
    flip[np.arange(n), rng.integers(len(space.names), size=n)] = True  # at least one
    array = centres.copy()
    for j, name in enumerate(space.names):
        where = space.slices[name]
        categorical = space.columns[where.start].choice is not None
        source = fresh if categorical else moved
        array[flip[:, j], where] = source[flip[:, j], where]
    return space.decode(array)
