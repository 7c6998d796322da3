"""Finished evaluations on disk: small Parquet files, written whole, never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metahpo.collect.worker import Outcome
from metahpo.files import replace_file
from metahpo.space import Config

_SCHEMA = pa.schema(
    [
        ("task_id", pa.string()),
        ("learner", pa.string()),
        ("config", pa.int32()),
        ("params", pa.string()),
        ("score", pa.float64()),
        ("fit_seconds", pa.float32()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)


def params_json(config: Config) -> str:
    """Write a configuration as one line that compares equal for equal configurations."""
    return json.dumps(config, sort_keys=True)


def write_shard(
    folder: Path,
    task_id: str,
    learner: str,
    outcomes: Sequence[Outcome],
    configs: Sequence[Config],
) -> None:
    """Write the outcomes of some configurations of one learner on one task.

    Parameters
    ----------
    folder : Path
        The collection's folder of shards.
    task_id, learner : str
        What was evaluated where.
    outcomes : sequence of Outcome
        At least one.
    configs : sequence of dict
        The learner's list of configurations, which the outcomes' indices refer to.
    """
    rows = [
        {
            "task_id": task_id,
            "learner": learner,
            "config": outcome.index,
            "params": params_json(configs[outcome.index]),
            "score": outcome.score,
            "fit_seconds": outcome.fit_seconds,
            "status": outcome.status,
            "error": outcome.error,
        }
        for outcome in outcomes
    ]
    first, last = outcomes[0].index, outcomes[-1].index
    name = f"{quote(task_id, safe='')}-{learner}-{first:05d}-{last:05d}.parquet"
    with replace_file(folder / name) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary, compression="zstd")


def read_shards(folder: Path) -> pd.DataFrame:
    """Read every finished evaluation, ordered by task, learner and configuration.

    Raises
    ------
    ValueError
        Naming a file that is not a whole shard.
    """
    tables = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            tables.append(pq.read_table(path, schema=_SCHEMA))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete it and its evaluations are done again"
            ) from error
    table = pa.concat_tables(tables) if tables else _SCHEMA.empty_table()
    frame: pd.DataFrame = table.to_pandas()
    return frame.sort_values(["task_id", "learner", "config"], ignore_index=True)
