"""MetaDataset: scored configurations of one space on many tasks, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metahpo.artifact import ArtifactFormat
from metahpo.catalogue import ROOT
from metahpo.parameter import Choice, Number, parameter
from metahpo.space import Config, Space, as_space

Direction = Literal["maximize", "minimize"]

TRIAL_COLUMNS = ("task_id", "score", "fit_seconds", "status", "error")
STATUSES = ("ok", "failed", "timeout")

_TRIALS, _TASKS, _INFO = "trials.parquet", "tasks.parquet", "info.parquet"
_FORMAT = ArtifactFormat(
    "metahpo.MetaDataset",
    1,
    "dataset.json",
    ("direction", "metric", "space", "defaults"),
    (_TRIALS,),
)


def check_direction(direction: str) -> Direction:
    """Return `direction`, or say that it is none."""
    if direction not in get_args(Direction):
        raise ValueError(f"direction is {direction!r}; choose 'maximize' or 'minimize'")
    return cast(Direction, direction)


@dataclass(frozen=True, eq=False)
class MetaDataset:
    """Past evaluations: trials of one space on many tasks.

    Made by :meth:`from_frames`, :meth:`load` or a collection; the frames are not to be changed.

    Attributes
    ----------
    trials : DataFrame
        One row a trial, ordered by task: ``task_id`` (str), one column a hyperparameter (missing
        where inactive), ``score`` (float; NaN for a failed trial), and where known
        ``fit_seconds``, ``status`` ("ok", "failed", "timeout") and ``error``. Tasks may have
        different configurations and different numbers of them.
    tasks : DataFrame or None
        Meta-features: one row a task, indexed by ``task_id``, float columns.
    info : DataFrame or None
        What else is known of the tasks (name, size, origin), indexed like `tasks`.
    space : Space
        The space of the configurations.
    direction : {"maximize", "minimize"}
        Which way scores are better.
    metric : str
        What the scores are.
    defaults : mapping of str to dict
        In a union of learners: each learner's default configuration.
    """

    trials: pd.DataFrame
    tasks: pd.DataFrame | None
    space: Space
    direction: Direction
    metric: str
    info: pd.DataFrame | None = None
    defaults: Mapping[str, Config] = field(default_factory=dict)

    # ------------------------------------------------------------------ building

    @classmethod
    def from_frames(
        cls,
        trials: pd.DataFrame,
        tasks: pd.DataFrame | None = None,
        *,
        space: Space | Mapping[str, BaseDistribution],
        direction: Direction = "maximize",
        metric: str = "score",
        info: pd.DataFrame | None = None,
        defaults: Mapping[str, Config] | None = None,
    ) -> MetaDataset:
        """Check and assemble a MetaDataset.

        Parameters
        ----------
        trials : DataFrame
            ``task_id``, one column a hyperparameter (NaN or None where inactive), ``score`` (NaN
            for a failed trial); optional ``fit_seconds``, ``status``, ``error``. A column of a
            parameter that is nowhere active may be absent. A trial may lack active parameters,
            too: if it is good it is suggested as it stands, without them.
        tasks : DataFrame, optional
            Indexed by task_id: one column a meta-feature. Every task of `trials` needs a row.
        space : Space or mapping of str to Optuna distribution
            The space of the configurations; a mapping is one without conditions.
        direction : {"maximize", "minimize"}, default="maximize"
            Which way scores are better.
        metric : str, default="score"
            What the scores are.
        info : DataFrame, optional
            Further facts on the tasks, indexed by task_id.
        defaults : mapping of str to dict, optional
            In a union of learners: each learner's default configuration.

        Raises
        ------
        ValueError
            Naming the column, the row and the value that do not fit.
        TypeError
            If `space` is no space, or `tasks` or `info` no table.
        """
        check_direction(direction)
        space = as_space(space)
        trials = _checked_trials(trials, space)
        known = pd.Index(trials["task_id"].unique())
        return cls(
            trials=trials,
            tasks=None if tasks is None else _checked_features(tasks, known),
            space=space,
            direction=direction,
            metric=metric,
            info=None if info is None else _aligned(info, known, "info"),
            defaults=dict(defaults or {}),
        )

    # ------------------------------------------------------------------ looking

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The tasks, in the order of the trials."""
        return tuple(self.trials["task_id"].unique())

    @property
    def n_evaluations(self) -> int:
        """How many trials there are, failed ones included."""
        return len(self.trials)

    def __len__(self) -> int:
        return len(self.task_ids)

    def __repr__(self) -> str:
        return (
            f"MetaDataset({self.n_evaluations} evaluations of {len(self.space)} parameters on "
            f"{len(self)} tasks, {self.direction} {self.metric})"
        )

    # ------------------------------------------------------------------ cutting

    def subset(self, task_ids: Iterable[str]) -> MetaDataset:
        """Return the part that belongs to some tasks.

        Raises
        ------
        ValueError
            If a task is unknown.
        """
        wanted = [str(task_id) for task_id in task_ids]
        unknown = sorted(set(wanted) - set(self.task_ids))
        if unknown:
            raise ValueError(f"there is no task {unknown[0]!r} in this MetaDataset")
        return self._with(self.trials[self.trials["task_id"].isin(wanted)])

    def for_learner(self, name: str) -> MetaDataset:
        """Return one learner's part of a union of learners, in that learner's own space.

        Raises
        ------
        ValueError
            If the space has no root parameter "learner", or that has no such choice.
        """
        space = self._branch_space(name)
        prefix = f"{name}__"
        trials = self.trials[self.trials[ROOT] == name].rename(
            columns={f"{prefix}{parameter}": parameter for parameter in space.names}
        )
        kept = [c for c in (*TRIAL_COLUMNS, *space.names) if c in trials]
        return self._with(trials[kept], space=space, defaults={})

    def _branch_space(self, name: str) -> Space:
        root = self.space.distributions.get(ROOT)
        if not isinstance(root, CategoricalDistribution):
            raise ValueError(f"the space has no root parameter {ROOT!r} to choose a learner by")
        if name not in root.choices:
            known = ", ".join(map(str, root.choices))
            raise ValueError(f"there is no learner {name!r} in this MetaDataset; it has {known}")
        prefix = f"{name}__"
        own = {n: d for n, d in self.space.distributions.items() if n.startswith(prefix)}
        conditions = {
            child.removeprefix(prefix): (parent.removeprefix(prefix), values)
            for child, (parent, values) in self.space.conditions.items()
            if child in own and parent != ROOT
        }
        distributions = {n.removeprefix(prefix): d for n, d in own.items()}
        return Space(distributions, conditions, self.defaults.get(name))

    def _with(self, trials: pd.DataFrame, **changes: Any) -> MetaDataset:
        trials = trials.reset_index(drop=True)
        known = pd.Index(trials["task_id"].unique())
        values: dict[str, Any] = {
            "trials": trials,
            "tasks": None if self.tasks is None else self.tasks.loc[known],
            "info": None if self.info is None else self.info.loc[known],
            "space": self.space,
            "direction": self.direction,
            "metric": self.metric,
            "defaults": self.defaults,
        }
        return MetaDataset(**{**values, **changes})

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path) -> None:
        """Write the dataset as a folder: Parquet tables and a JSON header with their checksums.

        The header is written last, so a folder without one was not finished.

        Raises
        ------
        OSError
            Naming the file that cannot be written.
        """
        folder = Path(path)
        frames = {_TRIALS: _compact(self.trials, self.space), _TASKS: self.tasks, _INFO: self.info}
        header = {
            "direction": self.direction,
            "metric": self.metric,
            "n_tasks": len(self),
            "n_evaluations": self.n_evaluations,
            "space": self.space.to_json(),
            "defaults": dict(self.defaults),
        }
        files = {name: _parquet(frame) for name, frame in frames.items() if frame is not None}
        _FORMAT.write(folder, header, files)
        for name in frames.keys() - files:
            (folder / name).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> MetaDataset:
        """Read a dataset written by :meth:`save`.

        Raises
        ------
        ValueError
            Naming the file that is missing, damaged, of a newer version or of something else.
        """
        folder = Path(path)
        header = _FORMAT.read(folder)
        try:
            space = Space.from_json(header["space"])
            frames = {name: pd.read_parquet(folder / name) for name in header["sha256"]}
            return cls.from_frames(
                _restored(frames[_TRIALS], space),
                frames.get(_TASKS),
                space=space,
                direction=header["direction"],
                metric=header["metric"],
                info=frames.get(_INFO),
                defaults=header["defaults"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder} holds no valid MetaDataset: {error}") from error


# ---------------------------------------------------------------------- checks


def _checked_trials(trials: pd.DataFrame, space: Space) -> pd.DataFrame:
    for name in ("task_id", "score"):
        if name not in trials:
            raise ValueError(f"trials have no column {name!r}")
    if trials.columns.has_duplicates:
        repeated = trials.columns[trials.columns.duplicated()][0]
        raise ValueError(f"trials have several columns {repeated!r}")
    unknown = [c for c in trials if c not in space.distributions and c not in TRIAL_COLUMNS]
    if unknown:
        raise ValueError(
            f"trials have a column {unknown[0]!r}, which is neither a parameter of the space "
            f"({', '.join(space.names)}) nor one of {', '.join(TRIAL_COLUMNS)}"
        )
    clash = [name for name in space.names if name in TRIAL_COLUMNS]
    if clash:
        raise ValueError(f"the space has a parameter {clash[0]!r}, a name that trials use")
    if trials["task_id"].isna().any():
        raise ValueError(f"row {_first(trials, trials['task_id'].isna())} has no task_id")
    checked: dict[str, pd.Series[Any]] = {"task_id": trials["task_id"].astype(str)}
    for name in space.names:
        checked[name] = _checked_parameter(name, trials, space)
    for name in ("score", "fit_seconds"):
        if name in trials:
            checked[name] = _numbers(name, trials)
    if "status" in trials:
        wrong = ~trials["status"].isin(STATUSES)
        if wrong.any():
            raise ValueError(
                f"status={_where('status', trials, wrong)}; known are {', '.join(STATUSES)}"
            )
        checked["status"] = trials["status"].astype("category")
    if "error" in trials:
        checked["error"] = trials["error"]
    order = np.argsort(pd.factorize(trials["task_id"])[0], kind="stable")
    return pd.DataFrame(checked).iloc[order].reset_index(drop=True)


def _checked_parameter(name: str, trials: pd.DataFrame, space: Space) -> pd.Series[Any]:
    """Check one parameter's column against its range and its condition, all rows at once.

    A missing value is an inactive parameter, also where no condition says why.
    """
    distribution = space.distributions[name]
    if name not in trials:
        dtype = object if isinstance(distribution, CategoricalDistribution) else float
        return pd.Series(np.nan, index=trials.index, dtype=dtype)
    column = trials[name]
    present = column.notna()
    idle = present & ~_active(name, trials, space)
    if idle.any():
        parent = space.conditions[name][0]
        raise ValueError(
            f"{name}={_where(name, trials, idle)}, where {parent} makes it inactive; "
            "leave it missing there"
        )
    if isinstance(distribution, CategoricalDistribution):
        wrong = present & ~_is_choice(column, distribution)
        allowed = f"choose among {', '.join(map(repr, distribution.choices))}"
    else:
        column = _numbers(name, trials)
        wrong = present & ~_in_range(column, distribution)
        column = column.clip(distribution.low, distribution.high)
        on_steps = Number(name, distribution).on_steps(np.asarray(column, dtype=np.float64))
        wrong |= pd.Series(~on_steps, index=column.index)
        allowed = f"the range is {distribution.low} to {distribution.high}"
        if isinstance(distribution, IntDistribution):
            allowed = f"whole numbers from {distribution.low} to {distribution.high} are allowed"
        if distribution.step not in (None, 1):
            allowed += f", in steps of {distribution.step}"
    if wrong.any():
        raise ValueError(f"{name}={_where(name, trials, wrong)}; {allowed}")
    return column


def _in_range(
    column: pd.Series[float], distribution: FloatDistribution | IntDistribution
) -> pd.Series[bool]:
    """Tell which values lie in the range, up to the rounding of ``exp(log(bound))``."""
    low, high = distribution.low, distribution.high
    at_bound = np.isclose(column, low, rtol=1e-9, atol=0) | np.isclose(
        column, high, rtol=1e-9, atol=0
    )
    return column.between(low, high) | at_bound


def _is_choice(column: pd.Series[Any], distribution: CategoricalDistribution) -> pd.Series[bool]:
    # bool is told from int: True is not the choice 1
    keys = {(isinstance(choice, bool), choice) for choice in distribution.choices}
    codes, uniques = pd.factorize(column.astype(object))  # missing values have the code -1
    known = [(isinstance(value, bool | np.bool_), value) in keys for value in uniques]
    return pd.Series(np.array([*known, False])[codes], index=column.index)


def _active(name: str, trials: pd.DataFrame, space: Space) -> pd.Series[bool]:
    if name not in space.conditions:
        return pd.Series(True, index=trials.index)
    parent, values = space.conditions[name]
    if parent not in trials:
        return pd.Series(False, index=trials.index)
    met = trials[parent].isin(values)
    if None in values:  # an empty cell is that choice wherever the parent is active
        met |= trials[parent].isna()
    return met & _active(parent, trials, space)


def _numbers(name: str, trials: pd.DataFrame) -> pd.Series[float]:
    numbers = pd.to_numeric(trials[name], errors="coerce").astype(float)
    wrong = numbers.isna() & trials[name].notna() | np.isinf(numbers)
    if wrong.any():
        raise ValueError(f"{name}={_where(name, trials, wrong)}; a finite number is needed")
    return numbers


def _checked_features(tasks: pd.DataFrame, known: pd.Index[Any]) -> pd.DataFrame:
    tasks = _aligned(tasks, known, "tasks")
    for name in tasks:
        if not pd.api.types.is_numeric_dtype(tasks[name].dtype):
            _refuse_names(tasks)
            raise ValueError(f"the meta-feature {name!r} of tasks is not numeric")
    return tasks.astype(float)


def _refuse_names(tasks: pd.DataFrame) -> None:
    """Refuse meta-features whose values got lost: of a mapping pandas can take the names alone."""
    from metahpo.metafeatures import FEATURE_NAMES

    if tasks.isin(FEATURE_NAMES).all(axis=None):
        raise ValueError(
            "tasks holds the names of meta-features, not their values; make it as "
            f"pd.DataFrame([metahpo.describe(X, y), ...], index=[{tasks.index[0]!r}, ...])"
        )


def _aligned(frame: pd.DataFrame, known: pd.Index[Any], what: str) -> pd.DataFrame:
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"{what} is of type {type(frame).__name__}; give a DataFrame indexed by task_id"
        )
    frame = frame.set_axis(frame.index.map(str).rename("task_id"), axis=0)
    if frame.index.has_duplicates:
        repeated = frame.index[frame.index.duplicated()][0]
        raise ValueError(f"{what} has several rows for task {repeated!r}")
    missing = known.difference(frame.index)
    if len(missing):
        raise ValueError(f"{what} has no row for task {missing[0]!r}, which has trials")
    return frame.loc[known].rename_axis("task_id")


def _first(trials: pd.DataFrame, rows: pd.Series[bool]) -> Any:
    return trials.index[rows.to_numpy(dtype=bool)][0]


def _where(name: str, trials: pd.DataFrame, rows: pd.Series[bool]) -> str:
    """Say the value in the first of some rows, and which row that is."""
    value = trials[name][rows.to_numpy(dtype=bool)].iloc[0]
    value = value.item() if isinstance(value, np.generic) else value
    return f"{value!r} in row {_first(trials, rows)}"


# ---------------------------------------------------------------------- files


def _compact(trials: pd.DataFrame, space: Space) -> pd.DataFrame:
    """Encode repeated strings as dictionaries, seconds in single precision, and mixed choices."""
    compact = trials.copy()
    compact["task_id"] = compact["task_id"].astype("category")
    if "error" in compact:
        compact["error"] = compact["error"].astype("category")
    if "fit_seconds" in compact:
        compact["fit_seconds"] = compact["fit_seconds"].astype("float32")
    for choice in _mixed(space):
        compact[choice.name] = choice.levels(compact[choice.name])
    return compact


def _restored(trials: pd.DataFrame, space: Space) -> pd.DataFrame:
    """Undo :func:`_compact` where :meth:`MetaDataset.from_frames` would not know to."""
    return trials.assign(
        **{
            choice.name: choice.cells(trials[choice.name].to_numpy(dtype=float))
            for choice in _mixed(space)
        }
    )


def _mixed(space: Space) -> list[Choice]:
    """Return the parameters with choices of several types, of which Parquet holds the number."""
    return [
        choice
        for choice in (parameter(name, d) for name, d in space.distributions.items())
        if isinstance(choice, Choice)
        and len({type(value) for value in choice.distribution.choices if value is not None}) > 1
    ]


def _parquet(frame: pd.DataFrame) -> Callable[[Path], None]:
    return lambda file: frame.to_parquet(file, compression="zstd", compression_level=12)
