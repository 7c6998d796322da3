"""The catalogue: scikit-learn's workhorses, each with a space worth searching.

``learners`` maps names to :class:`Learner`. Classification comes under the plain names ("svc",
"random_forest", …), regression under its own ("svr", "random_forest_regressor", …);
:func:`resolve_learner` finds the counterpart. "auto" and "auto_regressor" are the unions of all
learners with the learner itself as the root parameter.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from metahpo.catalogue import boosting, forests, linear, neighbors, neural, svm
from metahpo.catalogue.learner import ROOT, Learner, Task, UnionLearner

__all__ = ["ROOT", "Learner", "Task", "UnionLearner", "learners", "resolve_learner"]


def _catalogue() -> dict[str, Learner]:
    single = [
        learner
        for module in (linear, svm, neighbors, forests, boosting, neural)
        for learner in module.LEARNERS
        if learner.installed
    ]
    found = {learner.name: learner for learner in single}
    for name, task, first in (
        ("auto", "classification", "random_forest"),
        ("auto_regressor", "regression", "random_forest_regressor"),
    ):
        branches = {learner.name: learner for learner in single if learner.task == task}
        found[name] = UnionLearner.of(name, branches, first)
    return found


learners: Mapping[str, Learner] = MappingProxyType(_catalogue())


def task_named(learner: str | None) -> Task:
    """Return what the learner of a name does; "classification" where the name leaves it open."""
    if isinstance(learner, str) and learner in learners:
        return learners[learner].task
    return "classification"


def resolve_learner(name: str, task: Task) -> Learner:
    """Find a learner by its name or family for a task.

    Parameters
    ----------
    name : str
        A key of ``learners``, or the name its classifier has: "random_forest" with
        ``task="regression"`` is "random_forest_regressor", "svc" is "svr".
    task : {"classification", "regression"}

    Raises
    ------
    ValueError
        If there is no such learner, or if it cannot do the task; the message names near ones.
    TypeError
        If `name` is none.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"learner is of type {type(name).__name__}; give the name of one, such as 'svc'"
        )
    for learner in learners.values():
        if learner.task == task and name in (learner.name, learner.family):
            return learner
    if name in learners:
        raise ValueError(f"the learner {name!r} does {learners[name].task}, not {task}")
    fitting = sorted(learner.family for learner in learners.values() if learner.task == task)
    named = [learner.name for learner in learners.values() if learner.task == task]
    close = difflib.get_close_matches(name.lower(), [*fitting, *named], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(fitting)}"
    raise ValueError(f"unknown learner {name!r}; {hint}")
