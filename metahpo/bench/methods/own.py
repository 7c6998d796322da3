"""A user's own method: a class with ask and tell, or an Optuna sampler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from metahpo.bench.importing import imported
from metahpo.bench.methods.studies import StudyTuner
from metahpo.bench.problem import Problem, Tuner


def importer(path: str) -> Callable[..., Tuner]:
    """Import ``package.module:Class``.

    Raises
    ------
    ValueError
        If it cannot be imported, or is neither a sampler nor a class with ask and tell.
    """
    from optuna.samplers import BaseSampler

    found = imported(path, "method")
    if inspect.isclass(found) and issubclass(found, BaseSampler):
        return _as_study(found)
    if not (callable(getattr(found, "ask", None)) and callable(getattr(found, "tell", None))):
        raise ValueError(f"the method {path!r} has no ask and tell, and is no Optuna sampler")
    make: Callable[..., Tuner] = found
    return make


def _as_study(sampler_class: Callable[..., Any]) -> Callable[..., Tuner]:
    seeded = "seed" in inspect.signature(sampler_class).parameters

    def make(problem: Problem, **settings: Any) -> Tuner:
        seed = {"seed": problem.seed} if seeded else {}
        return StudyTuner(problem, sampler_class(**{**seed, **settings}))

    return make
