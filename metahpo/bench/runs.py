"""What a benchmark leaves behind, and how it is read: every trial, and how the run was made.

A results folder holds::

    runs.parquet   one row a trial, the columns of SCHEMA; rows of a unit stand together, by trial
    run.json       the plan, and a session for every time the command was run
    shards/        what runs.parquet is made of: one Parquet file of the same columns a unit

A *unit* is one method on one task, learner, fold and seed (the columns of UNIT). With a budget in
trials every unit has the same number of rows; with a budget in seconds they differ.

============================ =====================================================================
column                       meaning
============================ =====================================================================
task, task_id                name and number (text) of the dataset; of a history: of its task
learner                      what is tuned; of a history: the table's name
metric, direction            what the scores are; "maximize" or "minimize"
method                       the method's name in the plan
seed, fold                   the tuner's seed; the outer fold, by OpenML's number (of a history:
                             the fold of tasks that the model had not seen)
trial                        from 1; of a method that asks for shares of the rows: a trial's worth
                             of evaluations
config                       the configuration that was evaluated, as JSON
score                        what the tuner was told: the inner cross-validation's mean; NaN where
                             the trial failed
status, error                "ok", "failed" or "timeout": the trial; "partial": within this trial's
                             worth nothing was seen on all rows; "crashed": the method itself
                             raised at this trial or an earlier one, and the budget left is lost;
                             one line on what went wrong, else null
best                         the best score so far; NaN while there is none
test_score                   the incumbent, refitted on the whole training part, on the outer
                             fold's test part; NaN where there is no incumbent or no test part
optimum, worst               a history's best and worst score of the task; NaN elsewhere
suggest_seconds              what the method took: asking and telling; at trial 1 its construction
                             and the task's meta-features, where it uses them, too
evaluate_seconds             what the evaluation took when it was made; of a history: what the
                             table says, 0 where it says nothing
elapsed                      suggest_seconds + evaluate_seconds, summed up to this trial; of a
                             history evaluate_seconds alone, which another machine took
============================ =====================================================================

``run.json`` is an object: ``name``, ``plan`` (the declaration as it was read, defaults filled
in), ``seeds`` (list), and ``sessions``, oldest first, each with ``command``, ``metahpo`` (its
version), ``versions`` (of the libraries), ``machine`` (object: platform, cpu, cores, memory_gb),
``revision`` (git, null where there is none), ``modified`` (whether the checkout had changes),
``started`` and ``finished`` (ISO 8601, UTC; ``finished`` null where it was killed), ``jobs`` and
``units`` (how many it did).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

RUNS, RUN, SHARDS = "runs.parquet", "run.json", "shards"
PARTIAL = "partial"

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("task_id", pa.string()),
        ("learner", pa.string()),
        ("metric", pa.string()),
        ("direction", pa.string()),
        ("method", pa.string()),
        ("seed", pa.int32()),
        ("fold", pa.int32()),
        ("trial", pa.int32()),
        ("config", pa.string()),
        ("score", pa.float64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("best", pa.float64()),
        ("test_score", pa.float64()),
        ("optimum", pa.float64()),
        ("worst", pa.float64()),
        ("suggest_seconds", pa.float64()),
        ("evaluate_seconds", pa.float64()),
        ("elapsed", pa.float64()),
    ]
)

UNIT = ("task_id", "learner", "metric", "fold", "seed", "method")


class Watcher(Protocol):
    """Who looks on while a benchmark runs: a live table, a line now and then, nobody."""

    def begin(self, total: int, done: int) -> None:
        """Take note that units start, of which earlier sessions did some."""

    def unit(self, rows: pd.DataFrame) -> None:
        """Take note of a unit that is through: its trials, the columns of SCHEMA."""

    def end(self) -> None:
        """Take note that nothing more will come, however it ended."""


def read_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Read and join the trials of results folders.

    A unit that several folders hold is taken from the first.

    Parameters
    ----------
    folders : sequence of Path
        Each with a ``runs.parquet``.

    Returns
    -------
    DataFrame
        The columns of SCHEMA.

    Raises
    ------
    ValueError
        Naming a folder that holds no results, or damaged ones.
    """
    joined: list[pd.DataFrame] = []
    known: set[tuple[Any, ...]] = set()
    for folder in folders:
        runs = _read(folder)
        keys = pd.MultiIndex.from_frame(runs[list(UNIT)])
        joined.append(runs[~keys.isin(list(known))] if known else runs)
        known |= set(keys.unique())
    if not joined:
        raise ValueError("there is no results folder to read")
    return pd.concat(joined, ignore_index=True)


def _read(folder: Path) -> pd.DataFrame:
    path = folder / RUNS
    if not path.exists():
        raise ValueError(f"{folder} holds no results of a benchmark: it has no {RUNS}")
    try:
        runs: pd.DataFrame = pq.read_table(path, schema=SCHEMA).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    return runs


def read_record(folder: Path) -> dict[str, Any]:
    """Read how a run was made: the contents of ``run.json``.

    Raises
    ------
    ValueError
        If it is missing or damaged.
    """
    path = folder / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no results of a benchmark: it has no {RUN}") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return record
