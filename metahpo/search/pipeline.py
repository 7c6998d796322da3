"""Where in a user's pipeline the tuned estimator stands, and what its parameters are called there.

Three spellings meet here: the estimator's own (``gamma="scale"``), the learner's, which is the
model's too (``gamma_rule="scale"``), and the user's, which carries the way through the pipeline
(``svc__gamma``). The study, the reports and the results speak the user's.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from metahpo.catalogue import Learner, Task, UnionLearner, learners, resolve_learner
from metahpo.metamodel import DEFAULT, MetaModel
from metahpo.space import Config, Space, as_space

# Estimators that change what comes out, not what is learned, and where they hold the one inside.
_WRAPPERS = {
    "CalibratedClassifierCV": "estimator",
    "FixedThresholdClassifier": "estimator",
    "LabelEncodedClassifier": "estimator",
    "TransformedTargetRegressor": "regressor",
    "TunedThresholdClassifierCV": "estimator",
}


@dataclass(frozen=True)
class Place:
    """The estimator that learns, inside the one that the user gave."""

    prefix: str
    """What its parameters begin with: "" if it stands bare, "svc__" for the step "svc"."""
    estimator: Any
    learner: Learner | None
    """The catalogue's entry for it, if there is one."""
    setup: dict[str, Any] = field(default_factory=dict)
    """What has to be set, in the user's spelling, for all parameters of the learner to exist."""

    def spell(self, config: Mapping[str, Any]) -> Config:
        """Put a configuration into the user's spelling."""
        return {f"{self.prefix}{name}": value for name, value in config.items()}

    def own(self, config: Mapping[str, Any]) -> Config:
        """Return the part of a configuration that the learner knows, in its own spelling."""
        known = self.spell({} if self.learner is None else self.learner.space.distributions)
        return {n.removeprefix(self.prefix): v for n, v in config.items() if n in known}


@dataclass(frozen=True)
class Plan:
    """What is searched, and how a configuration becomes parameters of the user's estimator."""

    place: Place
    model: MetaModel
    space: Space
    """In the user's spelling, as are the fixed values."""
    fixed: Config
    """What the model knows, the estimator sets and the space leaves alone."""

    def params_of(self, config: Mapping[str, Any], *, seed: int | None = 0) -> dict[str, Any]:
        """Turn a configuration into what the user's estimator takes in ``set_params``.

        Parameters
        ----------
        config : mapping
            Of the space that is searched.
        seed : int or None, default=0
            Of the estimators that a choice among learners makes.
        """
        place, learner = self.place, self.place.learner
        if isinstance(learner, UnionLearner):
            return dict(learner.make(config, random_state=seed).steps)
        own, native = place.own(config), place.estimator.get_params()
        if learner is None or own.keys() <= native.keys():
            return {**place.setup, **config}
        # rules, and compounds such as a tuple of layers: what is not searched of them stays as set
        set_ = {**learner.space.default, **place.own(self.fixed)}
        rest = {name: value for name, value in set_.items() if name not in native}
        other = {name: value for name, value in config.items() if name not in place.spell(own)}
        return {**place.setup, **place.spell(learner.params_of(rest | own)), **other}


def plan_search(
    estimator: Any,
    space: Space | Mapping[str, BaseDistribution] | None = None,
    model: MetaModel | str | Path = DEFAULT,
    learner: Learner | str | None = None,
    fits: Callable[[Any], bool] = lambda estimator: True,
) -> Plan:
    """Find the estimator that learns, what is known about it, and what is to be searched.

    Parameters
    ----------
    estimator : scikit-learn estimator
    space : Space or mapping of str to distribution, optional
        In the user's spelling; the learner's whole space by default, but for what the estimator
        sets to a value that it has no word for, such as a callable kernel. A mapping starts at
        the values that the estimator has now.
    model : MetaModel, str or Path, default="default"
        "default" is the shipped model of the estimator's learner.
    learner : Learner or str, optional
        The catalogue's entry for the estimator; found by its class by default.
    fits : callable, optional
        Tells whether an estimator can be measured as is asked: learners that cannot are left out
        of the whole space of a choice among them.

    Raises
    ------
    ValueError
        If the estimator is unknown and no space is given, if the space names a parameter that
        the estimator does not have, or if the model cannot be read.
    TypeError
        If the space is none.
    """
    place = find_place(estimator, learner)
    if space is None and place.learner is None and model == DEFAULT:
        raise ValueError(
            f"{type(place.estimator).__name__} is not among the learners that metahpo knows; "
            f"give space={{{f'{place.prefix}<parameter>'!r}: <an Optuna distribution>, ...}}"
        )
    known = _load(model, place.learner)
    if not isinstance(space, Space):
        start = {**place.spell(_settings(place)), **estimator.get_params()}
        if space is None:
            whole = known.space if place.learner is None else _sayable(place, place.learner, fits)
            space = _starting_at(whole.prefixed(place.prefix), start)
        else:
            space = _starting_at(as_space(space), start)
    _check_names(space, estimator, place)
    fixed = {
        n: v for n, v in _settings(place, space.names).items() if n in known.space.distributions
    }
    return Plan(place, known, space, place.spell(fixed))


# ---------------------------------------------------------------------- the estimator


def find_place(estimator: Any, learner: Learner | str | None = None) -> Place:
    """Find the estimator that learns: through pipelines and wrappers, at the last step.

    Parameters
    ----------
    estimator : scikit-learn estimator
    learner : Learner or str, optional
        The catalogue's entry for it; found by its class by default.

    Raises
    ------
    ValueError
        If `learner` is unknown, tunes what the estimator does not have, or is a choice among
        learners that has no place in the estimator.
    """
    if isinstance(learner, str):
        learner = resolve_learner(learner, task_of(estimator) or "classification")
    if isinstance(learner, UnionLearner):
        _check_replaceable(estimator, learner)
        return Place("", estimator, learner)
    prefix = ""
    while (step := _inside(estimator)) is not None:
        prefix, estimator = f"{prefix}{step[0]}__", step[1]
    learner = learner or _entry(estimator)
    if learner is not None:
        _check_taken(estimator, learner)
    if learner is None or learner.base_class is None or estimator.estimator is not None:
        return Place(prefix, estimator, learner)
    nested = {n.partition("estimator__")[2]: v for n, v in learner.space.default.items()}
    base = learner.base_class(**{n: v for n, v in nested.items() if n})
    prepared = clone(estimator).set_params(estimator=base)
    return Place(prefix, prepared, learner, {f"{prefix}estimator": base})


def task_of(estimator: Any) -> Task | None:
    """Return what an estimator does, as far as there is experience with it."""
    if is_classifier(estimator):
        return "classification"
    return "regression" if is_regressor(estimator) else None


def _check_replaceable(estimator: Any, learner: UnionLearner) -> None:
    names = [name for name, _ in learner.make().steps]
    if not isinstance(estimator, Pipeline) or [name for name, _ in estimator.steps] != names:
        raise ValueError(
            f"a choice among learners replaces the steps {' and '.join(map(repr, names))} of a "
            f"pipeline; give metahpo.learners[{learner.name!r}].make() as the estimator"
        )


def _check_taken(estimator: Any, learner: Learner) -> None:
    known = estimator.get_params()
    own = (name.partition("__")[0] for name in learner.params_of(learner.space.default))
    if foreign := [name for name in own if name not in known]:
        raise ValueError(
            f"the learner {learner.name!r} tunes {foreign[0]!r}, which "
            f"{type(estimator).__name__} does not have; leave learner out, or name the one it is"
        )


def _inside(estimator: Any) -> tuple[str, Any] | None:
    if isinstance(estimator, Pipeline):
        name, inner = estimator.steps[-1]
    else:
        name = _WRAPPERS.get(type(estimator).__name__)
        inner = None if name is None else getattr(estimator, name)
    return (name, inner) if hasattr(inner, "get_params") else None


def _entry(estimator: Any) -> Learner | None:
    cls = type(estimator)
    for learner in learners.values():
        # by name first: loading the class of every learner would import every library
        if isinstance(learner, UnionLearner) or not learner.estimator.endswith(f":{cls.__name__}"):
            continue
        if learner.estimator_class is cls:
            base = None if learner.base_class is None else estimator.estimator
            return learner if base is None or isinstance(base, learner.base_class) else None
    return None


# ---------------------------------------------------------------------- what is known and searched


def _load(model: MetaModel | str | Path, learner: Learner | None) -> MetaModel:
    if isinstance(model, MetaModel):
        return model
    if model != DEFAULT:
        return MetaModel.load(model, learner=None if learner is None else learner.name)
    if learner is None:
        return MetaModel.blank()
    return MetaModel.load(DEFAULT, learner=learner.family, task=learner.task)


def _settings(place: Place, searched: Iterable[str] = ()) -> Config:
    """Return what the estimator sets, in the learner's spelling, but for what is searched."""
    if isinstance(place.learner, UnionLearner):
        return {}
    free = {name.removeprefix(place.prefix) for name in searched if name.startswith(place.prefix)}
    params = {n: v for n, v in place.estimator.get_params().items() if n not in free}
    if place.learner is None:
        return params
    space = place.learner.space
    params = {n: v for n, v in params.items() if _is_said(n, v, place.learner)}
    found: Config = {}
    for name in space.names:
        # a parent that is searched can make any of its children active
        parents = {p: value for p, value in _activating(space, name) if p in free}
        config = place.learner.config_of(params | parents)
        if name in config and name not in free:
            found[name] = config[name]
    return found


def _is_said(name: str, value: Any, learner: Learner) -> bool:
    """Whether a learner's space has words for a value of an estimator's parameter."""
    distribution = learner.space.distributions.get(name)
    plain = value is None or isinstance(value, str | bool) or _is_number(value)
    if distribution is None or (plain and value in learner.symbols.get(name, ())):
        return True
    if isinstance(distribution, CategoricalDistribution):
        return plain and value in distribution.choices
    return _is_number(value)


def _sayable(place: Place, learner: Learner, fits: Callable[[Any], bool]) -> Space:
    """Return a learner's space without what the estimator sets to a value foreign to it.

    None is never foreign: where a space has no word for it, it is the library's own default. Of a
    choice among learners, the space of those that fit.
    """
    if isinstance(learner, UnionLearner):
        fitting = [name for name, branch in learner.branches.items() if fits(branch.make())]
        return learner.space_of(fitting)
    space = learner.space
    left = {
        name
        for name, value in place.estimator.get_params().items()
        if value is not None and not _is_said(name, value, learner)
    }
    for name in space.names:  # parents before their children
        if name in space.conditions and space.conditions[name][0] in left:
            left.add(name)
    kept = [name for name in space.names if name not in left]
    return Space(
        {name: space.distributions[name] for name in kept},
        {name: space.conditions[name] for name in kept if name in space.conditions},
        {name: value for name, value in space.default.items() if name in kept},
    )


def _activating(space: Space, name: str) -> Iterable[tuple[str, Any]]:
    """Yield the ancestors of a parameter, each with a value that makes its child active."""
    while name in space.conditions:
        name, values = space.conditions[name]
        yield name, values[0]


def _starting_at(space: Space, values: Mapping[str, Any]) -> Space:
    """Move the default of a space to the given values, as near as it can hold them."""
    start: Config = {}
    for name in space.names:
        if name in space.active(start):
            distribution = space.distributions[name]
            middle = Space({name: distribution}).default
            offers = [source[name] for source in (values, space.default, middle) if name in source]
            offers[0] = _into(distribution, offers[0])
            start[name] = next(v for v in offers if _holds(space, {**start, name: v}))
    return Space(space.distributions, space.conditions, start)


def _into(distribution: BaseDistribution, value: Any) -> Any:
    """Move a number that is outside its range to the nearest end."""
    if isinstance(distribution, FloatDistribution | IntDistribution) and _is_number(value):
        return min(max(value, distribution.low), distribution.high)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _holds(space: Space, config: Config) -> bool:
    try:
        space.validate(config, partial=True)
    except ValueError:
        return False
    return True


def _check_names(space: Space, estimator: Any, place: Place) -> None:
    if not space.names:
        raise ValueError("space is empty; name at least one parameter of the estimator")
    known = set() if place.learner is None else set(place.spell(place.learner.space.distributions))
    if not isinstance(place.learner, UnionLearner):
        known |= {*estimator.get_params(), *place.spell(place.estimator.get_params())}
    for name in space.names:
        if name not in known:
            close = [k for k in sorted(known) if k.endswith(f"__{name}")]
            close = close or difflib.get_close_matches(name, known) or sorted(known)
            raise ValueError(
                f"space has the unknown parameter {name!r}; "
                f"did you mean {' or '.join(map(repr, close[:3]))}?"
            )
