"""A declared few-shot task, read from TOML: source, net, learner, training, evaluation.

::

    seeds = 3                       # trainings, which differ in nothing but their seed

    [source]                        # kind, and what that kind of source can be set to
    kind = "sinusoid"

    [net]                           # kind ("mlp" or "conv4"), and its settings
    kind = "mlp"

    [learner]                       # a method by name, and what differs from it
    method = "maml++"
    price = 0.02                    # learned step count: maximum, price, …
    maximum = 6

    [training]                      # shots and queries of the episodes, and the outer loop
    shots = 10
    iterations = 10_000

    [evaluation]
    shots = [1, 5, 10]

    [shifted.faster]                # families to generalise to: what differs from [source]
    frequency = [1.2, 1.5]

    [second]                        # the family to train on next, to see what is forgotten
    phase = [3.1416, 6.2832]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from metahpo.declared import check_keys, fits, needed, read_declaration, typed
from metahpo.engine import InnerRule, OuterOptions, StepCount
from metahpo.fewshot.families import PiecewiseLinear, Polynomials, Sinusoids
from metahpo.fewshot.method import METHODS, Method
from metahpo.fewshot.nets import MLP, Conv4, TaskNet
from metahpo.fewshot.omniglot import Omniglot
from metahpo.fewshot.source import Source
from metahpo.fewshot.tabular import Tabular

SOURCES: Mapping[str, type[Source]] = {
    one.kind: one for one in (Sinusoids, PiecewiseLinear, Polynomials, Omniglot, Tabular)
}

_T = TypeVar("_T")
_TABLES = ("source", "net", "learner", "training", "evaluation", "shifted", "second")


@dataclass(frozen=True)
class NetPlan:
    """What a net is; how wide it begins and ends, the source says.

    Parameters
    ----------
    kind : {"mlp", "conv4"}
    hidden : tuple of int, default=(40, 40)
        Of an MLP.
    filters : int, default=64
        Of a Conv4.
    norm : {"batch", "layer", "group", "instance", "none"}, default="none"
    """

    kind: Literal["mlp", "conv4"] = "mlp"
    hidden: tuple[int, ...] = (40, 40)
    filters: int = 64
    norm: Literal["batch", "layer", "group", "instance", "none"] = "none"

    def build(self, source: Source, outputs: int | None = None) -> TaskNet:
        """Make the net for a source's inputs and targets.

        Raises
        ------
        ValueError
            If the kind does not fit the source's inputs.
        """
        outputs = outputs or source.classes or 1
        if self.kind == "mlp":
            if len(source.shape) != 1:
                raise ValueError(f"kind 'mlp' takes rows of numbers, not inputs {source.shape}")
            return MLP(source.shape[0], outputs, self.hidden, self.norm)
        if len(source.shape) != 3:
            raise ValueError(f"kind 'conv4' takes images, not inputs of shape {source.shape}")
        return Conv4(outputs, source.shape[0], self.filters, self.norm)


@dataclass(frozen=True)
class TrainingPlan:
    """The episodes of meta-training.

    Parameters
    ----------
    shots, queries : int
        Examples in the support and in the query set: of each class in classification.
    fewest_shots : int, optional
        Where it is given, every task has its own number of shots, drawn from here to `shots`.
    validation : int, default=200
        Meta-validation tasks, on which training is judged and the step count fixed.
    transductive : bool, default=False
        Whether batch norm normalises queries by each other in training.
    second_iterations : int, optional
        How long training goes on with the second family; as long as with the first by default.
    """

    shots: int = 10
    queries: int = 10
    fewest_shots: int | None = None
    validation: int = 200
    transductive: bool = False
    second_iterations: int | None = None

    def __post_init__(self) -> None:
        for name in ("shots", "queries", "validation"):
            _at_least(self, name, 1)
        if self.fewest_shots is not None and not 1 <= self.fewest_shots <= self.shots:
            raise ValueError(f"fewest_shots is {self.fewest_shots}; it lies between 1 and shots")


@dataclass(frozen=True)
class EvaluationPlan:
    """Meta-testing.

    Parameters
    ----------
    shots : tuple of int, default=(1, 5, 10)
    steps : int, default=10
        Inner steps, after each of which the queries are predicted.
    episodes : int, default=600
    queries : int, default=15
        Of each class in classification.
    baselines : tuple of {"joint", "scratch", "oracle"}, default=all
        What to compare with; see :mod:`metahpo.fewshot.baselines`. The oracle knows the form of
        the functions; a baseline that a source cannot have is left out.
    baseline_steps : int, default=50
        Steps that fine-tuning and training from scratch may take.
    """

    shots: tuple[int, ...] = (1, 5, 10)
    steps: int = 10
    episodes: int = 600
    queries: int = 15
    baselines: tuple[Literal["joint", "scratch", "oracle"], ...] = ("joint", "scratch", "oracle")
    baseline_steps: int = 50

    def __post_init__(self) -> None:
        for name in ("episodes", "queries", "steps", "baseline_steps"):
            _at_least(self, name, 1)
        if not self.shots or min(self.shots) < 1:
            raise ValueError(f"shots is {list(self.shots)}; give numbers of at least 1")


@dataclass(frozen=True)
class FewShotPlan:
    """A declared few-shot task.

    Attributes
    ----------
    source : Source
    net : NetPlan
    method_name : str
        One of :data:`~metahpo.fewshot.method.METHODS`.
    method : Method
        That method with what the file changes.
    training : TrainingPlan
    outer : OuterOptions
    evaluation : EvaluationPlan
    seeds : int
    shifted : mapping of str to Source
        Families that are only evaluated on.
    second : Source or None
        The family that training goes on with, to see what is forgotten.
    declared : dict
        The file, as read; without the folder of the data, which differs from machine to machine.
    """

    source: Source
    net: NetPlan = field(default_factory=NetPlan)
    method_name: str = "maml"
    method: Method = METHODS["maml"]
    training: TrainingPlan = field(default_factory=TrainingPlan)
    outer: OuterOptions = field(default_factory=OuterOptions)
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)
    seeds: int = 1
    shifted: Mapping[str, Source] = field(default_factory=dict)
    second: Source | None = None
    declared: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        _at_least(self, "seeds", 1)
        others = {f"[shifted.{name}]": one for name, one in self.shifted.items()}
        if self.second is not None:
            others["[second]"] = self.second
        for where, other in others.items():
            if (other.shape, other.classes) != (self.source.shape, self.source.classes):
                raise ValueError(f"{where} has other inputs or classes than [source]")

    def declared_without(self, *left_out: str) -> dict[str, Any]:
        """Return what was declared but for some keys and tables: what results depend on."""
        return {key: value for key, value in self.declared.items() if key not in left_out}

    @property
    def metric(self) -> str:
        """What is measured: "accuracy" or "MSE"."""
        return "MSE" if self.source.classes is None else "accuracy"


def load_task_file(path: str | Path, *, folder: str | None = None) -> FewShotPlan:
    """Read a few-shot task from a TOML file; see the module's example.

    Parameters
    ----------
    path : str or Path
    folder : str, optional
        Where the data lies, in place of the file's ``folder``.

    Raises
    ------
    ValueError
        Naming the file and the key that is missing, unknown or wrong.
    """

    def check(declared: dict[str, Any]) -> FewShotPlan:
        if folder is not None:
            declared = {**declared, "source": {**declared.get("source", {}), "folder": folder}}
        return declared_task(declared)

    return read_declaration(Path(path), "task file", check)


def declared_task(declared: Mapping[str, Any]) -> FewShotPlan:
    """Check a few-shot task declared by keys and values, as :func:`load_task_file` reads them.

    Raises
    ------
    ValueError
        Naming the table and the key that is missing, unknown or wrong.
    """
    check_keys(declared, ("seeds", *_TABLES))
    tables = {name: _table(declared, name) for name in _TABLES if name in declared}
    if "source" not in tables:
        raise ValueError("the table [source] is missing")
    seeds = declared.get("seeds", 1)
    if not fits(seeds, int):
        raise ValueError(f"seeds is {seeds!r}; {needed(int)} is needed")
    source = _source(tables["source"], "[source]")
    net = _read(NetPlan, tables.get("net", {}), "[net]")
    _named("[net]", lambda: net.build(source))
    training, outer = _divided(
        tables.get("training", {}), TrainingPlan, OuterOptions, "[training]"
    )
    name, method = _method(tables.get("learner", {}))
    shifted = tables.get("shifted", {})
    second = tables.get("second")
    return FewShotPlan(
        source=source,
        net=net,
        method_name=name,
        method=method,
        training=_read(TrainingPlan, training, "[training]"),
        outer=_read(OuterOptions, outer, "[training]"),
        evaluation=_read(EvaluationPlan, tables.get("evaluation", {}), "[evaluation]"),
        seeds=seeds,
        shifted={
            other: _source(
                _changed(tables["source"], _table(shifted, other)), f"[shifted.{other}]"
            )
            for other in shifted
        },
        second=None if second is None else _source(_changed(tables["source"], second), "[second]"),
        declared={**declared, "source": _without_folder(tables["source"])},
    )


# ---------------------------------------------------------------------- tables of the file


def _source(table: Mapping[str, Any], where: str) -> Source:
    kind = table.get("kind", "")
    if kind not in SOURCES:
        raise ValueError(f"{where} has kind {kind!r}; choose one of {', '.join(SOURCES)}")
    return _read(SOURCES[kind], {k: v for k, v in table.items() if k != "kind"}, where)


def _without_folder(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "folder"}


def _changed(source: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return another source: [source] with changes, or one of its own where the kind differs."""
    same = changes.get("kind", source["kind"]) == source["kind"]
    return {**source, **changes} if same else dict(changes)


def _method(table: Mapping[str, Any]) -> tuple[str, Method]:
    """Return a named method with the changes of [learner] to its rule and its steps."""
    where = "[learner]"
    name = table.get("method", "maml")
    if name not in METHODS:
        raise ValueError(f"{where} has method {name!r}; choose one of {', '.join(METHODS)}")
    rest = {key: value for key, value in table.items() if key not in ("method", "steps")}
    rule, count = _divided(rest, InnerRule, StepCount, where)
    base = METHODS[name]
    steps: int | StepCount = base.steps
    if "steps" in table:
        if count:
            raise ValueError(f"{where} has steps and {min(count)}; a fixed count has no settings")
        if not fits(table["steps"], int) or table["steps"] < 1:
            raise ValueError(f"{where} steps is {table['steps']!r}; a positive integer is needed")
        steps = table["steps"]
    elif count:
        steps = _read(StepCount, count, where)
    changed = _read(InnerRule, rule, where, base.rule)
    return name, dataclasses.replace(base, rule=changed, steps=steps)


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(tables[name], dict):
        raise ValueError(f"{name} is {tables[name]!r}; a table [{name}] is needed")
    return dict(tables[name])


def _divided(
    table: Mapping[str, Any], first: type, second: type, where: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide a table between two dataclasses, and refuse what is in neither."""
    mine, others = ([one.name for one in dataclasses.fields(kind)] for kind in (first, second))
    check_keys(table, [*mine, *others], where)
    return {k: table[k] for k in mine if k in table}, {k: table[k] for k in others if k in table}


# ---------------------------------------------------------------------- keys and values


def _read(kind: type[_T], table: Mapping[str, Any], where: str, base: _T | None = None) -> _T:
    """Make a dataclass of a table's keys; of `base` with these changes, where it is given."""
    values = typed(table, _hints(kind), where)
    fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, one in fields.items():
        if base is None and one.default is dataclasses.MISSING and name not in values:
            raise ValueError(f"{where} lacks the key {name!r}")
    if base is not None:
        return _named(where, lambda: dataclasses.replace(base, **values))  # type: ignore[type-var]
    return _named(where, lambda: kind(**values))


def _named(where: str, make: Callable[[], _T]) -> _T:
    """Let an error say in which table its cause stands."""
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in dataclasses.fields(kind)}


def _at_least(plan: object, name: str, least: int) -> None:
    if getattr(plan, name) < least:
        raise ValueError(f"{name} is {getattr(plan, name)}; it must be at least {least}")
