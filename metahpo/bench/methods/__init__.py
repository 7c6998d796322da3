"""The tuners that are compared, by name, and how a user's own joins them.

Every method gets the same :class:`~metahpo.bench.problem.Problem` and the same evaluations; the
cold ones start where a practitioner would, from the library's default configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

from metahpo.bench.methods import (
    earlier,
    flaml_zero_shot,
    halving,
    own,
    rgpe,
    simple,
    smac,
    studies,
    warm,
)
from metahpo.bench.problem import Tuner
from metahpo.catalogue import learners

__all__ = ["Method", "find_method", "methods"]


@dataclass(frozen=True)
class Method:
    """A tuner.

    Attributes
    ----------
    name : str
        Its key in ``methods``, or a user's ``package.module:Class``.
    label : str
        What a table calls it.
    title : str
        What a picture's legend calls it.
    make : callable
        From a problem, and settings as keywords, to a :class:`~metahpo.bench.problem.Tuner`.
    from_default : bool
        Whether the first trial is the library's default configuration.
    warm : bool
        Whether it may look at earlier tasks' evaluations, at a model trained on them or at the
        task's meta-features.
    needs_model : bool
        Whether it may ask for the meta-model, so that one has to be there.
    on_candidates : bool
        Whether it can be told of another configuration than it asked for, as happens where only
        some are to be had.
    families : tuple of str
        Learners that it can tune, by family; empty where it can tune all.
    package : str or None
        What must be installed for it.
    """

    name: str
    label: str
    title: str
    make: Callable[..., Tuner]
    from_default: bool = False
    warm: bool = False
    needs_model: bool = False
    on_candidates: bool = True
    families: tuple[str, ...] = ()
    package: str | None = None

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return self.package is None or find_spec(self.package) is not None

    def can_tune(self, learner: str) -> bool:
        """Whether it can tune a learner, given by name or by family."""
        family = learners[learner].family if learner in learners else learner
        return not self.families or family in self.families


_METHODS = (
    Method("metahpo", "metahpo", "metahpo", warm.Metahpo, warm=True, needs_model=True),
    Method(
        "zero_shot",
        "zero-shot",
        "metahpo, zero-shot only",
        warm.ZeroShot,
        warm=True,
        needs_model=True,
    ),
    Method("random", "random", "random search", simple.RandomSearch),
    Method("tpe", "TPE, cold", "Optuna TPE, cold", studies.tpe),
    Method("gp", "GP, cold", "Optuna GP, cold", studies.gp),
    Method(
        "tpe_default",
        "TPE",
        "Optuna TPE, from the default",
        studies.tpe_default,
        from_default=True,
    ),
    Method(
        "gp_default", "GP", "Optuna GP, from the default", studies.gp_default, from_default=True
    ),
    Method(
        "cmaes",
        "CMA-ES",
        "Optuna CMA-ES, from the default",
        studies.cmaes,
        from_default=True,
        on_candidates=False,
        package="cmaes",
    ),
    Method("portfolio", "portfolio", "greedy portfolio", earlier.portfolio, warm=True),
    Method("portfolio_gp", "portfolio+GP", "portfolio, then GP", earlier.portfolio_gp, warm=True),
    Method("nearest", "nearest", "nearest tasks, then GP", earlier.nearest, warm=True),
    Method("rgpe", "RGPE", "RGPE", rgpe.RGPE, warm=True),
    Method(
        "halving",
        "halving",
        "scikit-learn's halving random search",
        halving.Halving,
        on_candidates=False,
    ),
    Method(
        "flaml_zero_shot",
        "FLAML zero-shot",
        "FLAML, zero-shot",
        flaml_zero_shot.FlamlZeroShot,
        on_candidates=False,
        families=tuple(flaml_zero_shot.PORTFOLIOS),
        package="flaml",
    ),
    Method(
        "smac",
        "SMAC",
        "SMAC, from the default",
        smac.Smac,
        from_default=True,
        on_candidates=False,
        package="smac",
    ),
)

methods: Mapping[str, Method] = MappingProxyType({method.name: method for method in _METHODS})


def find_method(name: str) -> Method:
    """Find a method by its name, or import a user's.

    Parameters
    ----------
    name : str
        A key of ``methods``, or ``"package.module:Class"``: a class that takes a
        :class:`~metahpo.bench.problem.Problem` and has ``ask`` and ``tell``, or an Optuna
        sampler.

    Raises
    ------
    ValueError
        If there is no such method, it cannot be imported, or its package is not installed.
    """
    if ":" in name:
        title = name.partition(":")[2]
        return Method(name, title, title, own.importer(name), warm=True, needs_model=True)
    if name not in methods:
        close = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(methods)}"
        raise ValueError(f"unknown method {name!r}; {hint} (or a class, as package.module:Class)")
    method = methods[name]
    if not method.installed:
        raise ValueError(f"the method {name!r} needs the package {method.package}; install it")
    return method
