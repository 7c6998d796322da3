"""Candidates: the configurations among which the next trial is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metahpo.space import Codes, Config, Space
from metahpo.surrogate.features import Floats

Array = NDArray[np.float64]

_SPREADS = (0.02, 0.1, 0.3)  # standard deviations of the steps around an incumbent, range = 1
_FLIP = 0.3  # chance that a step changes a parameter at all


@dataclass(frozen=True)
class Drawn:
    """Encoded rows of a space as a list of configurations, decoded when looked at."""

    space: Space
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Config:
        return self.space.decode(self.rows[i : i + 1])[0]


@dataclass(frozen=True)
class Candidates:
    """Configurations as the belief reads them; only the chosen one is written out."""

    codes: Codes
    """In the study's own space."""
    phi: Floats
    """(n, F): as from :meth:`metahpo.MetaModel.encode`."""
    known: Codes
    """In the model's space."""
    parts: tuple[Sequence[Config] | Drawn, ...]
    """Lists that hold the configurations themselves."""
    places: NDArray[np.intp]
    """(n,): where each stands in those lists, laid one behind the other."""

    @classmethod
    def of(
        cls, codes: Codes, phi: Floats, known: Codes, configs: Sequence[Config] | Drawn
    ) -> Candidates:
        """View all configurations of one list."""
        return cls(codes, phi, known, (configs,), np.arange(len(codes)))

    def __len__(self) -> int:
        return len(self.codes)

    def __add__(self, other: Candidates) -> Candidates:
        behind = sum(len(part) for part in self.parts)
        return Candidates(
            self.codes + other.codes,
            np.concatenate([self.phi, other.phi]),
            self.known + other.known,
            self.parts + other.parts,
            np.concatenate([self.places, behind + other.places]),
        )

    def take(self, rows: NDArray[np.intp]) -> Candidates:
        """Return some of them, by number."""
        return Candidates(
            self.codes.take(rows),
            self.phi[rows],
            self.known.take(rows),
            self.parts,
            self.places[rows],
        )

    def config(self, i: int) -> Config:
        """Write one of them out."""
        place = int(self.places[i])
        for part in self.parts:
            if place < len(part):
                return dict(part[place])
            place -= len(part)
        raise IndexError(i)


def around(space: Space, incumbents: Codes, n: int, rng: np.random.Generator) -> Array:
    """Draw encoded rows near good ones: some parameters moved a little, a lot, or re-drawn.

    What an incumbent leaves inactive is drawn anew, for where a changed parent activates it.

    Parameters
    ----------
    space : Space
    incumbents : Codes
        The configurations to stay near, at least one.
    n : int
        How many to draw.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float, shape (n, n_columns)
        For :meth:`Space.snap` or :meth:`Space.decode`.
    """
    rows = rng.integers(len(incumbents), size=n)
    fresh = rng.random((n, len(space.columns)))  # the largest of uniform columns: a fair choice
    start = np.where(incumbents.active[rows], incumbents.array[rows], fresh)
    step = rng.choice(_SPREADS, size=(n, 1)) * rng.standard_normal(start.shape)
    categorical = np.array([column.choice is not None for column in space.columns])
    moved = np.where(categorical, fresh, np.clip(start + step, 0.0, 1.0))
    flip = rng.random((n, len(space.names))) < _FLIP
    flip[np.arange(n), rng.integers(len(space.names), size=n)] = True  # at least one
    width = [where.stop - where.start for where in space.slices.values()]
    return np.where(np.repeat(flip, width, axis=1), moved, start)
