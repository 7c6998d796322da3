"""What a study's trials show of its search space.

A space that is defined by run has no definition: it shows itself trial by trial, as the objective
suggests. From what is expected (the model's space, or the user's) and what the trials have shown
so far, :func:`observed_space` infers the space the objective suggests from: its parameters, their
widest ranges, and under which values of which parent each is suggested at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metahpo.parameter import Distribution, Parameter, parameter
from metahpo.space import Config, Space

Numeric = FloatDistribution | IntDistribution
Condition = tuple[str, tuple[Any, ...]]

_FEW = 32  # integers with at most so many values can be parents: the number of layers, say


@dataclass(frozen=True)
class Shown:
    """What one trial shows of the space.

    Attributes
    ----------
    params : dict
        Values suggested so far.
    distributions : mapping of str to Distribution
        What they were suggested from; may hold a parameter whose value is being asked for.
    finished : bool
        Whether the objective came to its end, so that what is absent was not suggested.
    """

    params: Config
    distributions: Mapping[str, Distribution]
    finished: bool


def observed_space(
    expected: Space, trials: Sequence[Shown], fixed: Mapping[str, Any] | None = None
) -> Space:
    """Infer the space that an objective suggests from.

    Parameters
    ----------
    expected : Space
        What the objective is expected to suggest. A parameter of it that no trial has shown is
        kept as long as no finished trial has passed it over.
    trials : sequence of Shown
        In the order of their numbers.
    fixed : mapping, optional
        Values of expected parameters that the objective does not suggest.

    Returns
    -------
    Space
        `expected` itself where the trials show nothing else.
    """
    shown = _widest(trials)
    distributions, conditions = _expected_part(expected, shown, trials, fixed or {})
    distributions |= {name: d for name, d in shown.items() if name not in distributions}
    for name in shown:
        if name not in conditions:
            condition = _inferred_condition(name, shown, conditions, trials)
            if condition is not None:
                conditions[name] = condition
    if _same(distributions, expected.distributions) and conditions == expected.conditions:
        return expected
    return _with_default(distributions, conditions, expected)


def narrowed(space: Space, distributions: Mapping[str, Distribution]) -> Space:
    """Return the part of a space in which some parameters have a narrower distribution.

    Parameters that can no longer become active are left out.
    """
    kept: dict[str, Distribution] = {
        name: distributions.get(name, own) for name, own in space.distributions.items()
    }
    conditions: dict[str, Condition] = {}
    for name in space.names:
        if name in space.conditions:
            conditions[name] = _possible(space.conditions[name], kept)
            if not conditions[name][1]:
                del kept[name], conditions[name]
    same = _same(kept, space.distributions)
    return space if same else _with_default(kept, conditions, space)


def pinned(space: Space, params: Mapping[str, Any]) -> Space:
    """Return the part of a space in which parameters have these values, as far as it can."""
    held = nearest_configs(space, [params])[0]
    return narrowed(
        space, {n: _single_valued(space.distributions[n], value) for n, value in held.items()}
    )


def nearest_configs(space: Space, trials: Sequence[Mapping[str, Any]]) -> list[Config]:
    """Read the parameters of trials as configurations of a space, as far as it can hold them.

    Numbers outside their range or off their steps move to the nearest that the space has; choices
    and parameters that it does not have, and those that are inactive in it, are left out.
    """
    held: list[Config] = [{} for _ in trials]
    for name, distribution in space.distributions.items():
        reader = parameter(name, distribution)
        for config, params in zip(held, trials, strict=True):
            if name in params:
                config.update((name, value) for value in _nearest(reader, params[name]))
    return [{name: c[name] for name in space.active(c) if name in c} for c in held]


def can_read(distribution: Distribution, value: Any) -> bool:
    """Tell whether a value is one of the choices, or any number where numbers are expected."""
    return bool(_nearest(parameter("", distribution), value))


def checked_fixed(fixed: Mapping[str, Any], known: Space) -> Config:
    """Return values of parameters that a study does not tune, or say which a model cannot use."""
    if not isinstance(fixed, Mapping):
        raise TypeError(
            f"fixed is of type {type(fixed).__name__}; give a mapping of names to values"
        )
    for name, value in fixed.items():
        if name not in known.distributions:
            raise ValueError(
                f"fixed names {name!r}, which the model does not know; it knows "
                f"{', '.join(known.names)}"
            )
        if not can_read(known.distributions[name], value):
            raise ValueError(
                f"fixed sets {name}={value!r}, of which the model knows nothing; it knows "
                f"{known.distributions[name]}"
            )
    return dict(fixed)


def _nearest(reader: Parameter, value: Any) -> list[Any]:
    """Return the nearest value that a parameter can take, in a list; none for a foreign choice."""
    try:
        return [reader.check(value, "")]
    except ValueError:
        levels = reader.nearest(reader.column([value]))
        return list(reader.values(levels[~np.isnan(levels)]))


# ---------------------------------------------------------------------- what is expected


def _expected_part(
    expected: Space,
    shown: Mapping[str, Distribution],
    trials: Sequence[Shown],
    fixed: Mapping[str, Any],
) -> tuple[dict[str, Distribution], dict[str, Condition]]:
    """Return what holds of the expected space, in the light of the trials."""
    kept: dict[str, Distribution] = {}
    conditions: dict[str, Condition] = {}
    heirs: dict[str, Condition | None] = {}  # what the children of a parameter left out depend on
    ancestors = {a for name in shown for a in _ancestors(name, expected.conditions)}
    for name in expected.names:
        condition = heirs[name] = _inherited(expected.conditions.get(name), kept, heirs, fixed)
        if name in shown:
            kept[name] = shown[name]
            if condition is not None and not _contradicted(name, condition, trials):
                conditions[name] = condition
        elif not (
            name in fixed
            or name in ancestors  # its child was suggested without it
            or _never(condition)
            or any(_passed_over(condition, trial) for trial in trials)
        ):
            kept[name] = expected.distributions[name]
            if condition is not None:
                conditions[name] = condition
    return kept, conditions


def _inherited(
    condition: Condition | None,
    kept: Mapping[str, Distribution],
    heirs: Mapping[str, Condition | None],
    fixed: Mapping[str, Any],
) -> Condition | None:
    """Say what a parameter depends on when its parent is restricted, fixed or left out."""
    if condition is None:
        return None
    parent, values = condition
    if parent in kept:
        return _possible(condition, kept)
    if parent in fixed and fixed[parent] not in values:
        return parent, ()
    return heirs[parent]


def _ancestors(name: str, conditions: Mapping[str, Condition]) -> Iterable[str]:
    while name in conditions:
        name = conditions[name][0]
        yield name


def _possible(condition: Condition, kept: Mapping[str, Distribution]) -> Condition:
    """Restrict a condition to the values that its parent can take; to none if it is gone."""
    parent, values = condition
    if parent not in kept:
        return parent, ()
    return parent, tuple(value for value in values if _holds(kept[parent], value))


def _never(condition: Condition | None) -> bool:
    return condition is not None and not condition[1]


def _contradicted(name: str, condition: Condition, trials: Sequence[Shown]) -> bool:
    """Whether some trial suggested the parameter though the condition was not met."""
    parent, values = condition
    return any(
        name in trial.distributions
        and (parent not in trial.params or trial.params[parent] not in values)
        for trial in trials
    )


def _passed_over(condition: Condition | None, trial: Shown) -> bool:
    """Whether a trial ended without suggesting a parameter that has this condition."""
    if condition is None or not trial.finished:
        return trial.finished
    parent, values = condition
    return parent in trial.params and trial.params[parent] in values


# ---------------------------------------------------------------------- what is shown


def _widest(trials: Iterable[Shown]) -> dict[str, Distribution]:
    """Collect every parameter shown, in the widest range it was suggested from."""
    shown: dict[str, Distribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            shown[name] = _joined(shown.get(name, distribution), distribution)
    return shown


def _joined(earlier: Distribution, later: Distribution) -> Distribution:
    if isinstance(later, CategoricalDistribution) or isinstance(earlier, CategoricalDistribution):
        return later  # Optuna keeps the choices of a study's parameter as they are
    if earlier == later or type(earlier) is not type(later) or earlier.log != later.log:
        return later
    return _ranged(later, min(earlier.low, later.low), max(earlier.high, later.high))


def _inferred_condition(
    name: str,
    shown: Mapping[str, Distribution],
    conditions: Mapping[str, Condition],
    trials: Sequence[Shown],
) -> Condition | None:
    """Find a parent by whose value the trials with a parameter differ from those without it.

    Of several the one that was suggested first. A value of it that no trial has taken yet is
    assumed to call for the parameter.
    """
    present = [trial.params for trial in trials if name in trial.distributions]
    absent = [t.params for t in trials if t.finished and name not in t.distributions]
    if not absent:
        return None
    for parent, distribution in shown.items():
        if parent == name or name in _ancestors(parent, conditions):
            continue
        if not all(parent in params for params in present):
            continue
        without = {params[parent] for params in absent if parent in params}
        values = tuple(value for value in _few_values(distribution) if value not in without)
        if values and all(params[parent] in values for params in present):
            return parent, values
    return None


def _few_values(distribution: Distribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        values = range(distribution.low, distribution.high + 1, distribution.step)
        return values if len(values) <= _FEW else ()
    return ()


# ---------------------------------------------------------------------- spaces and values


def _with_default(
    distributions: Mapping[str, Distribution],
    conditions: Mapping[str, Condition],
    like: Space,
) -> Space:
    """Build a space whose default is the nearest to that of another."""
    space = Space(distributions, conditions)
    default = space.nearest(like.to_frame([like.default]))[0]
    return Space(distributions, conditions, default)


def _same(some: Mapping[str, Distribution], others: Mapping[str, Distribution]) -> bool:
    """Tell whether distributions are the same; to Optuna the choice True is the choice 1."""
    return some == others and all(repr(d) == repr(others[name]) for name, d in some.items())


def _holds(distribution: Distribution, value: Any) -> bool:
    try:
        parameter("", distribution).check(value, "")
    except ValueError:
        return False
    return True


def _single_valued(distribution: Distribution, value: Any) -> Distribution:
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution([value])
    return _ranged(distribution, value, value)


def _ranged(like: Numeric, low: float, high: float) -> Numeric:
    if isinstance(like, IntDistribution):
        return IntDistribution(int(low), int(high), log=like.log)
    return FloatDistribution(low, high, log=like.log)
