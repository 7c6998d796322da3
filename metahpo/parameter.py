"""Parameter: one Optuna distribution as checks, a table's column, and numbers in [0, 1].

Between a value and its code stands its *level*: a number is its own level, a choice's level is
its index among the choices, and NaN stands for a parameter that is missing. So a parameter is one
column of floats, whatever its values are::

    value ── levels ──► level ── encode ──► code in [0, 1]
          ◄─ values ───       ◄─ decode ───           snap: code of the nearest level
                                                      draw: code from a uniform number

Notation
--------
======= ============ ====================================================================
name    shape        meaning
======= ============ ====================================================================
levels  (n,)         one parameter's levels
code    (n, width)   their code: one column for a number (log scale where the distribution
                     has one), one a choice
======= ============ ====================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array = NDArray[np.float64]
Distribution = FloatDistribution | IntDistribution | CategoricalDistribution

NEUTRAL = 0.5  # what a missing number encodes to: equally far from both ends of its range
_DIGITS = 10  # significant digits of a decoded float: what exp(log(x)) keeps exactly
_STEP_DIGITS = 14  # of a float with a step, so that 3 × 0.1 is 0.3 and stays on its step
_SLACK = 1e-9  # values this far outside [0, 1] after encoding are rounding, not errors
_OFF_STEP = 1e-8  # share of a step that a value may be off it, as Optuna has it


@dataclass(frozen=True)
class Number:
    """A float or an int."""

    name: str
    distribution: FloatDistribution | IntDistribution

    @property
    def width(self) -> int:
        """How many columns its code has."""
        return 1

    @property
    def n_values(self) -> float:
        """How many values it has; infinity where it is continuous."""
        d = self.distribution
        if d.single():
            return 1
        return math.inf if d.step is None else 1 + round((d.high - d.low) / d.step)

    @property
    def missing(self) -> float:
        """The level that an empty cell stands for where the parameter is active."""
        return math.nan

    @property
    def default(self) -> float:
        """The level of a default configuration that says nothing of it: the middle."""
        return float(self.decode(np.array([[NEUTRAL]]))[0])

    def check(self, value: Any, what: str) -> int | float:
        """Return `value` in Python's own type, or say what is wrong with it."""
        d, says = self.distribution, f"{what} sets {self.name}={value!r}"
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise ValueError(f"{says}; a number is needed")
        if not d.low <= value <= d.high:
            raise ValueError(f"{says}, outside [{d.low}, {d.high}]")
        whole = isinstance(d, IntDistribution)
        if whole and not float(value).is_integer():
            raise ValueError(f"{says}; a whole number is needed")
        if not self.on_steps(np.array([float(value)]))[0]:
            raise ValueError(f"{says}, which is not {d.low} plus a multiple of {d.step}")
        return int(value) if whole else float(value)

    def on_steps(self, levels: Array) -> NDArray[np.bool_]:
        """Tell which levels are the low end plus a multiple of the step, or missing."""
        low, step = self.distribution.low, self.distribution.step
        if step is None:
            return np.ones(len(levels), dtype=bool)
        above = levels - low
        off = np.abs(above - np.round(above / step) * step)
        return ~(off > _OFF_STEP * step)

    def column(self, values: Sequence[Any]) -> pd.Series[Any]:
        """Lay values out as a table's column; None is missing."""
        try:
            return pd.Series(values, dtype="float64")
        except (TypeError, ValueError):  # not numbers: for `levels` to complain of, by name
            return pd.Series(values, dtype=object)

    def levels(self, column: pd.Series[Any]) -> Array:
        """Read a table's column; a value off the steps is kept, for `encode` to place it.

        Raises
        ------
        ValueError
            Naming the parameter and the value that is no number or out of range.
        """
        levels = self._numbers(column)
        missing = np.isnan(levels)
        if missing.any() and (strange := missing & column.notna().to_numpy()).any():
            raise ValueError(f"{self.name}={column[strange].iloc[0]!r}; a number is needed")
        low, high = self.distribution.low, self.distribution.high
        # of a narrow range, logarithms are too rough to say that an end lies within
        inside = (low <= levels) & (levels <= high)
        inside |= np.abs(self._unit(levels) - 0.5) <= 0.5 + _SLACK
        outside = levels[~inside & ~missing]
        if len(outside):
            raise ValueError(f"{self.name}={outside[0]:.10g} is outside [{low}, {high}]")
        return levels

    def nearest(self, column: pd.Series[Any]) -> Array:
        """Read a table's column as the nearest admissible levels; NaN for what is no number."""
        numbers = self._numbers(column)
        return np.where(np.isnan(numbers), math.nan, self.decode(self.encode(numbers)))

    def values(self, levels: Array) -> list[int] | list[float]:
        """Turn levels into Python's numbers.

        Raises
        ------
        ValueError
            Naming an int's level that is not whole.
        """
        if isinstance(self.distribution, FloatDistribution):
            return [float(level) for level in levels]
        broken = levels[levels % 1 != 0]
        if len(broken):
            raise ValueError(f"{self.name}={broken[0]:g}; a whole number is needed")
        # a float may be the nearest to an end that it lies beyond
        low, high = self.distribution.low, self.distribution.high
        return [min(max(int(level), low), high) for level in levels]

    def cells(self, levels: Array) -> pd.Series[Any]:
        """Turn levels into a table's column."""
        return pd.Series(levels)

    def encode(self, levels: Array) -> Array:
        """Encode levels: 0 and 1 are the ends of the range, a missing number is in the middle.

        Numbers beyond the ends move there.
        """
        inside = np.clip(levels, self.distribution.low, self.distribution.high)
        unit = np.clip(self._unit(inside), 0.0, 1.0)
        return np.where(np.isnan(unit), NEUTRAL, unit)[:, None]

    def decode(self, code: Array) -> Array:
        """Turn codes into the nearest admissible levels, floats with ten significant digits."""
        return self._place(code[:, 0], margin=0.0)

    def numbers(self, code: Array) -> Array:
        """Turn codes into numbers, as they are: neither rounded nor moved to a step."""
        return self._stretch(code[:, 0], margin=0.0)

    def snap(self, code: Array) -> Array:
        """Move codes to those of the nearest admissible levels; floats stay where they are."""
        if self.distribution.step is None and not self.distribution.single():
            return np.clip(code, 0.0, 1.0)
        return self.encode(self.decode(code))

    def draw(self, unit: Array) -> Array:
        """Turn uniform numbers in [0, 1) into codes.

        Unlike in `decode`, the admissible values of an int or of a step share [0, 1] equally.
        """
        if self.distribution.step is None:
            return unit[:, None]
        return self.encode(self._place(unit, margin=self.distribution.step / 2))

    def _numbers(self, column: pd.Series[Any]) -> Array:
        numbers: Array = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
        return numbers

    def _ends(self, margin: float) -> tuple[float, float]:
        low, high = self.distribution.low - margin, self.distribution.high + margin
        return (math.log(low), math.log(high)) if self.distribution.log else (low, high)

    def _unit(self, levels: Array) -> Array:
        low, high = self._ends(0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.log(levels) if self.distribution.log else levels
        unit: Array = (scaled - low) / (high - low or 1.0)
        return unit

    def _stretch(self, unit: Array, margin: float) -> Array:
        """Return the number at a share of the range, widened on both sides."""
        low, high = self._ends(margin)
        scaled = low + unit * (high - low)
        return np.exp(scaled) if self.distribution.log else scaled

    def _place(self, unit: Array, margin: float) -> Array:
        """Return the admissible level at a share of the range, widened on both sides."""
        d, levels = self.distribution, self._stretch(unit, margin)
        if d.step is not None:
            levels = d.low + np.round((levels - d.low) / d.step) * d.step
        if isinstance(d, FloatDistribution):
            digits = _DIGITS if d.step is None else _STEP_DIGITS
            levels = np.array([float(f"{level:.{digits}g}") for level in levels])
            # the ends keep all digits they have
            levels = np.select([unit <= 0, unit >= 1], [d.low, d.high], levels)
        return np.clip(levels, d.low, d.high)


@dataclass(frozen=True)
class Choice:
    """A categorical parameter."""

    name: str
    distribution: CategoricalDistribution

    @cached_property
    def _index(self) -> dict[tuple[str, Any], int]:
        return {identity(choice): i for i, choice in enumerate(self.distribution.choices)}

    @property
    def width(self) -> int:
        """How many columns its code has."""
        return len(self.distribution.choices)

    @property
    def n_values(self) -> float:
        """How many values it has."""
        return len(self.distribution.choices)

    @property
    def missing(self) -> float:
        """The level that an empty cell stands for where the parameter is active."""
        return self._index.get(identity(None), math.nan)

    @property
    def default(self) -> float:
        """The level of a default configuration that says nothing of it: the first choice."""
        return 0.0

    def check(self, value: Any, what: str) -> Any:
        """Return the choice that `value` is, or say what the choices are."""
        if identity(value) not in self._index:
            raise ValueError(f"{what} sets {self.name}={value!r}; the choices are {self._listed}")
        return self.distribution.choices[self._index[identity(value)]]

    def column(self, values: Sequence[Any]) -> pd.Series[Any]:
        """Lay values out as a table's column; None is missing."""
        return pd.Series(values, dtype=object)

    def levels(self, column: pd.Series[Any]) -> Array:
        """Read a table's column.

        Raises
        ------
        ValueError
            Naming the parameter and the value that is not among the choices.
        """
        levels = self.nearest(column)
        missing = np.isnan(levels)
        if missing.any() and (strange := missing & column.notna().to_numpy()).any():
            value = column[strange].iloc[0]
            raise ValueError(f"{self.name}={value!r} is not among the choices {self._listed}")
        return levels

    def nearest(self, column: pd.Series[Any]) -> Array:
        """Read a table's column; NaN for what is not among the choices."""
        codes, uniques = pd.factorize(column.astype(object))  # a missing value has the code -1
        found = [self._index.get(identity(value), math.nan) for value in uniques]
        levels: Array = np.array([*found, math.nan])[codes]
        return levels

    def values(self, levels: Array) -> list[Any]:
        """Turn levels into choices."""
        return [self.distribution.choices[int(level)] for level in levels]

    def cells(self, levels: Array) -> pd.Series[Any]:
        """Turn levels into a table's column."""
        missing = np.isnan(levels)
        choices = pd.Series([*self.distribution.choices, None], dtype=object)
        index = np.where(missing, self.width, levels).astype(int)
        return choices.take(index).reset_index(drop=True)

    def encode(self, levels: Array) -> Array:
        """Encode levels one-hot: all zero for a missing choice."""
        code: Array = (levels[:, None] == np.arange(self.width)).astype(float)
        return code

    def decode(self, code: Array) -> Array:
        """Turn codes into the level of their largest column."""
        levels: Array = code.argmax(axis=1).astype(float)
        return levels

    def snap(self, code: Array) -> Array:
        """Turn codes into those of their largest column's choice."""
        return self.encode(self.decode(code))

    def draw(self, unit: Array) -> Array:
        """Turn uniform numbers in [0, 1) into codes of choices that are equally likely."""
        return self.encode(np.floor(unit * self.width))

    @property
    def _listed(self) -> str:
        return ", ".join(map(repr, self.distribution.choices))


Parameter = Number | Choice


def parameter(name: str, distribution: BaseDistribution) -> Parameter:
    """Wrap one of Optuna's distributions.

    Raises
    ------
    TypeError
        For any other.
    ValueError
        For choices that a table and Optuna cannot tell apart, such as True and 1.
    """
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return Number(name, distribution)
    if not isinstance(distribution, CategoricalDistribution):
        raise TypeError(
            f"parameter {name!r} has a {type(distribution).__name__}; use Optuna's "
            "FloatDistribution, IntDistribution or CategoricalDistribution"
        )
    seen: dict[tuple[str, Any], Any] = {}
    for choice in distribution.choices:
        key = identity(float(choice) if isinstance(choice, bool | np.bool_) else choice)
        if key in seen:
            raise ValueError(
                f"parameter {name!r} has the choices {seen[key]!r} and {choice!r}, which are equal"
            )
        seen[key] = choice
    return Choice(name, distribution)


def identity(value: Any) -> tuple[str, Any]:
    """Tell values apart as JSON would: True is not 1, but 1.0 is 1 and numpy's are Python's."""
    if value is None:
        return ("none", None)
    if isinstance(value, bool | np.bool_):
        return ("bool", bool(value))
    if isinstance(value, int | float | np.number):
        return ("none", None) if math.isnan(value) else ("number", float(value))
    return ("str", value) if isinstance(value, str) else ("other", repr(value))
