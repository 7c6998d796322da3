"""Meta-features of a collection's tables, computed once a version of :func:`describe`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from metahpo.collect.plan import Settings
from metahpo.collect.tables import Table, read_table
from metahpo.files import replace_file

if TYPE_CHECKING:
    from metahpo.metafeatures import MetaFeatures


def task_features(folder: Path, task_ids: Sequence[str], settings: Settings) -> pd.DataFrame:
    """Describe the tables that were evaluated, exactly as they were evaluated.

    Parameters
    ----------
    folder : Path
        The collection's folder of tables; descriptions are kept beside them.
    task_ids : sequence of str
        The tasks, in the order of the result.
    settings : Settings
        The collection's rules.

    Returns
    -------
    DataFrame
        One row a task, one column a meta-feature.
    """
    rows = [
        dict(table_features(Table.read(folder, task_id).path, settings)) for task_id in task_ids
    ]
    return pd.DataFrame(rows, index=pd.Index(task_ids, name="task_id"))


def table_features(table: Path, settings: Settings) -> MetaFeatures:
    """Describe a prepared table; what is known of it is kept in a file beside it."""
    from metahpo.metafeatures import VERSION, MetaFeatures, describe

    path = table.with_suffix(".features.json")
    if path.exists():
        known = json.loads(path.read_text())
        if known["version"] == VERSION:
            return MetaFeatures(known["features"], settings.task, known.get("seconds", 0.0))
    X, y = read_table(table)
    found = describe(X, y, settings.task, seed=settings.seed)
    known = {"version": VERSION, "seconds": found.seconds, "features": dict(found)}
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(known, indent=1))
    return found
