"""Space: named Optuna distributions with conditions, and the one place where they become arrays.

Notation
--------
======= ================== ====================================================================
name    shape              meaning
======= ================== ====================================================================
U       (n, n_columns)     encoded configurations in [0, 1]: one column a number (log scale where
                           the distribution has one), one column a choice of a categorical
active  (n, n_columns)     True where the parameter behind the column is active in that row
======= ================== ====================================================================
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from scipy.stats import qmc

Numeric = FloatDistribution | IntDistribution
Distribution = FloatDistribution | IntDistribution | CategoricalDistribution

Config = dict[str, Any]
"""A configuration: the active parameters and their values, nothing else."""

NEUTRAL = 0.5  # what an inactive number encodes to: equally far from both ends of its range
_DIGITS = 10  # significant digits of a decoded float: what exp(log(x)) keeps exactly
_SLACK = 1e-9  # values this far outside [0, 1] after encoding are rounding, not errors


@dataclass(frozen=True)
class Column:
    """One column of the encoded array: a number, or one choice of a categorical parameter."""

    name: str
    choice: int | None = None


class Space:
    """A search space: Optuna distributions by name, some active only under a condition.

    Parameters
    ----------
    distributions : mapping of str to optuna.distributions.BaseDistribution
        Float, int and categorical distributions of Optuna.
    conditions : mapping of str to (str, sequence), optional
        ``{child: (parent, values)}``: the child is active where its parent is active and the
        parent's value is among `values`.
    default : dict, optional
        The configuration to start from, usually the library's own default. It must be complete
        and valid. By default the middle of every range and the first of every choice.

    Attributes
    ----------
    names : tuple of str
        The parameters, every parent before its children.
    columns : tuple of Column
        The columns of :meth:`encode`'s array, in order.

    Raises
    ------
    ValueError
        For an unknown or circular parent, a parent's value it cannot take, or an invalid
        default; the message names the parameter.
    TypeError
        For a distribution that is not one of Optuna's.

    Examples
    --------
    >>> from optuna.distributions import CategoricalDistribution, FloatDistribution
    >>> space = Space({"kernel": CategoricalDistribution(["rbf", "linear"]),
    ...                "gamma": FloatDistribution(1e-4, 10, log=True)},
    ...               conditions={"gamma": ("kernel", ["rbf"])})
    >>> space.decode(space.encode([{"kernel": "linear"}]))
    [{'kernel': 'linear'}]
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        conditions: Mapping[str, tuple[str, Sequence[Any]]] | None = None,
        default: Config | None = None,
    ) -> None:
        self.distributions = {n: _checked(n, d) for n, d in distributions.items()}
        self.conditions = {
            child: (parent, tuple(values))
            for child, (parent, values) in (conditions or {}).items()
        }
        self._choices = {
            name: {_choice_key(choice): i for i, choice in enumerate(distribution.choices)}
            for name, distribution in self.distributions.items()
            if isinstance(distribution, CategoricalDistribution)
        }
        self._check_conditions()
        self.names = self._parents_first()
        self.columns = tuple(self._columns())
        self.default = (
            self._middle() if default is None else self.validate(default, what="default")
        )

    # ------------------------------------------------------------------ what a space is made of

    def _check_conditions(self) -> None:
        for child, (parent, values) in self.conditions.items():
            for name in (child, parent):
                if name not in self.distributions:
                    raise ValueError(
                        f"the condition on {child!r} names {name!r}, which is not in the space"
                        + _nearest(name, self.distributions)
                    )
            for value in values:
                self._valid_value(parent, value, f"the condition on {child!r}")

    def _parents_first(self) -> tuple[str, ...]:
        ordered: list[str] = []
        waiting = list(self.distributions)
        while waiting:
            ready = [
                name
                for name in waiting
                if name not in self.conditions or self.conditions[name][0] in ordered
            ]
            if not ready:
                raise ValueError(f"the conditions are circular among {', '.join(waiting)}")
            ordered += ready
            waiting = [name for name in waiting if name not in ready]
        return tuple(ordered)

    def _columns(self) -> Iterable[Column]:
        for name in self.names:
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                yield from (Column(name, i) for i in range(len(distribution.choices)))
            else:
                yield Column(name)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each parameter's columns stand in the encoded array."""
        found: dict[str, slice] = {}
        for i, column in enumerate(self.columns):
            start = found[column.name].start if column.name in found else i
            found[column.name] = slice(start, i + 1)
        return found

    def _middle(self) -> Config:
        columns: dict[str, Iterable[Any]] = {}
        for name, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                columns[name] = [distribution.choices[0]]
            else:
                columns[name] = _from_unit(distribution, np.array([NEUTRAL]))
        return self._configs(columns, 1)[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(tuple(self.distributions))

    def __len__(self) -> int:
        return len(self.distributions)

    def __repr__(self) -> str:
        return f"Space({', '.join(self.names)})"

    # ------------------------------------------------------------------ configurations

    def active(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the parameters that are active given the parents in `config`."""
        return tuple(name for name in self.names if self._is_active(name, config))

    def _is_active(self, name: str, config: Mapping[str, Any]) -> bool:
        if name not in self.conditions:
            return True
        parent, values = self.conditions[name]
        return (
            parent in config
            and _choice_key(config[parent]) in {_choice_key(value) for value in values}
            and self._is_active(parent, config)
        )

    def validate(
        self, config: Mapping[str, Any], *, partial: bool = False, what: str = "config"
    ) -> Config:
        """Return `config` in the space's own order and types, or say what is wrong with it.

        Parameters
        ----------
        config : mapping
            Parameter values; numpy scalars are turned into Python's.
        partial : bool, default=False
            Whether active parameters may be missing.
        what : str, default="config"
            What to call the configuration in an error.

        Raises
        ------
        ValueError
            Naming the parameter that is unknown, missing, inactive or out of range.
        """
        for name in config:
            if name not in self.distributions:
                raise ValueError(
                    f"{what} has an unknown parameter {name!r}{_nearest(name, self.distributions)}"
                )
        active = self.active(config)
        valid: Config = {}
        for name in self.names:
            if name in active and name in config:
                valid[name] = self._valid_value(name, config[name], what)
            elif name in active and not partial:
                raise ValueError(f"{what} lacks the parameter {name!r}")
            elif name in config and name not in active:
                parent, values = self.conditions[name]
                raise ValueError(
                    f"{what} sets {name!r}, which is active only where {parent} is "
                    f"{' or '.join(map(repr, values))}"
                )
        return valid

    def _valid_value(self, name: str, value: Any, what: str) -> Any:
        distribution = self.distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            index = self._choices[name].get(_choice_key(value))
            if index is None:
                raise ValueError(
                    f"{what} sets {name}={value!r}; the choices are "
                    f"{', '.join(map(repr, distribution.choices))}"
                )
            return distribution.choices[index]
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise ValueError(f"{what} sets {name}={value!r}; a number is needed")
        if not distribution.low <= value <= distribution.high:
            raise ValueError(
                f"{what} sets {name}={value!r}, outside [{distribution.low}, {distribution.high}]"
            )
        if isinstance(distribution, FloatDistribution):
            return float(value)
        if not float(value).is_integer():
            raise ValueError(f"{what} sets {name}={value!r}; a whole number is needed")
        return int(value)

    def sample(
        self, n: int, seed: int | None = 0, method: Literal["sobol", "random"] = "sobol"
    ) -> list[Config]:
        """Draw `n` configurations.

        Parameters
        ----------
        n : int
            How many.
        seed : int or None, default=0
            The same seed gives the same list, and a longer one begins with the shorter.
        method : {"sobol", "random"}, default="sobol"
            A scrambled Sobol sequence (Owen 1998), or independent draws.
        """
        if n == 0 or not self.names:
            return [{} for _ in range(n)]
        dimensions = len(self.names)
        if method == "sobol":
            engine = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
            units = engine.random_base2(max(1, math.ceil(math.log2(n))))[:n]
        else:
            units = np.random.default_rng(seed).random((n, dimensions))
        columns: dict[str, Iterable[Any]] = {}
        for name, unit in zip(self.names, units.T, strict=True):
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                index = (unit * len(distribution.choices)).astype(int)
                columns[name] = [distribution.choices[i] for i in index]
            else:
                columns[name] = _from_unit(distribution, unit, bins=True)
        return self._configs(columns, n)

    # ------------------------------------------------------------------ arrays

    def encode(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> NDArray[np.float64]:
        """Encode configurations as an array in [0, 1].

        Parameters
        ----------
        configs : sequence of dict, or DataFrame
            In a DataFrame a missing value is an inactive parameter.

        Returns
        -------
        ndarray of float64, shape (n, n_columns)
            Inactive numbers are 0.5, inactive choices 0 in every column; :meth:`mask` tells them
            from active ones.

        Raises
        ------
        ValueError
            Naming the parameter and the value that the space cannot hold.
        """
        frame = self.to_frame(configs)
        array = np.empty((len(frame), len(self.columns)))
        for name, where in self.slices.items():
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                index = self._choice_index(name, frame)
                array[:, where] = index[:, None] == np.arange(len(distribution.choices))
            else:
                array[:, where.start] = _to_unit(name, distribution, frame[name])
        return array

    def mask(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which columns of :meth:`encode`'s array belong to an active parameter.

        Returns
        -------
        ndarray of bool, shape (n, n_columns)
        """
        frame = self.to_frame(configs)
        mask = np.empty((len(frame), len(self.columns)), dtype=bool)
        for name, where in self.slices.items():
            if name in self._choices:
                active = self._choice_index(name, frame) >= 0
            else:
                active = frame[name].notna().to_numpy()
            mask[:, where] = active[:, None]
        return mask

    def decode(self, array: NDArray[np.float64]) -> list[Config]:
        """Turn encoded rows back into configurations.

        Floats come back with ten significant digits, integers and steps rounded to the nearest
        admissible value, choices by the largest of their columns; ``decode(encode(c)) == c`` for
        every configuration that :meth:`sample` or :meth:`decode` made.

        Parameters
        ----------
        array : ndarray of float, shape (n, n_columns)
        """
        array = np.asarray(array, dtype=float)
        columns: dict[str, Iterable[Any]] = {}
        for name, where in self.slices.items():
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                index = array[:, where].argmax(axis=1)
                columns[name] = [distribution.choices[i] for i in index]
            else:
                columns[name] = _from_unit(distribution, array[:, where.start])
        return self._configs(columns, len(array))

    def _configs(self, columns: Mapping[str, Iterable[Any]], n: int) -> list[Config]:
        configs: list[Config] = [{} for _ in range(n)]
        for name in self.names:
            distribution = self.distributions[name]
            cast = (
                (lambda value: value)
                if isinstance(distribution, CategoricalDistribution)
                else (int if isinstance(distribution, IntDistribution) else float)
            )
            for config, value in zip(configs, columns[name], strict=True):
                if self._is_active(name, config):
                    config[name] = cast(value)
        return configs

    def _choice_index(self, name: str, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Index of each row's choice; -1 where the parameter is inactive."""
        lookup, column = self._choices[name], frame[name]
        codes, uniques = pd.factorize(column.astype(object), use_na_sentinel=True)
        table = np.empty(len(uniques) + 1, dtype=np.int64)
        for i, value in enumerate(uniques):
            if _choice_key(value) not in lookup:
                raise ValueError(
                    f"{name}={value!r} is not among the choices "
                    f"{', '.join(repr(choice) for _, choice in lookup)}"
                )
            table[i] = lookup[_choice_key(value)]
        table[-1] = -1
        index = table[codes]
        if _choice_key(None) in lookup:
            # a missing value is the choice None where the conditions say the parameter is active
            missing = (codes == -1) & self._active_rows(name, frame)
            index[missing] = lookup[_choice_key(None)]
        return index

    def _active_rows(self, name: str, frame: pd.DataFrame) -> NDArray[np.bool_]:
        if name not in self.conditions:
            return np.ones(len(frame), dtype=bool)
        parent, values = self.conditions[name]
        wanted = {_choice_key(value) for value in values}
        hit = np.fromiter((_choice_key(v) in wanted for v in frame[parent]), bool, len(frame))
        return hit & self._active_rows(parent, frame)

    # ------------------------------------------------------------------ tables and JSON

    def to_frame(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
        """Lay configurations out as a table: a column a parameter, missing where inactive."""
        if isinstance(configs, pd.DataFrame):
            return configs.reindex(columns=list(self.names))
        columns = {}
        for name in self.names:
            values = [config.get(name) for config in configs]
            if name in self._choices:
                columns[name] = pd.Series(values, dtype=object)
            else:
                columns[name] = pd.Series(values, dtype="float64")
        return pd.DataFrame(columns)

    def from_frame(self, frame: pd.DataFrame) -> list[Config]:
        """Read configurations from a table; missing values are inactive parameters."""
        frame = self.to_frame(frame)
        configs: list[Config] = [{} for _ in range(len(frame))]
        for name in self.names:
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                for config, i in zip(configs, self._choice_index(name, frame), strict=True):
                    if i >= 0:
                        config[name] = distribution.choices[i]
            else:
                cast = int if isinstance(distribution, IntDistribution) else float
                numbers = frame[name].to_numpy(dtype=float, na_value=np.nan)
                for config, number in zip(configs, numbers, strict=True):
                    if not math.isnan(number):
                        config[name] = cast(number)
        return configs

    def nearest(self, frame: pd.DataFrame) -> list[Config]:
        """Return the configuration of this space that is nearest to each row of a table.

        Numbers outside their range move to its end; a missing or foreign value becomes the
        default one; columns of other names are ignored.
        """
        known = self.to_frame(frame)
        start = self.encode([self.default])[0]
        array = np.tile(start, (len(known), 1))
        for name, where in self.slices.items():
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                own = known[name].map(lambda v, n=name: _choice_key(v) in self._choices[n])
                rows = own.to_numpy(dtype=bool) & known[name].notna().to_numpy()
                index = self._choice_index(name, known.loc[rows])
                array[rows, where] = index[:, None] == np.arange(len(distribution.choices))
            else:
                values = pd.to_numeric(known[name], errors="coerce")
                rows = values.notna().to_numpy()
                inside = values[rows].clip(distribution.low, distribution.high)
                array[rows, where.start] = _to_unit(name, distribution, inside)
        return self.decode(array)

    def to_json(self) -> dict[str, Any]:
        """Return the space as plain JSON values: parameters, conditions, default."""
        return {
            "parameters": {n: distribution_to_json(d) for n, d in self.distributions.items()},
            "conditions": {c: [p, list(values)] for c, (p, values) in self.conditions.items()},
            "default": self.default,
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Space:
        """Rebuild a space from :meth:`to_json`'s value.

        Raises
        ------
        ValueError
            If the value does not describe a space.
        """
        try:
            return cls(
                {name: json_to_distribution(text) for name, text in obj["parameters"].items()},
                {child: (parent, values) for child, (parent, values) in obj["conditions"].items()},
                obj["default"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is not a space in JSON form: {error}") from error

    # ------------------------------------------------------------------ unions of spaces

    @classmethod
    def union(cls, branches: Mapping[str, Space], root: str, default: str | None = None) -> Space:
        """Join spaces under a root parameter that chooses among them.

        Parameters
        ----------
        branches : mapping of str to Space
            A branch's parameter ``p`` becomes ``"<branch>__p"``, active where the root is that
            branch.
        root : str
            Name of the choosing parameter.
        default : str, optional
            The branch the default configuration takes; the first by default.
        """
        distributions: dict[str, BaseDistribution] = {
            root: CategoricalDistribution(list(branches))
        }
        conditions: dict[str, tuple[str, Sequence[Any]]] = {}
        for branch, space in branches.items():
            for name in space.names:
                distributions[f"{branch}__{name}"] = space.distributions[name]
                conditions[f"{branch}__{name}"] = (root, [branch])
            for child, (parent, values) in space.conditions.items():
                conditions[f"{branch}__{child}"] = (f"{branch}__{parent}", values)
        first = next(iter(branches)) if default is None else default
        start = {f"{first}__{name}": v for name, v in branches[first].default.items()}
        return cls(distributions, conditions, {root: first, **start})


def _checked(name: str, distribution: BaseDistribution) -> Distribution:
    if isinstance(distribution, Distribution):
        return distribution
    raise TypeError(
        f"parameter {name!r} has a {type(distribution).__name__}; use Optuna's "
        "FloatDistribution, IntDistribution or CategoricalDistribution"
    )


def _choice_key(value: Any) -> tuple[str, Any]:
    """Tell choices apart as JSON would: True is not 1, but 1.0 is 1 and numpy's are Python's."""
    if value is None:
        return ("none", None)
    if isinstance(value, bool | np.bool_):
        return ("bool", bool(value))
    if isinstance(value, int | float | np.number):
        return ("none", None) if math.isnan(value) else ("number", float(value))
    return ("str", value) if isinstance(value, str) else ("other", repr(value))


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


def _bounds(distribution: Numeric) -> tuple[float, float]:
    low, high = float(distribution.low), float(distribution.high)
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _to_unit(name: str, distribution: Numeric, column: pd.Series[Any]) -> NDArray[np.float64]:
    values = pd.to_numeric(column, errors="raise").to_numpy(dtype=float, na_value=np.nan)
    low, high = _bounds(distribution)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log(values) if distribution.log else values
        unit = (scaled - low) / (high - low) if high > low else np.where(scaled == low, 0.0, -1.0)
    active = ~np.isnan(values)
    outside = active & ~((unit >= -_SLACK) & (unit <= 1 + _SLACK))
    if outside.any():
        raise ValueError(
            f"{name}={values[outside][0]:.10g} is outside "
            f"[{distribution.low}, {distribution.high}]"
        )
    return np.where(active, np.clip(unit, 0.0, 1.0), NEUTRAL)


def _from_unit(
    distribution: Numeric,
    unit: NDArray[np.float64],
    *,
    bins: bool = False,
) -> NDArray[Any]:
    """Turn numbers in [0, 1] into values.

    With `bins`, [0, 1] is split among the admissible values of an int or of a step, so that
    uniform numbers give uniform values; without, 0 and 1 are the ends of the range.
    """
    low, high = float(distribution.low), float(distribution.high)
    step = distribution.step if distribution.step is not None and not distribution.log else None
    whole = isinstance(distribution, IntDistribution)
    half = 0.5 if whole and distribution.log else (step or 0.0) / 2
    if bins and half:
        start, stop = low - half, high + half
    else:
        start, stop = low, high
    if distribution.log:
        values = np.exp(math.log(start) + unit * (math.log(stop) - math.log(start)))
    else:
        values = start + unit * (stop - start)
    if whole and step is None:
        values = np.round(values)
    elif step is not None:
        values = low + np.round((values - low) / step) * step
    values = np.clip(values, low, high)
    return np.round(values).astype(int) if whole else np.clip(_rounded(values), low, high)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values])
