"""Histories: tables of configurations that others scored on many tasks, played by looking up.

A folder of histories holds for each table ``<name>.parquet`` (``task_id``, ``config_id``, a column
``hp_<parameter>`` each, missing where inactive, columns of scores, optional ``timetrain`` in
seconds), and where known ``<name>_metafeatures.parquet`` (``task_id``, numeric columns) and
``<name>.json`` (ranges, conditions, the package's default). A method may try only what the table
has for the task; the tasks are split into folds, and the methods that learn from other tasks see
those of the other folds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metahpo.bench.contest import Bounds, Contest, Trial
from metahpo.bench.methods.earlier import keys
from metahpo.bench.plan import Plan
from metahpo.bench.problem import Knowledge, Problem
from metahpo.metadataset import Direction, MetaDataset
from metahpo.metamodel import MetaModel
from metahpo.space import Config, Space
from metahpo.surrogate.scores import rounding

Array = NDArray[np.float64]

_PREFIX = "hp_"
_NO_SCORES = ("task_id", "config_id", "timetrain", "family")
_NEGATED = "neg_"  # as scikit-learn names scores that were losses
_MINIMIZED = ("logloss", "brier", "error", "loss", "rmse", "mse", "mae")
_LOG_FROM = 50.0  # a positive parameter that spans more than this factor is searched in log scale
_OTHER_CHOICE = 100.0  # how far apart another choice is, where a number's range is 1


@dataclass(frozen=True)
class HistoryTable:
    """One table of a folder of histories.

    Attributes
    ----------
    folder : str
    name : str
    metric : str
        The column of scores.
    default : str
        As JSON: the default configuration as far as the table's own file does not say it.

    Raises
    ------
    ValueError
        If the table is not there, or lacks a column.
    """

    folder: str
    name: str
    metric: str
    default: str = "{}"

    def __reduce__(self) -> tuple[type[HistoryTable], tuple[str, ...]]:
        """Travel without the rows: each process reads them once."""
        return HistoryTable, (self.folder, self.name, self.metric, self.default)

    @property
    def direction(self) -> Direction:
        """Which way the scores are better, by their name."""
        if self.metric.startswith(_NEGATED):
            return "maximize"
        return "minimize" if any(word in self.metric for word in _MINIMIZED) else "maximize"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The table: task_id (text), parameters by their own names, score, seconds."""
        raw = _read(Path(self.folder) / f"{self.name}.parquet")
        for name in ("task_id", self.metric):
            if name not in raw:
                raise ValueError(f"the history {self.name!r} has no column {name!r}")
        parameters = {c: c.removeprefix(_PREFIX) for c in _columns(raw) if c.startswith(_PREFIX)}
        if not parameters:
            raise ValueError(f"the history {self.name!r} has no parameter, a column hp_<name>")
        order = [c for c in ("task_id", "config_id") if c in raw]
        raw = raw.sort_values(order, kind="stable", ignore_index=True)
        table = raw[list(parameters)].rename(columns=parameters)
        for name in _columns(table):
            if not pd.api.types.is_numeric_dtype(table[name]) or table[name].dtype == bool:
                column = table[name].astype(object)
                table[name] = column.where(column.isna(), column.astype(str))
        table.insert(0, "task_id", raw["task_id"].astype(str))
        table["score"] = raw[self.metric].astype(float)
        table["fit_seconds"] = raw.get("timetrain", 0.0)
        differ = table.groupby("task_id")["score"].agg(_differ)
        return table[table["task_id"].map(differ)].reset_index(drop=True)

    @cached_property
    def features(self) -> pd.DataFrame | None:
        """Meta-features by task; None where the folder has none."""
        path = Path(self.folder) / f"{self.name}_metafeatures.parquet"
        if not path.exists():
            return None
        raw = _read(path)
        numbers = raw.drop(columns=["task_id"]).apply(pd.to_numeric, errors="coerce")
        numbers = numbers.set_axis(raw["task_id"].astype(str), axis=0).astype(float)
        known: pd.DataFrame = numbers.dropna(axis=1, how="all")
        return known

    @cached_property
    def families(self) -> dict[str, str]:
        """What each task is a variant of, where a column ``family`` says so; else itself."""
        tasks = list(dict.fromkeys(self.frame["task_id"]))
        path = Path(self.folder) / f"{self.name}_metafeatures.parquet"
        raw = _read(path) if path.exists() else pd.DataFrame()
        if "family" not in raw:
            return {task: task for task in tasks}
        named = dict(zip(raw["task_id"].astype(str), raw["family"].astype(str), strict=True))
        return {task: named.get(task, task) for task in tasks}

    def folds(self, n_folds: int) -> dict[str, int]:
        """Deal the families of tasks into folds: the same ones whenever it is asked."""
        families = self.families
        names = sorted(set(families.values()))
        order = np.random.default_rng(0).permutation(len(names))
        fold = {names[i]: place % n_folds for place, i in enumerate(order)}
        return {task: fold[family] for task, family in families.items()}

    @cached_property
    def space(self) -> Space:
        """The space that the configurations are from: as declared, else as they show it."""
        path = Path(self.folder) / f"{self.name}.json"
        declared = json.loads(path.read_text()) if path.exists() else {}
        table = self.frame.drop(columns=["task_id", "score", "fit_seconds"])
        distributions = {
            name: _distribution(
                table[name], declared.get("hps", {}).get(f"{_PREFIX}{name}", {}).get("log")
            )
            for name in _columns(table)
        }
        conditions = dict(_conditions(table))
        space = Space(distributions, conditions)
        default = declared.get("default_package") or declared.get("default_space") or {}
        default = default | json.loads(self.default)
        if not default:
            return space
        for name in json.loads(self.default):
            if name not in space.distributions:
                raise ValueError(f"defaults of {self.name!r} name {name!r}, which it has not")
        named = {name.replace(".", "_"): value for name, value in default.items()}
        return Space(distributions, conditions, space.nearest(pd.DataFrame([named]))[0])

    def dataset(self, without: int, n_folds: int) -> MetaDataset:
        """Return the tasks of all folds but one."""
        folds = self.folds(n_folds)
        part = self.frame[self.frame["task_id"].map(folds) != without]
        return MetaDataset.from_frames(
            part,
            self.features,
            space=self.space,
            direction=self.direction,
            metric=self.metric,
        )

    def pool(self, task_id: str) -> pd.DataFrame:
        """Return what was tried on a task."""
        return self.frame[self.frame["task_id"] == task_id].reset_index(drop=True)


def _columns(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns]


def _differ(scores: pd.Series[float]) -> bool:
    """Tell whether there is something to find; failures, which are missing, do not count."""
    finite = np.asarray(scores.dropna(), dtype=np.float64)
    return len(finite) > 0 and bool(np.ptp(finite) > rounding(finite))


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise ValueError(f"there is no history {path}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no history: {' '.join(str(error).split())}") from error


def _distribution(column: pd.Series[Any], log: bool | None) -> BaseDistribution:
    """Return the range or the choices that a column shows."""
    known = column.dropna()
    if not pd.api.types.is_numeric_dtype(column):
        return CategoricalDistribution(sorted(known.unique()))
    low, high = known.min(), known.max()
    if log is None:
        log = bool(low > 0 and high / low > _LOG_FROM)
    if (known == known.round()).all():
        return IntDistribution(int(low), int(high), log=bool(log and low >= 1))
    return FloatDistribution(float(low), float(high), log=log)


def _conditions(table: pd.DataFrame) -> Iterator[tuple[str, tuple[str, list[Any]]]]:
    """Infer of each parameter with gaps which choice of which other one leaves it out."""
    complete = [
        name
        for name in _columns(table)
        if table[name].notna().all() and not pd.api.types.is_numeric_dtype(table[name])
    ]
    for child in _columns(table):
        present = table[child].notna()
        if present.all():
            continue
        for parent in complete:
            share = present.groupby(table[parent]).mean()
            if share.isin([0.0, 1.0]).all():
                yield child, (parent, sorted(share.index[share == 1.0]))
                break


# ---------------------------------------------------------------------- playing


@lru_cache(maxsize=2)
def _loaded(table: HistoryTable) -> HistoryTable:
    """Return the one copy of a table that this process has read."""
    return table


@lru_cache(maxsize=2)
def _dataset(table: HistoryTable, fold: int, n_folds: int) -> MetaDataset:
    return _loaded(table).dataset(fold, n_folds)


@lru_cache(maxsize=2)
def _load_model(folder: str) -> MetaModel:
    return MetaModel.load(folder)


class _Pool:
    """What was tried on one task, and where it stands."""

    def __init__(self, table: HistoryTable, task_id: str) -> None:
        rows = table.pool(task_id)
        self.space = table.space
        self.configs = self.space.from_frame(rows[list(self.space.names)])
        self.candidates = rows[list(self.space.names)]
        self.scores = rows["score"].to_numpy(dtype=float)
        self.seconds = rows["fit_seconds"].to_numpy(dtype=float)
        scale = [1.0 if column.choice is None else _OTHER_CHOICE for column in self.space.columns]
        self._scale = np.array(scale)
        self._codes = self._encode(self.configs)
        self._rows: dict[bytes, list[int]] = {}
        for row, key in enumerate(keys(self._codes)):
            self._rows.setdefault(key, []).append(row)

    def _encode(self, configs: list[Config]) -> Array:
        code: Array = self.space.encode(configs) * self._scale
        return code

    def row(self, config: Config) -> int:
        """Return the first row that holds a configuration."""
        return self._rows[keys(self._encode([config]))[0]][0]

    def nearest(self, config: Config, tried: list[Config]) -> Config | None:
        """Return the free configuration nearest to one: other choices first, then numbers."""
        free = np.ones(len(self.configs), dtype=bool)
        for key in keys(self._encode(tried)) if tried else ():
            free[self._rows[key]] = False
        if not free.any():
            return None
        distance = ((self._codes - self._encode([config])) ** 2).sum(1)
        return self.configs[int(np.where(free, distance, np.inf).argmin())]


@lru_cache(maxsize=8)
def _pool(table: HistoryTable, task_id: str) -> _Pool:
    return _Pool(_loaded(table), task_id)


@dataclass(frozen=True)
class HistoryContest(Contest):
    """A task of a history: what may be tried is what the table has for it.

    Attributes
    ----------
    table : HistoryTable
    n_folds : int
        Into how many the tasks are dealt.
    model : str
        Folder of the model that was trained on the other folds.
    """

    table: HistoryTable
    n_folds: int
    model: str

    def problem(self, seed: int, n_trials: int | None) -> Problem:
        """Pose the problem."""
        pool = _pool(self.table, self.task_id)
        return Problem(
            space=pool.space,
            direction=self.direction,
            metric=self.metric,
            seed=seed,
            n_trials=n_trials,
            candidates=pool.candidates,
            knowledge=Knowledge(
                model=lambda: _load_model(self.model),
                evaluations=lambda: _dataset(self.table, self.fold, self.n_folds),
                describe=self._describe,
            ),
        )

    def _describe(self) -> Mapping[str, float]:
        features = _loaded(self.table).features
        if features is None or self.task_id not in features.index:
            return {}
        row = features.loc[[self.task_id]].to_numpy(dtype=float)[0]
        return dict(zip(_columns(features), row.tolist(), strict=True))

    def evaluate(self, config: Config) -> Trial:
        """Look a configuration up."""
        pool = _pool(self.table, self.task_id)
        row = pool.row(config)
        score, seconds = float(pool.scores[row]), float(np.nan_to_num(pool.seconds[row]))
        if math.isnan(score):
            return Trial(score, seconds, "failed", "it failed when it was measured")
        return Trial(score, seconds)

    def admit(self, config: Config, tried: list[Config]) -> Config | None:
        """Return the nearest configuration of the table that has not been tried."""
        return _pool(self.table, self.task_id).nearest(config, tried)

    def warm_up(self) -> None:
        """Read the table."""
        _pool(self.table, self.task_id)

    @property
    def own_model(self) -> str | None:
        """Folder of the model that was trained on the other folds."""
        return self.model

    @property
    def recorded(self) -> bool:
        """The evaluations were made when the history was."""
        return True

    @property
    def bounds(self) -> Bounds:
        """The best and the worst that the table has."""
        scores = _pool(self.table, self.task_id).scores
        low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
        return Bounds(high, low) if self.direction == "maximize" else Bounds(low, high)


def history_contests(plan: Plan, models: Path) -> list[HistoryContest]:
    """Return the contests of a plan's histories.

    Parameters
    ----------
    plan : Plan
    models : Path
        Where the models of each table and fold are, or will be.

    Raises
    ------
    ValueError
        If the folder or a table in it is not there, or is no history.
    """
    folder = Path(str(plan.where))
    names = plan.tables or tuple(
        path.stem for path in sorted(folder.glob("*.parquet")) if "_meta" not in path.stem
    )
    if not names:
        raise ValueError(f"there are no histories in {folder}")
    contests = []
    for name in names:
        metric = plan.metric or _first_score(folder, name)
        default = json.dumps(plan.defaults.get(name, {}), sort_keys=True)
        table = _loaded(HistoryTable(str(folder), name, metric, default))
        if plan.budget.seconds is not None and not (table.frame["fit_seconds"] > 0).all():
            raise ValueError(
                f"the history {name!r} does not say what every evaluation took (timetrain), so "
                "give a budget in trials instead of seconds"
            )
        folds = table.folds(plan.n_folds)
        chosen = [task for task in _dealt(table, plan) if folds[task] in plan.folds]
        contests += [
            HistoryContest(
                task=task,
                task_id=task,
                learner=name,
                metric=table.metric,
                direction=table.direction,
                fold=folds[task],
                table=table,
                n_folds=plan.n_folds,
                model=str(models / f"{name}~{table.metric}~{folds[task]}of{plan.n_folds}"),
            )
            for task in chosen[: plan.held_out]
        ]
    return contests


def _dealt(table: HistoryTable, plan: Plan) -> list[str]:
    """List the tasks in the order in which they were dealt, so that a few are from all folds."""
    tasks = list(table.folds(plan.n_folds))
    order = np.random.default_rng(1).permutation(len(tasks))
    return [tasks[i] for i in order]


def _first_score(folder: Path, name: str) -> str:
    table = _read(folder / f"{name}.parquet")
    scores = [c for c in _columns(table) if not c.startswith(_PREFIX) and c not in _NO_SCORES]
    if not scores:
        raise ValueError(f"the history {name!r} has no column of scores")
    return scores[0]
