"""Space: named Optuna distributions with conditions, and the one place where they become arrays.

Notation
--------
======= ================== ====================================================================
name    shape              meaning
======= ================== ====================================================================
U       (n, n_columns)     encoded configurations in [0, 1]: one column a number (log scale where
                           the distribution has one), one column a choice of a categorical
active  (n, n_columns)     True where the parameter behind the column is active in that row
levels  {name: (n,)}       configurations as columns of floats, see :mod:`metahpo.parameter`; NaN
                           where a parameter is inactive
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
    distribution_to_json,
    json_to_distribution,
)
from scipy.stats import qmc

from metahpo.parameter import Choice, Distribution, identity, parameter

Config = dict[str, Any]
"""A configuration: the active parameters and their values, nothing else."""

Levels = dict[str, NDArray[np.float64]]

_KEY_DIGITS = 6  # decimals of a code in its key: files and other programs round what they write


@dataclass(frozen=True)
class Column:
    """One column of the encoded array: a number, or one choice of a categorical parameter."""

    name: str
    choice: int | None = None


@dataclass(frozen=True)
class Codes:
    """Configurations as arrays, for whoever handles thousands of them at once.

    Attributes
    ----------
    array : ndarray of float64, shape (n, n_columns)
        As from :meth:`Space.encode`.
    active : ndarray of bool, shape (n, n_columns)
        As from :meth:`Space.mask`.
    """

    array: NDArray[np.float64]
    active: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: NDArray[np.intp]) -> Codes:
        """Return some of the rows, by number."""
        return Codes(self.array[rows], self.active[rows])

    @cached_property
    def row_keys(self) -> list[bytes]:
        """Every row's name, by its content up to rounding."""
        rows = np.concatenate([np.round(self.array, _KEY_DIGITS) + 0.0, self.active], axis=1)
        if not rows.size:
            return [b""] * len(rows)
        rows = np.ascontiguousarray(rows)  # picked columns may lie one behind the other
        keys: list[bytes] = rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0].tolist()
        return keys

    def __add__(self, other: Codes) -> Codes:
        return Codes(
            np.concatenate([self.array, other.array]), np.concatenate([self.active, other.active])
        )


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
    distributions : dict
        As given.
    conditions : dict
        As given.
    default : dict
        The default configuration.
    names : tuple of str
        The parameters, every parent before its children.
    columns : tuple of Column
        The columns of :meth:`encode`'s array, in order.

    Raises
    ------
    ValueError
        For an unknown or circular parent, a parent's value it cannot take, choices that are
        equal, or an invalid default; the message names the parameter.
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
        known = {name: parameter(name, d) for name, d in distributions.items()}
        self.distributions: dict[str, Distribution] = {n: p.distribution for n, p in known.items()}
        self.conditions: dict[str, tuple[str, tuple[Any, ...]]] = {}
        for child, (parent, values) in (conditions or {}).items():
            what = f"the condition on {child!r}"
            for name in (child, parent):
                if name not in known:
                    raise ValueError(
                        f"{what} names {name!r}, which is not in the space{_hint(name, known)}"
                    )
            checked = tuple(known[parent].check(value, what) for value in values)
            self.conditions[child] = (parent, checked)
        self.names = _parents_first(self.distributions, self.conditions)
        self._parameters = {name: known[name] for name in self.names}
        self.columns = tuple(
            Column(name, i if isinstance(p, Choice) else None)
            for name, p in self._parameters.items()
            for i in range(p.width)
        )
        self.default = (
            self._configs({name: np.array([p.default]) for name, p in known.items()}, 1)[0]
            if default is None
            else self.validate(default, what="default")
        )

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each parameter's columns stand in the encoded array."""
        found, start = {}, 0
        for name, p in self._parameters.items():
            found[name] = slice(start, start + p.width)
            start += p.width
        return found

    @cached_property
    def _triggers(self) -> dict[str, tuple[str, NDArray[np.float64]]]:
        """The conditions in levels: each child's parent, and the levels that activate it."""
        triggers = {}
        for child, (parent, values) in self.conditions.items():
            p = self._parameters[parent]
            levels = p.levels(p.column(values))
            triggers[child] = parent, np.where(np.isnan(levels), p.missing, levels)
        return triggers

    @cached_property
    def _parents(self) -> set[str]:
        return {parent for parent, _ in self.conditions.values()}

    @cached_property
    def _identity(self) -> tuple[str, ...]:
        """What tells spaces apart; repr, because == takes True for 1."""
        return tuple(
            f"{name}: {self.distributions[name]!r} {self.conditions.get(name)!r} "
            f"{[self.default[name]] if name in self.default else []!r}"
            for name in self.names
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("distributions", "conditions", "default")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["distributions"], state["conditions"], state["default"])  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.distributions)

    def __repr__(self) -> str:
        return f"Space({', '.join(self.names)})"

    # ------------------------------------------------------------------ configurations

    @cached_property
    def size(self) -> float:
        """How many configurations there are; infinity where a parameter is continuous."""
        return math.prod(self._n_below(n) for n in self.names if n not in self.conditions)

    def _n_below(self, name: str) -> float:
        """Count a parameter's values, each with the configurations of what it makes active."""
        children = {
            child: set(map(identity, values))
            for child, (parent, values) in self.conditions.items()
            if parent == name
        }
        triggers = set().union(*children.values())
        whole = (self._n_below_at(value, children) for value in triggers)
        return self._parameters[name].n_values - len(triggers) + sum(whole)

    def _n_below_at(self, value: tuple[str, Any], children: Mapping[str, set[Any]]) -> float:
        return math.prod(self._n_below(child) for child, at in children.items() if value in at)

    def active(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the parameters that are active given the parents in `config`."""
        active: list[str] = []
        for name in self.names:
            if name in self.conditions:
                parent, values = self.conditions[name]
                if parent not in active or parent not in config:
                    continue
                if identity(config[parent]) not in map(identity, values):
                    continue
            active.append(name)
        return tuple(active)

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
            Naming the parameter that is unknown, missing, inactive, out of range or off its
            steps.
        """
        self._refuse_unknown(config, what)
        active = self.active(config)
        valid: Config = {}
        for name, p in self._parameters.items():
            if name in active and name in config:
                valid[name] = p.check(config[name], what)
            elif name in active and not partial:
                raise ValueError(f"{what} lacks the parameter {name!r}")
            elif name in config and name not in active:
                parent, values = self.conditions[name]
                raise ValueError(
                    f"{what} sets {name!r}, which is active only where {parent} is "
                    f"{' or '.join(map(repr, values))}"
                )
        return valid

    def _refuse_unknown(self, names: Iterable[str], what: str) -> None:
        for name in names:
            if name not in self.distributions:
                raise ValueError(
                    f"{what} has an unknown parameter {name!r}{_hint(name, self.distributions)}"
                )

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

        Raises
        ------
        ValueError
            If `n` is below 0, or there is no such method.
        """
        if n < 0:
            raise ValueError(f"n is {n}; it must be 0 or more")
        if method not in ("sobol", "random"):
            raise ValueError(f"method is {method!r}; it must be 'sobol' or 'random'")
        if n == 0 or not self.names:
            return [{} for _ in range(n)]
        return self.decode(self.draw(n, seed, method))

    # ------------------------------------------------------------------ arrays

    def encode(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> NDArray[np.float64]:
        """Encode configurations as an array in [0, 1].

        Parameters
        ----------
        configs : sequence of dict, or DataFrame
            In a DataFrame a missing value is an inactive parameter, and columns of other names
            are ignored. Parameters may be missing where no condition says why.

        Returns
        -------
        ndarray of float64, shape (n, n_columns)
            Inactive numbers are 0.5, inactive choices 0 in every column; :meth:`mask` tells them
            from active ones.

        Raises
        ------
        ValueError
            Naming the parameter that is unknown or inactive, or the value that the space cannot
            hold.
        """
        return self.codes(configs).array

    def mask(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which columns of :meth:`encode`'s array belong to an active parameter.

        Returns
        -------
        ndarray of bool, shape (n, n_columns)
        """
        return self.codes(configs).active

    def codes(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> Codes:
        """Return :meth:`encode`'s and :meth:`mask`'s arrays together."""
        codes = self._empty(len(configs))
        if not len(codes):
            return codes
        levels = self._levels(configs)
        for name, p in self._parameters.items():
            codes.array[:, self.slices[name]] = p.encode(levels[name])
            codes.active[:, self.slices[name]] = ~np.isnan(levels[name])[:, None]
        return codes

    def snap(self, array: NDArray[np.float64]) -> Codes:
        """Move encoded rows to the nearest configurations, without writing those out.

        Decoded, they give what the given rows give.

        Parameters
        ----------
        array : ndarray of float, shape (n, n_columns)
        """
        everywhere = np.ones(len(array), dtype=bool)
        return self.assemble(
            {
                name: (p.snap(array[:, self.slices[name]]), everywhere)
                for name, p in self._parameters.items()
            },
            len(array),
        )

    def assemble(
        self, parts: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]], n: int
    ) -> Codes:
        """Put encoded parameters together, leaving out what the conditions make inactive.

        Parameters
        ----------
        parts : mapping of str to (ndarray, ndarray)
            Of every parameter the code of an admissible value, shape (n, width), and where there
            is one, shape (n,).
        n : int
            How many configurations.
        """
        levels: Levels = {}
        codes = self._empty(n)
        for name, p in self._parameters.items():
            code, there = parts[name]
            active = there & self._allowed(name, levels)
            if name in self._parents:
                levels[name] = np.where(active, p.decode(code), math.nan)
            idle = p.encode(np.full(1, math.nan))
            codes.array[:, self.slices[name]] = np.where(active[:, None], code, idle)
            codes.active[:, self.slices[name]] = active[:, None]
        return codes

    def draw(
        self, n: int, seed: int | None = 0, method: Literal["sobol", "random"] = "sobol"
    ) -> NDArray[np.float64]:
        """Draw `n` encoded rows, as :meth:`sample` does; inactive parameters are drawn too.

        Returns
        -------
        ndarray of float64, shape (n, n_columns)
            For :meth:`decode` or :meth:`snap`.
        """
        if method == "sobol":
            engine = qmc.Sobol(len(self.names), scramble=True, rng=np.random.default_rng(seed))
            units = engine.random_base2(max(1, math.ceil(math.log2(n))))[:n]
        else:
            units = np.random.default_rng(seed).random((n, len(self.names)))
        drawn = zip(self._parameters.values(), units.T, strict=True)
        return np.concatenate([p.draw(unit) for p, unit in drawn], axis=1)

    def _empty(self, n: int) -> Codes:
        shape = (n, len(self.columns))
        return Codes(np.empty(shape), np.empty(shape, dtype=bool))

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
        levels = {n: p.decode(array[:, self.slices[n]]) for n, p in self._parameters.items()}
        return self._configs(levels, len(array))

    # ------------------------------------------------------------------ levels

    def _levels(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> Levels:
        """Read configurations, and say what is wrong with them."""
        columns: Any = (  # a table would do for both, but takes longer than all the rest
            self.to_frame(configs) if isinstance(configs, pd.DataFrame) else self._columns(configs)
        )
        levels: Levels = {}
        for name, p in self._parameters.items():
            column = p.levels(columns[name])
            allowed = self._allowed(name, levels)
            idle = ~np.isnan(column) & ~allowed
            if idle.any():
                parent, value = self.conditions[name][0], p.values(column[idle][:1])[0]
                raise ValueError(
                    f"{name}={value!r} is set where {parent} makes it inactive; "
                    "leave it missing there"
                )
            levels[name] = np.where(np.isnan(column) & allowed, p.missing, column)
        return levels

    def _configs(self, levels: Levels, n: int) -> list[Config]:
        """Turn levels into configurations, leaving out what the conditions make inactive."""
        active: Levels = {}
        configs: list[Config] = [{} for _ in range(n)]
        for name, p in self._parameters.items():
            active[name] = np.where(self._allowed(name, active), levels[name], math.nan)
            rows = np.flatnonzero(~np.isnan(active[name]))
            for row, value in zip(rows, p.values(active[name][rows]), strict=True):
                configs[row][name] = value
        return configs

    def _allowed(self, name: str, levels: Levels) -> NDArray[np.bool_] | np.bool_:
        """Tell the rows in which the parents, read already, make a parameter active."""
        if name not in self._triggers:
            return np.True_
        parent, wanted = self._triggers[name]
        return np.isin(levels[parent], wanted)

    # ------------------------------------------------------------------ tables and JSON

    def to_frame(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
        """Lay configurations out as a table: a column a parameter, missing where inactive.

        Raises
        ------
        ValueError
            Naming a parameter that the space does not have; a DataFrame's other columns are left
            out.
        """
        if isinstance(configs, pd.DataFrame):
            return configs.reindex(columns=list(self.names))
        return pd.DataFrame(self._columns(configs), index=range(len(configs)))

    def _columns(self, configs: Sequence[Mapping[str, Any]]) -> dict[str, pd.Series[Any]]:
        values: dict[str, list[Any]] = {name: [None] * len(configs) for name in self.names}
        for row, config in enumerate(configs):
            for name, value in config.items():
                if name not in values:
                    self._refuse_unknown(config, "config")
                values[name][row] = value
        return {name: p.column(values[name]) for name, p in self._parameters.items()}

    def from_frame(self, frame: pd.DataFrame) -> list[Config]:
        """Read configurations from a table; missing values are inactive parameters.

        Raises
        ------
        ValueError
            Naming the parameter that is inactive, or the value that the space cannot hold.
        """
        return self._configs(self._levels(frame), len(frame))

    def clip(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a table with what this space can hold of it.

        Numbers outside their range or off their steps move to the nearest that it has; foreign
        values, and parameters that are inactive, become missing; columns of other names are left
        out.
        """
        known = self.to_frame(frame)
        levels: Levels = {}
        for name, p in self._parameters.items():
            found = np.where(known[name].isna(), p.missing, p.nearest(known[name]))
            levels[name] = np.where(self._allowed(name, levels), found, math.nan)
        cells = {name: p.cells(levels[name]) for name, p in self._parameters.items()}
        return pd.DataFrame(cells, index=range(len(frame))).set_axis(frame.index)

    def nearest(self, frame: pd.DataFrame) -> list[Config]:
        """Return the configuration of this space that is nearest to each row of a table.

        Numbers outside their range move to its end; a foreign value becomes the default one, and
        so does a missing one, unless it can be the choice None; columns of other names are
        ignored.
        """
        known, start = self.to_frame(frame), self._levels([self.default])
        levels: Levels = {}
        for name, p in self._parameters.items():
            found = p.nearest(known[name])
            if name in frame:
                found = np.where(known[name].isna(), p.missing, found)
            default = p.default if np.isnan(start[name][0]) else start[name][0]
            levels[name] = np.where(np.isnan(found), default, found)
        return self._configs(levels, len(known))

    def to_json(self) -> dict[str, Any]:
        """Return the space as plain JSON values: parameters, conditions, default.

        Raises
        ------
        ValueError
            Naming a parameter with choices that JSON has no words for, such as estimators.
        """
        parameters = {}
        for name, distribution in self.distributions.items():
            try:
                parameters[name] = distribution_to_json(distribution)
            except TypeError:
                raise ValueError(
                    f"the parameter {name!r} has choices that no storage can hold; choose among "
                    "strings, numbers, booleans and None, or do without storage"
                ) from None
        return {
            "parameters": parameters,
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

    # ------------------------------------------------------------------ spaces from spaces

    def prefixed(self, prefix: str) -> Space:
        """Return the same space with `prefix` in front of every parameter's name."""
        if not prefix:
            return self
        return Space(
            {f"{prefix}{name}": distribution for name, distribution in self.distributions.items()},
            {f"{prefix}{c}": (f"{prefix}{p}", v) for c, (p, v) in self.conditions.items()},
            {f"{prefix}{name}": value for name, value in self.default.items()},
        )

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

        Raises
        ------
        ValueError
            If `default` is not a branch.
        """
        chooser = Choice(root, CategoricalDistribution(list(branches)))
        distributions: dict[str, BaseDistribution] = {root: chooser.distribution}
        conditions: dict[str, tuple[str, Sequence[Any]]] = {}
        renamed = {branch: space.prefixed(f"{branch}__") for branch, space in branches.items()}
        for branch, space in renamed.items():
            distributions |= {name: space.distributions[name] for name in space.names}
            conditions |= {name: (root, [branch]) for name in space.names}
            conditions |= space.conditions
        first = next(iter(branches)) if default is None else chooser.check(default, "default")
        return cls(distributions, conditions, {root: first, **renamed[first].default})


def as_space(space: Space | Mapping[str, BaseDistribution]) -> Space:
    """Return `space`, made of its distributions where those alone are given.

    Raises
    ------
    TypeError
        If it is neither a space nor a mapping.
    """
    if isinstance(space, Space):
        return space
    if not isinstance(space, Mapping):
        raise TypeError(
            f"space is of type {type(space).__name__}; give a metahpo.Space, or a mapping of "
            "names to Optuna distributions"
        )
    return Space(space)


def _parents_first(
    names: Iterable[str], conditions: Mapping[str, tuple[str, Sequence[Any]]]
) -> tuple[str, ...]:
    ordered: list[str] = []
    waiting = list(names)
    while waiting:
        ready = [n for n in waiting if n not in conditions or conditions[n][0] in ordered]
        if not ready:
            raise ValueError(f"the conditions are circular among {', '.join(waiting)}")
        ordered += ready
        waiting = [name for name in waiting if name not in ready]
    return tuple(ordered)


def _hint(name: str, known: Iterable[str]) -> str:
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    return f"; known are {', '.join(sorted(known))}"
