"""The folder of a collection: settings, tables, shards, and the MetaDataset made of them."""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pandas as pd

from metahpo.catalogue import ROOT, Learner
from metahpo.collect.features import task_features
from metahpo.collect.plan import Settings
from metahpo.collect.shards import params_json, read_shards, write_shard
from metahpo.collect.tables import Loader, Table, UnusableTaskError, prepare
from metahpo.collect.worker import Outcome
from metahpo.files import remove_unfinished, replace_file
from metahpo.metadataset import MetaDataset
from metahpo.space import Config, Space

_logger = logging.getLogger(__name__)


class CollectionFolder:
    """A collection on disk.

    ::

        collection.json   the settings and the learners' spaces
        tables/           the capped tables: a working cache of raw data, may be deleted
        shards/           finished evaluations
        trials.parquet, tasks.parquet, info.parquet, dataset.json
                          the MetaDataset, written when a run is through

    Parameters
    ----------
    path : Path
        The folder, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards = path / "shards"
        self.tables = path / "tables"
        self._header = path / "collection.json"

    @contextmanager
    def opened(self, settings: Settings, learners: Sequence[Learner]) -> Iterator[Self]:
        """Hold the folder for one process while it collects.

        Raises
        ------
        ValueError
            If another process holds it, or it holds a collection with other settings.
        """
        self.shards.mkdir(parents=True, exist_ok=True)
        self.tables.mkdir(exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed however the process ends
            except BlockingIOError:
                raise ValueError(f"another process is collecting into {self.path}") from None
            for folder in (self.path, self.shards, self.tables):
                remove_unfinished(folder)
            self._agree(settings, learners)
            yield self

    def _agree(self, settings: Settings, learners: Sequence[Learner]) -> None:
        """Check that this collection goes on under the settings it was begun with."""
        spaces = {learner.name: learner.space.to_json() for learner in learners}
        if self._header.exists():
            begun = self._read_header()
            for name, value in asdict(settings).items():
                if begun["settings"].get(name) != value:
                    raise ValueError(
                        f"{self.path} holds a collection with {name} = "
                        f"{begun['settings'].get(name)!r}, not {value!r}; use another folder"
                    )
            for name, space in spaces.items():
                if begun["spaces"].get(name, space) != space:
                    raise ValueError(
                        f"{self.path} holds a collection with another space of the learner "
                        f"{name!r}; use another folder"
                    )
            spaces = {**begun["spaces"], **spaces}
        header = {"settings": asdict(settings), "spaces": spaces}
        with replace_file(self._header) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    def _read_header(self) -> dict[str, Any]:
        try:
            header: dict[str, Any] = json.loads(self._header.read_text())
            return {"settings": dict(header["settings"]), "spaces": dict(header["spaces"])}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._header} is damaged: {error!r}") from error

    def prepare(self, tasks: Mapping[str, Loader], settings: Settings) -> dict[str, Table]:
        """Bring every task's capped table onto disk; tasks that cannot be used are left out.

        Raises
        ------
        ValueError
            If no task can be used.
        """
        tables: dict[str, Table] = {}
        unusable: list[str] = []
        for task_id, load in tasks.items():
            try:
                tables[task_id] = prepare(self.tables, task_id, load, settings)
            except UnusableTaskError as error:
                unusable.append(str(error))
        if not tables:
            raise ValueError(f"no task can be used: {unusable[0]}")
        for reason in unusable:
            _logger.warning("left out: %s", reason)
        return tables

    def finished(self, configs: Mapping[str, Sequence[Config]]) -> set[tuple[str, str, int]]:
        """Return the (task, learner, configuration) triples that are done.

        A folder that holds a MetaDataset and no shards, such as a copy of the evaluations that
        are shipped, goes on from the MetaDataset.

        Raises
        ------
        ValueError
            If what was evaluated under a number is not what the list has there now.
        """
        if not any(self.shards.iterdir()) and (self.path / "dataset.json").exists():
            self._adopt(configs)
        shards = read_shards(self.shards)
        for name, list_ in configs.items():
            lines = dict(enumerate(map(params_json, list_)))
            mine = shards[(shards["learner"] == name) & (shards["config"] < len(list_))]
            differ = mine["config"].map(lines) != mine["params"]
            if differ.any():
                number = int(mine["config"][differ].iloc[0])
                raise ValueError(
                    f"{self.path} holds another configuration {number} of {name!r} than this "
                    "version of metahpo draws; use another folder"
                )
        return set(zip(shards["task_id"], shards["learner"], shards["config"], strict=True))

    def _adopt(self, configs: Mapping[str, Sequence[Config]]) -> None:
        """Write the folder's MetaDataset out as shards."""
        union = MetaDataset.load(self.path)
        for name in configs.keys() & set(union.trials[ROOT]):
            numbers: dict[str, list[int]] = {}  # a small space repeats configurations
            for i, config in enumerate(configs[name]):
                numbers.setdefault(params_json(config), []).append(i)
            md = union.for_learner(name)
            for task_id in md.task_ids:
                trials = md.subset([task_id]).trials
                left = {text: iter(indices) for text, indices in numbers.items()}
                known = [
                    next(left.get(params_json(config), iter(())), None)
                    for config in md.space.from_frame(trials)
                ]
                facts = trials[["score", "fit_seconds", "status", "error"]].astype(object)
                rows = facts.where(facts.notna() | (facts.columns == "score"), None).to_numpy()
                outcomes = [
                    Outcome(number, *row)
                    for number, row in zip(known, rows, strict=True)
                    if number is not None
                ]
                if outcomes:
                    write_shard(self.shards, task_id, name, outcomes, configs[name])

    def consolidate(self) -> MetaDataset:
        """Make the MetaDataset of everything that is finished, and save it in the folder."""
        header = self._read_header()
        settings = Settings(**header["settings"])
        spaces = {name: Space.from_json(obj) for name, obj in header["spaces"].items()}
        space = Space.union(spaces, ROOT)
        shards = read_shards(self.shards)
        configs = [
            {ROOT: learner, **{f"{learner}__{k}": v for k, v in json.loads(params).items()}}
            for learner, params in zip(shards["learner"], shards["params"], strict=True)
        ]
        facts = shards[["task_id", "score", "fit_seconds", "status", "error"]]
        task_ids = list(facts["task_id"].unique())
        dataset = MetaDataset.from_frames(
            pd.concat([facts, space.to_frame(configs)], axis=1),
            task_features(self.tables, task_ids, settings),
            space=space,
            direction="maximize",
            metric=settings.metric,
            info=self._info(task_ids),
            defaults={name: one.default for name, one in spaces.items()},
        )
        dataset.save(self.path)
        return dataset

    def _info(self, task_ids: Sequence[str]) -> pd.DataFrame:
        rows = [Table.read(self.tables, task_id).info for task_id in task_ids]
        return pd.DataFrame(rows, index=pd.Index(task_ids, name="task_id"))
