"""The results folder of a benchmark: what is finished is a file, and stays."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metahpo.bench.plan import Plan
from metahpo.bench.provenance import session
from metahpo.bench.ring import Unit
from metahpo.bench.runs import RUN, RUNS, SCHEMA, SHARDS, read_record
from metahpo.files import remove_unfinished, replace_file

# What may change when a benchmark is extended: more tasks, learners, methods, seeds, folds. The
# rest are rules, and results under other rules belong into another folder.
_GROWS = (
    *("name", "suite", "tasks", "datasets", "histories", "tables", "held_out", "learners"),
    *("seeds", "folds", "methods", "baseline"),
)
_ROWS_A_GROUP = 65_536


class Store:
    """A results folder, see :mod:`metahpo.bench.runs` for what is in it.

    Beside that it holds ``tables/`` and ``models/``, working caches that may be deleted.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = path.absolute()  # for processes that stand elsewhere
        self.shards, self.tables, self.models = (
            path / name for name in (SHARDS, "tables", "models")
        )
        self._record: dict[str, Any] = {}

    @contextmanager
    def opened(self, plan: Plan, command: str, jobs: int, *, resume: bool) -> Iterator[Self]:
        """Hold the folder for one process, and write the session down.

        Raises
        ------
        ValueError
            If another process holds it, or it holds a benchmark under other rules.
        """
        for folder in (self.path, self.shards, self.tables, self.models):
            folder.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed however the process ends
            except BlockingIOError:
                raise ValueError(
                    f"another process is running a benchmark in {self.path}"
                ) from None
            for folder in (self.path, self.shards, self.tables):
                remove_unfinished(folder)
            if not resume:
                self._forget()
            self._begin(plan, command, jobs)
            try:
                yield self
            finally:
                self._finish()

    def _forget(self) -> None:
        for name in (RUNS, RUN):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.shards, self.tables, self.models):
            shutil.rmtree(folder)
            folder.mkdir()

    # ------------------------------------------------------------------ how the run was made

    def _begin(self, plan: Plan, command: str, jobs: int) -> None:
        declared = plan.to_json()
        record: dict[str, Any] = {"name": plan.name, "plan": declared, "seeds": list(plan.seeds)}
        record["sessions"] = []
        if (self.path / RUN).exists():
            before = read_record(self.path)
            _agree(self.path, before["plan"], declared)
            record["seeds"] = sorted({*before["seeds"], *plan.seeds})
            record["sessions"] = before["sessions"]
            record["plan"]["methods"] = _united(before["plan"]["methods"], declared["methods"])
        record["sessions"].append(session(command, jobs))
        self._record = record
        self._write_record()

    def _finish(self) -> None:
        self._record["sessions"][-1]["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._write_record()

    def _write_record(self) -> None:
        with replace_file(self.path / RUN) as temporary:
            temporary.write_text(json.dumps(self._record, indent=1) + "\n")

    # ------------------------------------------------------------------ units

    def finished(self) -> set[str]:
        """Return the keys of the units that are done."""
        return {path.stem for path in self.shards.glob("*.parquet")}

    def add(self, unit: Unit, rows: pd.DataFrame) -> None:
        """Put a unit's trials on disk, whole or not at all.

        Raises
        ------
        OSError
            Naming the file that cannot be written.
        """
        table = pa.Table.from_pandas(rows, SCHEMA, preserve_index=False)
        with replace_file(self.shards / f"{unit.key}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")
        self._record["sessions"][-1]["units"] += 1

    def take_over(self, other: Path) -> int:
        """Copy the finished units of another folder of the same benchmark.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        ValueError
            If it holds no benchmark, or one under other rules.
        """
        record = read_record(other)
        _agree(other, record["plan"], self._record["plan"])
        self._record["seeds"] = sorted({*record["seeds"], *self._record["seeds"]})
        *earlier, this = self._record["sessions"]
        earlier = sorted([*earlier, *record["sessions"]], key=lambda one: str(one["started"]))
        self._record["sessions"] = [*earlier, this]
        self._record["plan"]["methods"] = _united(
            record["plan"]["methods"], self._record["plan"]["methods"]
        )
        known, new = self.finished(), 0
        for shard in sorted((other / SHARDS).glob("*.parquet")):
            if shard.stem not in known:
                with replace_file(self.shards / shard.name) as temporary:
                    shutil.copyfile(shard, temporary)
                new += 1
        self._write_record()
        return new

    def consolidate(self) -> None:
        """Write ``runs.parquet``, shard by shard: memory does not grow with their number.

        Raises
        ------
        ValueError
            Naming a shard that is damaged.
        OSError
            Naming the file that cannot be written.
        """
        path = self.path / RUNS
        with (
            replace_file(path) as temporary,
            pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        ):
            waiting: list[pa.Table] = []
            for shard in sorted(self.shards.glob("*.parquet")):
                waiting.append(_read(shard))
                if sum(map(len, waiting)) >= _ROWS_A_GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting.clear()
            if waiting:
                writer.write_table(pa.concat_tables(waiting))


def _read(shard: Path) -> pa.Table:
    try:
        return pq.read_table(shard, schema=SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{shard} is damaged ({' '.join(str(error).split())}); delete it and the same "
            "command does it again"
        ) from error


def _agree(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that results go on under the rules they were begun with."""
    for name in dict.fromkeys((*before, *now)):
        if name not in _GROWS and before.get(name) != now.get(name):
            raise ValueError(
                f"{folder} holds a benchmark with {name} = {before.get(name)!r}, not "
                f"{now.get(name)!r}; use another folder, or --no-resume to start over"
            )
    known = {entrant["name"]: entrant for entrant in before["methods"]}
    for entrant in now["methods"]:
        if known.get(entrant["name"], entrant) != entrant:
            raise ValueError(
                f"{folder} holds a method {entrant['name']!r} with other settings; give it "
                "another name, or use another folder"
            )


def _united(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = {entrant["name"]: entrant for entrant in (*before, *now)}
    return list(named.values())
