"""Transfer: what a user's space and the model's have in common, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from optuna.distributions import CategoricalDistribution

from metahpo.parameter import Distribution
from metahpo.space import Config, Space


@dataclass(frozen=True)
class TransferReport:
    """What became of each parameter; nothing is dropped in silence.

    Attributes
    ----------
    mapped : tuple of str
        Tuned by the user and known to the model.
    clipped : dict of str to str
        Of these, the ones whose range reaches beyond what the model has seen, and how; outside,
        the model reads the nearest value it knows.
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

    Parameters
    ----------
    user : Space
        The space that is searched.
    model : Space
        The space that the model was trained on.
    fixed : mapping, optional
        Values of parameters that the user does not tune, such as those set in a pipeline. A
        parameter that is neither tuned nor given is taken at the value under which the tuned
        ones are active, else at the model's default.
    """

    def __init__(self, user: Space, model: Space, fixed: Mapping[str, Any] | None = None) -> None:
        self.user, self.model = user, model
        shared = [
            name
            for name in model.names
            if name in user.distributions
            and _alike(user.distributions[name], model.distributions[name])
        ]
        self.report = TransferReport(
            mapped=tuple(shared),
            clipped=dict(filter(None, (self._clipping(name) for name in shared))),
            fixed=self._fixed_values(shared, dict(fixed or {})),
            unknown=tuple(name for name in user.names if name not in shared),
        )

    def _clipping(self, name: str) -> tuple[str, str] | None:
        mine, known = self.user.distributions[name], self.model.distributions[name]
        if isinstance(known, CategoricalDistribution):
            new = [c for c in _choices(mine) if c not in known.choices]
            return (name, f"never seen: {', '.join(map(repr, new))}") if new else None
        if isinstance(mine, CategoricalDistribution):
            return None
        if mine.low < known.low or mine.high > known.high:
            return name, f"seen from {known.low:g} to {known.high:g}"
        return None

    def _fixed_values(self, shared: Sequence[str], given: Config) -> Config:
        """Find a value for the parameters of the model that the user does not tune."""
        implied: Config = {}
        for child in reversed(self.model.names):
            if child in self.model.conditions and (child in shared or child in implied):
                parent, values = self.model.conditions[child]
                implied.setdefault(parent, values[0])
        fixed: Config = {}
        for name in self.model.names:
            if name in shared:
                continue
            for source in (given, implied, self.model.default):
                if name in source and self._takes(name, source[name]):
                    fixed[name] = source[name]
                    break
        return {name: fixed[name] for name in self.model.names if name in fixed}

    def _takes(self, name: str, value: Any) -> bool:
        distribution = self.model.distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            return value in distribution.choices
        return isinstance(value, int | float) and not isinstance(value, bool)

    def to_model(self, configs: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
        """Lay the user's configurations out as the model reads them, missing where inactive."""
        frame = self.user.to_frame(configs)
        if self.user is self.model:
            return frame
        columns: dict[str, pd.Series[Any]] = {}
        for name in self.model.names:
            distribution = self.model.distributions[name]
            if name in self.report.mapped:
                column = frame[name]
            else:
                column = pd.Series(self.report.fixed.get(name), index=frame.index, dtype=object)
            if isinstance(distribution, CategoricalDistribution):
                column = column.where(column.isin(distribution.choices), None)
            else:
                column = pd.to_numeric(column).clip(distribution.low, distribution.high)
            if name in self.model.conditions:
                parent, values = self.model.conditions[name]
                column = column.where(columns[parent].isin(values), None)
            columns[name] = column
        return pd.DataFrame(columns, index=frame.index)

    def to_user(self, configs: Sequence[Mapping[str, Any]]) -> list[Config]:
        """Turn configurations the model knows into the nearest ones of the user's space.

        Parameters that the model does not know take the user's default.
        """
        if self.user is self.model:
            return [dict(config) for config in configs]
        shared = self.model.to_frame(configs)[list(self.report.mapped)]
        return self.user.nearest(shared)


def _alike(a: Distribution, b: Distribution) -> bool:
    if isinstance(a, CategoricalDistribution) != isinstance(b, CategoricalDistribution):
        return False
    return not isinstance(a, CategoricalDistribution) or bool(set(_choices(a)) & set(_choices(b)))


def _choices(distribution: Distribution) -> tuple[Any, ...]:
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
