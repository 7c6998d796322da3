"""A benchmark is a file: what is tuned on which tasks, by whom, for how long, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from metahpo.bench.methods import Method, find_method
from metahpo.collect import Settings
from metahpo.declared import read_declaration, typed
from metahpo.metamodel import DEFAULT

Source = Literal["suite", "tasks", "datasets", "histories"]
SOURCES: tuple[Source, ...] = ("suite", "tasks", "datasets", "histories")

N_TRIALS, N_SEEDS = 30, 3
METHODS = ("metahpo", "tpe_default", "gp_default", "portfolio", "nearest", "random")


@dataclass(frozen=True)
class Entrant:
    """A method with its settings, under a name of its own.

    Attributes
    ----------
    name : str
        What the results call it.
    method : str
        See :func:`metahpo.bench.methods.find_method`.
    settings : mapping
        Keywords of the method.
    """

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> Method:
        """The method itself."""
        return find_method(self.method)

    def to_json(self) -> dict[str, Any]:
        """Return what a plan's file would say."""
        return {"name": self.name, "method": self.method, **self.settings}


@dataclass(frozen=True)
class Budget:
    """How long a method may go on: so many trials, or so many seconds of asking and evaluating."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """A declared benchmark.

    Attributes
    ----------
    name : str
        Of the results' folder.
    source : {"suite", "tasks", "datasets", "histories"}
        Where the tasks come from.
    where : int, str or tuple
        The suite's id or alias; OpenML task ids; names of scikit-learn's own datasets; the folder
        of histories.
    entrants : tuple of Entrant
    learners : tuple of str
        Names in the catalogue, or families where tasks of both kinds are met; or a user's own,
        as package.module:Name. None for histories.
    tables : tuple of str
        Of the histories' folder; all of them if empty.
    defaults : mapping of str to mapping
        A history's default configuration by its name, as far as the history does not say it.
    metric : str or None
        A scorer's name, of a history the column of scores. None: accuracy, for regression R²; of
        a history its first column of scores.
    budget : Budget
    seeds : tuple of int
    folds : tuple of int
        The outer folds of each task, by OpenML's number; for histories, the folds of tasks.
    held_out : int or None
        For histories: how many tasks of a table are tuned on; None for all.
    nested : bool
        Whether there is an outer fold at all; else the whole table is tuned on.
    n_folds : int
        Of the inner cross-validation; for histories, into how many parts the tasks are split.
    max_rows, max_columns, time_limit
        See :class:`metahpo.collect.Settings`.
    model, evaluations : str
        The meta-model ("default", or a folder with one a learner), and the MetaDataset it was
        trained on.
    refit : bool
        Whether a model that knows a task is replaced by one refitted without it, and without what
        is related to it.
    baseline : str or None
        The entrant that the report compares the others with.
    """

    name: str
    source: Source
    where: int | str | tuple[int, ...] | tuple[str, ...]
    entrants: tuple[Entrant, ...]
    learners: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metric: str | None = None
    budget: Budget = Budget(trials=N_TRIALS)
    seeds: tuple[int, ...] = tuple(range(N_SEEDS))
    folds: tuple[int, ...] = (0,)
    held_out: int | None = None
    nested: bool = True
    n_folds: int = Settings.n_folds
    max_rows: int = Settings.max_rows
    max_columns: int = Settings.max_columns
    time_limit: float = Settings.time_limit
    model: str = DEFAULT
    evaluations: str = DEFAULT
    refit: bool = False
    baseline: str | None = None

    def settings(self, task: Literal["classification", "regression"], metric: str) -> Settings:
        """Return the rules under which configurations are scored."""
        return Settings(
            task,
            metric,
            n_folds=self.n_folds,
            max_rows=self.max_rows,
            max_columns=self.max_columns,
            time_limit=self.time_limit,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the declaration with every default filled in, as ``run.json`` keeps it."""
        own: dict[str, Any] = {
            "folds": list(self.folds),
            "metric": self.metric,
            "n_folds": self.n_folds,
            "trials": self.budget.trials,
            "seconds": self.budget.seconds,
            "model": self.model,
            "evaluations": self.evaluations,
            "refit": self.refit,
        }
        if self.source == "histories":
            own |= {"tables": list(self.tables), "held_out": self.held_out}
            own["defaults"] = {name: dict(value) for name, value in self.defaults.items()}
        else:
            own |= {
                "learners": list(self.learners),
                "nested": self.nested,
                "max_rows": self.max_rows,
                "max_columns": self.max_columns,
                "time_limit": self.time_limit,
            }
        where = list(self.where) if isinstance(self.where, tuple) else self.where
        return {
            "name": self.name,
            self.source: where,
            **own,
            "seeds": list(self.seeds),
            "methods": [entrant.to_json() for entrant in self.entrants],
            "baseline": self.baseline,
        }


# ---------------------------------------------------------------------- from a file


def load_plan(path: str | Path, changes: Mapping[str, Any] | None = None) -> Plan:
    """Read a benchmark from a TOML file.

    Parameters
    ----------
    path : path
        Folders in it are relative to its own.
    changes : mapping, optional
        Keys that replace the file's.

    Raises
    ------
    ValueError
        Naming the file and the key that is missing, unknown or of the wrong type.
    """
    path = Path(path)

    def check(declared: dict[str, Any]) -> Plan:
        named = {"name": path.stem, **declared, **(changes or {})}
        return declared_plan(named, folder=path.parent)

    return read_declaration(path, "benchmark file", check)


def declared_plan(declared: Mapping[str, Any], folder: Path = Path()) -> Plan:
    """Check a benchmark declared by keys and values, as :func:`load_plan` reads them.

    Raises
    ------
    ValueError
        Naming the key that is missing, unknown or of the wrong type.
    """
    if {"source", "earlier"} & declared.keys():
        raise ValueError("this declares few-shot learning; see `metahpo fewshot --help`")
    declared = _checked(declared)
    source = _source(declared)
    _refuse_foreign(declared, source)
    where = declared[source]
    entrants = _entrants(declared.get("methods", METHODS))
    _refuse_unfit(entrants, source, declared.get("learners", ()))
    plain = {
        name: declared[name]
        for name in ("metric", "held_out", "nested", "max_rows", "max_columns", "time_limit")
        if name in declared
    }
    baseline = declared.get("baseline")
    if baseline is not None and baseline not in [entrant.name for entrant in entrants]:
        raise ValueError(f"baseline is {baseline!r}, which is not among the methods")
    metric = declared.get("metric")
    if metric is not None and source != "histories":
        Settings("classification", metric)
    model = _path(declared.get("model", DEFAULT), folder)
    if model != DEFAULT and "evaluations" not in declared:
        raise ValueError(
            "the key 'evaluations' is missing: the MetaDataset that the model was trained on, "
            "for the leak guard and the methods that look at earlier tasks"
        )
    return Plan(
        name=declared["name"],
        source=source,
        where=_path(where, folder) if source == "histories" else where,
        entrants=entrants,
        learners=declared.get("learners", ()),
        tables=declared.get("tables", ()),
        defaults=_defaults(declared.get("defaults", {})),
        budget=_budget(declared),
        seeds=_seeds(declared.get("seeds", N_SEEDS)),
        folds=tuple(declared.get("folds", range(5) if source == "histories" else (0,))),
        n_folds=declared.get("n_folds", 5 if source == "histories" else Settings.n_folds),
        model=model,
        evaluations=_path(declared.get("evaluations", DEFAULT), folder),
        refit=declared.get("refit", False),
        baseline=baseline,
        **plain,
    )


_TYPES: dict[str, Any] = {
    "name": str,
    "suite": int | str,
    "tasks": tuple[int, ...],
    "datasets": tuple[str, ...],
    "histories": str,
    "tables": tuple[str, ...],
    "learners": tuple[str, ...],
    "metric": str,
    "trials": int,
    "seconds": float,
    "seeds": int | tuple[int, ...],
    "folds": tuple[int, ...],
    "held_out": int,
    "defaults": dict,
    "nested": bool,
    "n_folds": int,
    "max_rows": int,
    "max_columns": int,
    "time_limit": float,
    "model": str,
    "evaluations": str,
    "refit": bool,
    "baseline": str,
    "methods": tuple[str | dict, ...],  # type: ignore[type-arg]
}
_LEAST = {"trials": 1, "held_out": 1, "n_folds": 2, "max_rows": 10, "max_columns": 1}
_NOT_FOR_HISTORIES = ("learners", "nested", "max_rows", "max_columns", "time_limit")
_ONLY_FOR_HISTORIES = ("tables", "held_out", "defaults")


def _checked(declared: Mapping[str, Any]) -> dict[str, Any]:
    values = typed(declared, _TYPES)
    for name, value in values.items():
        if value in ((), ""):
            raise ValueError(f"{name} is empty")
        if name in _LEAST and value < _LEAST[name]:
            raise ValueError(f"{name} is {value}; it must be at least {_LEAST[name]}")
        if name in ("seconds", "time_limit") and not value > 0:
            raise ValueError(f"{name} is {value}; it must be positive")
    return values


def _source(declared: Mapping[str, Any]) -> Source:
    given = [name for name in SOURCES if name in declared]
    if len(given) != 1:
        raise ValueError(
            f"give one of {', '.join(SOURCES)}; there is {' and '.join(given) or 'none'}"
        )
    return given[0]


def _refuse_foreign(declared: Mapping[str, Any], source: Source) -> None:
    foreign = _NOT_FOR_HISTORIES if source == "histories" else _ONLY_FOR_HISTORIES
    for name in foreign:
        if name in declared:
            raise ValueError(f"the key {name!r} means nothing together with {source!r}")
    if source != "histories" and "learners" not in declared:
        raise ValueError("the key 'learners' is missing")


def _refuse_unfit(entrants: Sequence[Entrant], source: Source, learners: Sequence[str]) -> None:
    for entrant in entrants:
        cannot = f"methods holds {entrant.method!r}, which cannot"
        if source == "histories" and not entrant.found.on_candidates:
            raise ValueError(f"{cannot} run on histories")
        for name in learners:
            if not entrant.found.can_tune(name):
                raise ValueError(
                    f"{cannot} tune {name!r}, only {', '.join(entrant.found.families)}"
                )


def _budget(declared: Mapping[str, Any]) -> Budget:
    if "trials" in declared and "seconds" in declared:
        raise ValueError("give either trials or seconds, not both")
    if "seconds" in declared:
        return Budget(seconds=float(declared["seconds"]))
    return Budget(trials=declared.get("trials", N_TRIALS))


def _seeds(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(seeds, int):
        seeds = tuple(range(seeds))
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise ValueError("seeds must be how many, or a list of different numbers from 0")
    return seeds


def _entrants(declared: Sequence[Any]) -> tuple[Entrant, ...]:
    entrants = []
    for item in declared:
        given: dict[str, Any] = {"method": item}
        if isinstance(item, Mapping):
            given = dict(item)
        if not isinstance(given.get("method"), str):
            raise ValueError(
                f"methods holds {item!r}; give a name, or a table with the key method"
            )
        method = given.pop("method")
        entrants.append(Entrant(str(given.pop("name", method)), method, given))
        find_method(method)
    names = [entrant.name for entrant in entrants]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"methods holds {name!r} twice; give one of them another name")
    return tuple(entrants)


def _defaults(declared: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    for name, value in declared.items():
        if not isinstance(value, Mapping):
            raise ValueError(f"defaults holds {name} = {value!r}; give it a table of parameters")
    return dict(declared)


def _path(text: str, folder: Path) -> str:
    return text if text == DEFAULT else str(folder / text)
