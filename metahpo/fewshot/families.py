"""Families of regression tasks: every task is one function of a family with settable ranges.

Shifted and held-out families are settings: other amplitudes, frequencies, noise, or another kind.

Notation
--------
===== ============= ========================================================================
name  shape         meaning
===== ============= ========================================================================
T                   tasks of a batch
n                   points of a task
x, y  (T, n)        points and the functions' values there
c     (T, m)        a task's coefficients
===== ============= ========================================================================

References
----------
Finn, Abbeel, Levine, "Model-Agnostic Meta-Learning", ICML 2017, section 5.1: the sinusoids.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from metahpo.engine import Episodes
from metahpo.fewshot.source import Source, Split

Range = tuple[float, float]
Functions = Callable[[Tensor], Tensor]
"""A batch of functions: from x, shape (T, n), to y, shape (T, n)."""

_FREQUENCIES = 129  # where the sinusoids' oracle looks for a frequency it is not told
_RIDGE = 1e-8  # keeps the oracles' normal equations solvable when points are fewer than unknowns


@dataclass(frozen=True)
class RegressionFamily(Source):
    """Functions of one number that a learner sees at a few points.

    Parameters
    ----------
    domain : (float, float), default=(-5, 5)
        Where points are drawn, uniformly.
    noise : float, default=0
        Standard deviation of Gaussian noise on the support's targets. Query targets are the
        function itself, so that the error of a perfect learner is 0.
    """

    domain: Range = (-5.0, 5.0)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise ValueError(f"{field.name} is {list(value)}; the lower end comes first")
        if self.domain[0] == self.domain[1]:
            raise ValueError(f"domain is {list(self.domain)}; it holds a single point")
        if self.noise < 0:
            raise ValueError(f"noise is {self.noise}; it must not be negative")

    @property
    def classes(self) -> None:
        """None: a regression."""
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """One number."""
        return (1,)

    def tasks(self, split: Split, *, shots: int, queries: int) -> RegressionTasks:
        """Return the family's tasks; every split draws from the same family."""
        return RegressionTasks(self, shots, queries)

    @property
    def has_oracle(self) -> bool:
        """Whether fitting the family's own form is a linear problem."""
        return type(self).fit is not RegressionFamily.fit

    def oracle(self, episodes: Episodes) -> Tensor:
        """Fit the family's own form to every support by least squares."""
        fitted = self.fit(episodes.support_x[..., 0], episodes.support_y[..., 0])
        return fitted(episodes.query_x[..., 0])[..., None]

    @abstractmethod
    def draw(self, tasks: int, generator: Generator) -> Functions:
        """Draw a batch of functions."""

    def fit(self, x: Tensor, y: Tensor) -> Functions:
        """Fit functions of this family by least squares, where that is a linear problem."""
        raise NotImplementedError(f"{self.kind} functions have no linear fit")


@dataclass(frozen=True)
class Sinusoids(RegressionFamily):
    """Sine waves, ``amplitude · sin(frequency · x − phase)``; the defaults are Finn et al.'s.

    Parameters
    ----------
    amplitude, frequency, phase : (float, float)
        Ranges from which every task's are drawn, uniformly; phase in radians.
    """

    amplitude: Range = (0.1, 5.0)
    frequency: Range = (1.0, 1.0)
    phase: Range = (0.0, math.pi)

    kind: ClassVar[str] = "sinusoid"

    def draw(self, tasks: int, generator: Generator) -> Functions:
        """Draw a batch of sine waves."""
        a, w, b = (
            _uniform(one, (tasks, 1), generator)
            for one in (self.amplitude, self.frequency, self.phase)
        )
        return lambda x: a * torch.sin(w * x - b)

    def fit(self, x: Tensor, y: Tensor) -> Functions:
        """Fit sine and cosine by least squares, at the best frequency of a grid of the range."""
        low, high = self.frequency
        grid = torch.linspace(low, high, 1 if low == high else _FREQUENCIES, dtype=x.dtype)
        bases = torch.stack([(x[..., None] * grid).sin(), (x[..., None] * grid).cos()], -1)
        bases = bases.movedim(2, 0)  # (frequencies, T, n, 2)
        c = _least_squares(bases, y.expand(len(grid), *y.shape))
        misfit = ((bases @ c[..., None])[..., 0] - y).square().sum(-1)  # (frequencies, T)
        best = misfit.argmin(0)
        w = grid[best][:, None]
        a, b = c[best, torch.arange(len(x))].T[..., None]  # each (T, 1)
        return lambda x: a * torch.sin(w * x) + b * torch.cos(w * x)


@dataclass(frozen=True)
class PiecewiseLinear(RegressionFamily):
    """Straight lines between knots at drawn places, of drawn heights.

    Parameters
    ----------
    pieces : int, default=3
    height : (float, float)
        Range of a function's value at its knots.
    """

    pieces: int = 3
    height: Range = (-3.0, 3.0)

    kind: ClassVar[str] = "piecewise_linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pieces < 1:
            raise ValueError(f"pieces is {self.pieces}; it must be at least 1")

    def draw(self, tasks: int, generator: Generator) -> Functions:
        """Draw a batch of piecewise linear functions."""
        low, high = self.domain
        inner = _uniform(self.domain, (tasks, self.pieces - 1), generator).sort(-1).values
        ends = torch.tensor([[low, high]]).expand(tasks, 2)
        knots = torch.cat([ends[:, :1], inner, ends[:, 1:]], -1)
        heights = _uniform(self.height, knots.shape, generator)

        def functions(x: Tensor) -> Tensor:
            after = torch.searchsorted(knots, x.contiguous()).clamp(1, self.pieces)
            x0, x1 = knots.gather(1, after - 1), knots.gather(1, after)
            y0, y1 = heights.gather(1, after - 1), heights.gather(1, after)
            # two knots may fall together
            share = (x - x0) / (x1 - x0).clamp(min=torch.finfo(x.dtype).tiny)
            return y0 + (y1 - y0) * share

        return functions


@dataclass(frozen=True)
class Polynomials(RegressionFamily):
    """Sums of Legendre polynomials over the domain, so that all degrees weigh alike.

    Parameters
    ----------
    degree : int, default=3
    coefficient : (float, float)
        Range of each of the ``degree + 1`` coefficients.
    """

    degree: int = 3
    coefficient: Range = (-2.0, 2.0)

    kind: ClassVar[str] = "polynomial"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.degree < 0:
            raise ValueError(f"degree is {self.degree}; it must not be negative")

    def draw(self, tasks: int, generator: Generator) -> Functions:
        """Draw a batch of polynomials."""
        c = _uniform(self.coefficient, (tasks, self.degree + 1), generator)
        return self._functions(c)

    def fit(self, x: Tensor, y: Tensor) -> Functions:
        """Fit all coefficients by least squares; of several fits, the smallest."""
        return self._functions(_least_squares(self._basis(x), y))

    def _functions(self, c: Tensor) -> Functions:
        return lambda x: (self._basis(x) @ c[..., None])[..., 0]

    def _basis(self, x: Tensor) -> Tensor:
        """Compute Legendre polynomials by Bonnet's recursion: (T, n, degree + 1)."""
        low, high = self.domain
        u = (2 * x - low - high) / (high - low)
        terms = [torch.ones_like(u), u]
        for k in range(1, self.degree):
            terms.append(((2 * k + 1) * u * terms[k] - k * terms[k - 1]) / (k + 1))
        return torch.stack(terms[: self.degree + 1], -1)


@dataclass(frozen=True)
class RegressionTasks:
    """Tasks of a family: implements :class:`metahpo.engine.TaskSource`.

    Parameters
    ----------
    family : RegressionFamily
    shots, queries : int
        Points a task in its support and in its query set.
    """

    family: RegressionFamily
    shots: int
    queries: int

    def sample(self, tasks: int, generator: Generator) -> Episodes:
        """Draw a batch of tasks: x and y (B, points, 1)."""
        functions = self.family.draw(tasks, generator)
        x = _uniform(self.family.domain, (tasks, self.shots + self.queries), generator)
        support, query = x[:, : self.shots], x[:, self.shots :]
        seen = functions(support)
        if self.family.noise:
            seen = seen + self.family.noise * torch.randn(seen.shape, generator=generator)
        return Episodes(
            support[..., None], seen[..., None], query[..., None], functions(query)[..., None]
        )


def _uniform(bounds: Range, shape: tuple[int, ...] | torch.Size, generator: Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator)


def _least_squares(basis: Tensor, y: Tensor) -> Tensor:
    """Solve ``min |basis c - y|``, the smallest c where there are several: (…, m)."""
    basis, y = basis.double(), y.double()
    gram = basis.mT @ basis
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    c: Tensor = torch.linalg.solve(gram + _RIDGE * eye, basis.mT @ y[..., None])
    return c[..., 0].float()
