"""What a collection evaluates, and under which rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from metahpo.declared import read_declaration, typed
from metahpo.space import Config, Space


@dataclass(frozen=True)
class Settings:
    """The rules under which scores are measured: equal for everything in one collection.

    Attributes
    ----------
    task : {"classification", "regression"}
        Kind of the tasks.
    metric : str
        Name of a scikit-learn scorer; scorers are maximised.
    n_folds : int
        Folds of the cross-validation, stratified for classification, shuffled.
    max_rows, max_columns : int
        Caps of a task's table.
    time_limit : float
        Seconds that fitting and scoring one configuration on all folds may take.
    seed : int
        Of the sample of rows, the folds, the list of configurations and the estimators.
    """

    task: Literal["classification", "regression"]
    metric: str
    n_folds: int = 3
    max_rows: int = 1000
    max_columns: int = 200
    time_limit: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        from sklearn.metrics import get_scorer_names

        if self.metric not in get_scorer_names():
            raise ValueError(
                f"metric {self.metric!r} is not one of scikit-learn's scorers: "
                f"{', '.join(get_scorer_names())}"
            )
        for name, least in {"n_folds": 2, "max_rows": 10, "max_columns": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not self.time_limit > 0:
            raise ValueError(f"time_limit is {self.time_limit}; it must be positive")


DEFAULT_METRIC = {"classification": "accuracy", "regression": "r2"}


@dataclass(frozen=True)
class CollectionPlan:
    """A declared collection: which learners, with how many configurations, on which tasks.

    Attributes
    ----------
    settings : Settings
        The rules.
    learners : tuple of str
        Names in the catalogue.
    n_configs : int
        Configurations a learner: its default, then a quasi-random sequence.
    tasks : tuple of int
        OpenML task ids; empty where `suite` names them.
    suite : int, str or None
        OpenML benchmark suite to take the tasks from.
    """

    settings: Settings
    learners: tuple[str, ...]
    n_configs: int
    tasks: tuple[int, ...] = ()
    suite: int | str | None = None


def load_collection_file(path: str | Path) -> CollectionPlan:
    """Read a collection from a TOML file.

    The keys are those of :class:`Settings` and :class:`CollectionPlan`; ``task``, ``learners``,
    ``n_configs`` and one of ``tasks`` and ``suite`` are required, ``metric`` is accuracy or r2
    unless said.

    Raises
    ------
    ValueError
        Naming the file and the key that is missing, unknown or of the wrong type.
    """
    return read_declaration(Path(path), "collection file", declared_plan)


def declared_plan(declared: Mapping[str, Any]) -> CollectionPlan:
    """Check a collection declared by keys and values, as :func:`load_collection_file` reads them.

    Raises
    ------
    ValueError
        Naming the key that is missing, unknown or of the wrong type.
    """
    declared = typed(declared, _TYPES)
    for name in ("task", "learners", "n_configs"):
        if name not in declared:
            raise ValueError(f"the key {name!r} is missing")
    if ("tasks" in declared) == ("suite" in declared):
        raise ValueError("give either tasks (OpenML task ids) or suite, not both")
    rules = {f.name: declared[f.name] for f in dataclasses.fields(Settings) if f.name in declared}
    rules.setdefault("metric", DEFAULT_METRIC[declared["task"]])
    return CollectionPlan(
        settings=Settings(**rules),
        learners=declared["learners"],
        n_configs=declared["n_configs"],
        tasks=declared.get("tasks", ()),
        suite=declared.get("suite"),
    )


_TYPES = {
    **get_type_hints(Settings),
    "learners": tuple[str, ...],
    "n_configs": int,
    "tasks": tuple[int, ...],
    "suite": int | str,
}


def configurations(space: Space, n: int, seed: int) -> list[Config]:
    """Return the first `n` configurations of a learner: its default, then a Sobol sequence.

    A longer list begins with the shorter one, so a collection can be extended.
    """
    return [space.default, *space.sample(n - 1, seed=seed)]
