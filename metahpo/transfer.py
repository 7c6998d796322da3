"""Transfer: what a user's space and the model's have in common, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.parameter import Array, Choice, Number, Parameter, identity, parameter
from metahpo.space import Codes, Config, Space


@dataclass(frozen=True)
class TransferReport:
    """What became of each parameter; nothing is dropped in silence.

    Attributes
    ----------
    mapped : tuple of str
        Tuned by the user and known to the model.
    clipped : dict of str to str
        Mapped or fixed, and reaching beyond what the model has seen: how. Of a number outside,
        the model reads the nearest that it knows; of a choice never seen, nothing.
    fixed : dict
        Known to the model and not tuned: the value they are conditioned on.
    unknown : tuple of str
        Tuned by the user and new to the model: left to the study's own trials.
    """

    mapped: tuple[str, ...]
    clipped: dict[str, str]
    fixed: dict[str, Any]
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        parts = {
            "mapped": ", ".join(self.mapped),
            "clipped": ", ".join(f"{k} ({v})" for k, v in self.clipped.items()),
            "fixed": ", ".join(f"{k}={v!r}" for k, v in self.fixed.items()),
            "unknown": ", ".join(self.unknown),
        }
        return "; ".join(f"{what}: {names}" for what, names in parts.items() if names)


class Transfer:
    """Translates configurations of a user's space into the model's and back.

    A number of the model may be a choice among numbers in the user's space.

    Parameters
    ----------
    user : Space
        The space that is searched.
    model : Space
        The space that the model was trained on.
    fixed : mapping, optional
        Values of parameters that the user does not tune, such as those set in a pipeline. A
        parameter that is neither tuned nor given is taken at a value under which the others are
        active, preferably the model's default.
    """

    def __init__(self, user: Space, model: Space, fixed: Mapping[str, Any] | None = None) -> None:
        self.user, self.model = user, model
        self._known = {name: parameter(name, model.distributions[name]) for name in model.names}
        self._mapped = {
            name: own
            for name, known in self._known.items()
            if name in user.distributions
            and _alike(own := parameter(name, user.distributions[name]), known)
        }
        given = {n: v for n, v in (fixed or {}).items() if n in self._known.keys() - self._mapped}
        reach = {name: _reach(own) for name, own in self._mapped.items()}
        reach |= {name: [value] for name, value in given.items()}
        beyond = {name: _beyond(values, self._known[name]) for name, values in reach.items()}
        self.report = TransferReport(
            mapped=tuple(self._mapped),
            clipped={name: how for name, how in beyond.items() if how},
            fixed=self._fixed_values(given),
            unknown=tuple(name for name in user.names if name not in self._mapped),
        )

    def _fixed_values(self, given: Config) -> Config:
        """Find a value for the parameters of the model that the user does not tune."""
        implied = self._implied({*self._mapped, *given})
        fixed: Config = {}
        for name, known in self._known.items():
            if name in self._mapped:
                continue
            parent, values = self.model.conditions.get(name, (None, ()))
            left = parent is not None and parent not in self._mapped
            if left and not (parent in fixed and _among(fixed[parent], values)):
                continue
            for source in (given, implied, self.model.default):
                if name in source and not _foreign(source[name], known):
                    fixed[name] = _nearest(source[name], known)
                    break
        return fixed

    def _implied(self, needed: set[str]) -> Config:
        """Find the values of parents under which as many as possible of `needed` are active."""
        allowed: dict[str, Sequence[Any]] = {}
        for child in reversed(self.model.names):  # grandchildren before their parents
            if child in self.model.conditions and (child in needed or child in allowed):
                parent, values = self.model.conditions[child]
                common = [v for v in allowed.get(parent, values) if _among(v, values)]
                allowed[parent] = common or allowed[parent]
        start = self.model.default
        return {
            name: start[name] if name in start and _among(start[name], values) else values[0]
            for name, values in allowed.items()
        }

    @property
    def trivial(self) -> bool:
        """Whether the user's space is the model's own."""
        return self.user is self.model

    def to_model(self, codes: Codes) -> Codes:
        """Read the user's configurations as the model's.

        Numbers beyond what the model knows are read as the nearest that it does, choices that it
        has never seen as missing.

        Parameters
        ----------
        codes : Codes
            Of the user's space.

        Returns
        -------
        Codes
            Of the model's space.
        """
        if self.trivial:
            return codes
        read = {
            name: self._read(name, codes)
            if name in self._mapped
            else _coded(np.repeat(self._levels[name], len(codes)), known)
            for name, known in self._known.items()
        }
        return self.model.assemble(read, len(codes))

    def _read(self, name: str, codes: Codes) -> tuple[Array, NDArray[np.bool_]]:
        """Return the model's code of a parameter of both, and where the model can read it."""
        own, known, where = self._mapped[name], self._known[name], self.user.slices[name]
        code, active = codes.array[:, where], codes.active[:, where.start]
        if isinstance(own, Choice):
            choice = np.where(active, own.decode(code), -1).astype(int)
            return _coded(self._levels[name][choice], known)
        if own.distribution == known.distribution:
            return code, active
        return known.snap(known.encode(own.numbers(code))), active

    @cached_property
    def _levels(self) -> dict[str, Array]:
        """Of every parameter of the model the level that each of the user's choices stands for.

        Last the one of no choice; alone the one that is fixed where the user does not tune it.
        """
        levels = {}
        for name, known in self._known.items():
            own = self._mapped.get(name)
            if own is None:
                levels[name] = _levels_of([self.report.fixed.get(name)], known)
            elif isinstance(own, Choice):
                levels[name] = _levels_of([*own.distribution.choices, None], known)
        return levels

    def to_user(self, configs: Sequence[Mapping[str, Any]]) -> list[Config]:
        """Turn configurations the model knows into the nearest ones of the user's space.

        Parameters that the model does not know take the user's default.
        """
        if self.trivial:
            return [dict(config) for config in configs]
        shared = self.model.to_frame(configs)[list(self._mapped)]
        for name, own in self._mapped.items():
            known = self._known[name]
            if isinstance(own, Choice) and isinstance(known, Number):
                shared[name] = _nearest_choices(shared[name], own, known)
        return self.user.nearest(shared)


def _alike(own: Parameter, known: Parameter) -> bool:
    if isinstance(known, Number):
        return isinstance(own, Number) or not any(_foreign(v, known) for v in _reach(own))
    return isinstance(own, Choice) and not all(_foreign(v, known) for v in _reach(own))


def _levels_of(values: Sequence[Any], known: Parameter) -> Array:
    """Return the levels nearest to values, None being a missing one; NaN where foreign."""
    column = pd.Series(values, dtype=object)
    return np.where(column.isna(), known.missing, known.nearest(column))


def _coded(levels: Array, known: Parameter) -> tuple[Array, NDArray[np.bool_]]:
    return known.encode(levels), ~np.isnan(levels)


def _reach(own: Parameter) -> Sequence[Any]:
    """Return the choices, or the ends of the range."""
    if isinstance(own, Choice):
        return own.distribution.choices
    return own.distribution.low, own.distribution.high


def _foreign(value: Any, known: Parameter) -> bool:
    """Whether the model knows nothing of a value, nor of any near it."""
    if isinstance(known, Choice):
        return not _among(value, known.distribution.choices)
    return isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number)


def _beyond(reach: Sequence[Any], known: Parameter) -> str:
    """Say how far values reach beyond what the model has seen; "" if they do not."""
    new = [value for value in reach if _foreign(value, known)]
    if new:
        return f"never seen: {', '.join(map(repr, new))}"
    if isinstance(known, Number):
        low, high = known.distribution.low, known.distribution.high
        if not low <= min(reach) <= max(reach) <= high:
            return f"seen from {low:g} to {high:g}"
    return ""


def _nearest(value: Any, known: Parameter) -> Any:
    if isinstance(known, Choice):
        return known.check(value, "")
    return known.values(known.nearest(pd.Series([value])))[0]


def _nearest_choices(column: pd.Series[Any], own: Choice, known: Number) -> list[Any]:
    """Turn the model's numbers into the user's choices nearest to them on the model's scale."""
    choices = own.distribution.choices
    levels = known.levels(column)
    apart = known.encode(levels) - known.encode(known.nearest(pd.Series(choices)))[:, 0]
    found = np.abs(apart).argmin(axis=1)  # (rows, choices)
    return [None if np.isnan(x) else choices[i] for x, i in zip(levels, found, strict=True)]


def _among(value: Any, values: Iterable[Any]) -> bool:
    return identity(value) in map(identity, values)
