"""Experience with few-shot families: many configurations on several, as a MetaDataset.

A file of families declares them, in TOML::

    n_configs = 24                 # configurations a family: the default, then a Sobol sequence
    passes = 30_000                # of meta-training a configuration; see metahpo.fewshot.tuning

    [earlier.slow_waves]           # families to learn from: a source's keys, shots and queries
    kind = "sinusoid"
    frequency = [0.5, 0.8]
    shots = 5

    [held_out.triangles]           # families to be tuned afterwards
    kind = "piecewise_linear"

A folder of experience holds ``evaluations.jsonl``, one finished evaluation a line; and, when all
are, the MetaDataset in ``dataset/`` and the MetaModel in ``model/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from metahpo.collect.plan import configurations
from metahpo.declared import check_keys, fits, read_declaration
from metahpo.fewshot.ledger import Ledger, Record
from metahpo.fewshot.meta_features import describe_family
from metahpo.fewshot.taskfile import FewShotPlan, declared_task
from metahpo.fewshot.tuning import (
    DIRECTION,
    METRIC,
    SPACE,
    Evaluation,
    conditions,
    configured,
    evaluate,
)
from metahpo.metadataset import MetaDataset
from metahpo.metamodel import MetaModel
from metahpo.space import Config

_LINES, _DATASET, _MODEL = "evaluations.jsonl", "dataset", "model"
_EPISODE_KEYS = ("shots", "queries")


@dataclass(frozen=True)
class Families:
    """Declared families, and how much is spent on each.

    Attributes
    ----------
    n_configs : int
    passes : int
    earlier, held_out : mapping of str to FewShotPlan
    """

    n_configs: int
    passes: int
    earlier: Mapping[str, FewShotPlan]
    held_out: Mapping[str, FewShotPlan]


def load_families(path: str | Path) -> Families:
    """Read a file of families; see the module.

    Raises
    ------
    ValueError
        Naming the file and the key that is missing, unknown or wrong.
    """
    return read_declaration(Path(path), "file of families", declared_families)


def declared_families(declared: Mapping[str, Any]) -> Families:
    """Check families declared by keys and values.

    Raises
    ------
    ValueError
        Naming the table and the key that is missing, unknown or wrong.
    """
    check_keys(declared, ("n_configs", "passes", "earlier", "held_out"))
    for name in ("n_configs", "passes"):
        value: Any = declared.get(name)
        if not fits(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; a positive integer is needed")
    groups = {}
    for group in ("earlier", "held_out"):
        tables = declared.get(group, {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            raise ValueError(f"{group} is {tables!r}; tables [{group}.NAME] are needed")
        groups[group] = {name: _family(f"[{group}.{name}]", t) for name, t in tables.items()}
    return Families(declared["n_configs"], declared["passes"], **groups)


def _family(where: str, table: Mapping[str, Any]) -> FewShotPlan:
    source = {k: v for k, v in table.items() if k not in _EPISODE_KEYS}
    training = {k: v for k, v in table.items() if k in _EPISODE_KEYS}
    try:
        return declared_task({"source": source, "training": training})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def gather(
    families: Families,
    out: Path,
    *,
    n_jobs: int = 1,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> MetaDataset:
    """Evaluate configurations on the earlier families, into a MetaDataset.

    Every evaluation is on disk as soon as it is finished; the same call goes on with the rest. A
    family that was declared otherwise is evaluated anew.

    Parameters
    ----------
    families : Families
    out : Path
        The folder; see the module.
    n_jobs : int, default=1
        Processes, each with one thread.
    watch : callable, optional
        Called with how many evaluations are done, of how many.
    """
    if not families.earlier:
        raise ValueError("the file declares no [earlier.NAME] family to learn from")
    ledger = Ledger(out / _LINES, {"passes": families.passes})
    configs = configurations(SPACE, families.n_configs, seed=0)
    # family by family within a configuration, so that what is stopped early is still balanced
    wanted = {
        (name, i): {"family": name, "declared": conditions(families.earlier[name]), "config": i}
        for i, name in product(range(len(configs)), families.earlier)
    }
    finished = ledger.find(wanted)
    pieces = [
        partial(_evaluated, piece, families.earlier[name], configs[i], families.passes)
        for (name, i), piece in wanted.items()
        if (name, i) not in finished
    ]
    ledger.fill(pieces, total=len(wanted), n_jobs=n_jobs, watch=watch)
    finished = ledger.find(wanted)
    dataset = _dataset(families, configs, [finished[one] for one in wanted])
    dataset.save(out / _DATASET)
    return dataset


def learn(out: Path) -> MetaModel:
    """Train a MetaModel on a folder's dataset, and keep it there.

    Raises
    ------
    ValueError
        If there is no dataset, or it is damaged.
    """
    model = MetaModel.fit(MetaDataset.load(out / _DATASET))
    model.save(out / _MODEL)
    return model


def load_experience(out: Path) -> MetaModel:
    """Read the MetaModel of a folder of experience.

    Raises
    ------
    ValueError
        If it is not there, or damaged.
    """
    return MetaModel.load(out / _MODEL)


def _evaluated(piece: Record, plan: FewShotPlan, config: Config, passes: int) -> Record:
    return {**piece, **plain(evaluate(configured(plan, config, passes)))}


def plain(evaluation: Evaluation) -> Record:
    """Return an evaluation as JSON values: what is not a number is None."""
    return {k: None if isnan(v) else v for k, v in asdict(evaluation).items()}


def _dataset(
    families: Families, configs: Sequence[Config], finished: Sequence[Record]
) -> MetaDataset:
    facts = pd.DataFrame(
        {
            "task_id": [one["family"] for one in finished],
            "score": [nan if one["score"] is None else one["score"] for one in finished],
            "fit_seconds": [one["seconds"] for one in finished],
        }
    )
    tried = SPACE.to_frame([configs[one["config"]] for one in finished])
    features = {name: describe_family(plan) for name, plan in families.earlier.items()}
    return MetaDataset.from_frames(
        pd.concat([facts, tried], axis=1),
        pd.DataFrame.from_dict(features, orient="index"),
        space=SPACE,
        direction=DIRECTION,
        metric=METRIC,
    )
