"""What users bring along: methods and learners of their own, by import path."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from metahpo.catalogue import Learner, Task, resolve_learner


def imported(path: str, what: str) -> Any:
    """Import ``package.module:Name``; the folder one stands in is searched, too.

    Raises
    ------
    ValueError
        If it cannot be imported; `what` says in the message what it should have been.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it; a console script does not
        sys.path.append(here)
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"the {what} {path!r} cannot be imported: {error}") from error


def find_learner(name: str, task: Task) -> Learner:
    """Find a learner of the catalogue, or import a user's ``package.module:Name``.

    Raises
    ------
    ValueError
        If there is none, or it does another task.
    """
    if ":" not in name:
        return resolve_learner(name, task)
    found = imported(name, "learner")
    if not isinstance(found, Learner):
        raise ValueError(f"the learner {name!r} is no metahpo.catalogue.Learner")
    if found.task != task:
        raise ValueError(f"the learner {name!r} does {found.task}, not {task}")
    return found
