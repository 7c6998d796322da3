"""Evaluations that others have uploaded to OpenML, as a MetaDataset of one learner.

A run on OpenML is a *flow* (a pipeline in one version) with a *setup* (every parameter of every
part of it) on a task. Here it becomes a configuration of a learner in the catalogue, where it is
one: the parameters of the flow's part that is the learner's class are translated, and what cannot
be is counted and listed.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metahpo.catalogue import Learner, UnionLearner, learners, resolve_learner
from metahpo.collect.features import task_features
from metahpo.collect.plan import DEFAULT_METRIC, Settings
from metahpo.collect.sources import openml_tasks
from metahpo.collect.tables import prepare
from metahpo.files import replace_file
from metahpo.metadataset import Direction, MetaDataset
from metahpo.openml import fetch_evaluations, fetch_task
from metahpo.space import Config

MEASURES: Mapping[str, tuple[str, Direction]] = {
    "predictive_accuracy": ("accuracy", "maximize"),
    "area_under_roc_curve": ("roc_auc", "maximize"),
    "f_measure": ("f1_weighted", "maximize"),
    "kappa": ("kappa", "maximize"),
    "root_mean_squared_error": ("root_mean_squared_error", "minimize"),
    "mean_absolute_error": ("mean_absolute_error", "minimize"),
}
"""OpenML's evaluation measures: what scikit-learn calls them, and which way is better."""

_DEFAULT_MEASURE = {
    "classification": "predictive_accuracy",
    "regression": "root_mean_squared_error",
}
_NO_MATTER = {"n_jobs", "nthread", "random_state", "seed", "verbose", "warm_start", "cache_size"}
# "sklearn.pipeline.Pipeline(svc=sklearn.svm.classes.SVC)(3)_memory": part, version, parameter
_FULL_NAME = re.compile(r"(?P<part>.+?)\((?P<version>\d+)\)_(?P<name>.+)")
_MAX_ROWS, _MAX_COLUMNS = 100_000, 2_000  # of the tables that are described: runs had all of it
_SHOWN = 5  # values of an untranslated parameter that are listed


@dataclass(frozen=True)
class Translation:
    """What became of the parameters of a flow's runs.

    Attributes
    ----------
    flow : str
        Its name.
    learner : str
        In the catalogue.
    n_runs, n_used : int
        How many there were, and how many are configurations of the learner's space.
    mapped : tuple of str
        Parameters of the space that the flow sets.
    assumed : tuple of str
        Parameters of the space that the flow does not have: at the library's default.
    ignored : dict of str to list
        Parameters of the flow that are not searched, with values they had: the learner's own
        settings take their place, so scores belong to them only as far as they agree.
    refused : dict of str to str
        Parameters whose values kept runs out: how many runs, and the first reason.
    """

    flow: str
    learner: str
    n_runs: int
    n_used: int
    mapped: tuple[str, ...]
    assumed: tuple[str, ...]
    ignored: dict[str, list[Any]]
    refused: dict[str, str]


def import_runs(
    flow: int,
    task_ids: Sequence[int],
    out: str | Path,
    *,
    learner: str | None = None,
    measure: str | None = None,
) -> tuple[MetaDataset, Translation]:
    """Import the runs of a flow on OpenML tasks into a folder that can be trained on.

    Parameters
    ----------
    flow : int
        OpenML's number.
    task_ids : sequence of int
        All classification, or all regression.
    out : path
        The folder of the MetaDataset; ``translation.json`` in it says what became of parameters.
    learner : str, optional
        In the catalogue; by default the one whose class the flow has.
    measure : str, optional
        A key of :data:`MEASURES`; by default accuracy or the root mean squared error.

    Returns
    -------
    tuple of MetaDataset and Translation

    Raises
    ------
    OpenMLError
        If the server does not answer as it should.
    ValueError
        If there are no such runs, if none of them is a configuration of the learner's space, or
        if the flow has no learner of the catalogue or tunes by itself.
    """
    if measure is not None and measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}; known are {', '.join(MEASURES)}")
    kind = fetch_task(task_ids[0]).task
    measure = measure or _DEFAULT_MEASURE[kind]
    runs = fetch_evaluations(flow, task_ids, measure)
    if not len(runs):
        raise ValueError(f"OpenML lists no {measure} of flow {flow} on these tasks")
    parts = _parts(runs)
    chosen = _learner_of(parts, flow) if learner is None else resolve_learner(learner, kind)
    trials, translation = translate(runs, chosen)
    metric, direction = MEASURES[measure]
    folder = Path(out)
    known = list(dict.fromkeys(trials["task_id"]))
    whole = Settings(kind, DEFAULT_METRIC[kind], max_rows=_MAX_ROWS, max_columns=_MAX_COLUMNS)
    features, info = _described(folder / "tables", known, whole)
    dataset = MetaDataset.from_frames(
        trials, features, space=chosen.space, direction=direction, metric=metric, info=info
    )
    dataset.save(folder)
    with replace_file(folder / "translation.json") as temporary:
        temporary.write_text(json.dumps(asdict(translation), indent=1))
    return dataset, translation


def translate(runs: pd.DataFrame, learner: Learner) -> tuple[pd.DataFrame, Translation]:
    """Turn runs into trials of a learner; those of one configuration on one task are averaged.

    Parameters
    ----------
    runs : DataFrame
        From :func:`metahpo.openml.fetch_evaluations`.
    learner : Learner

    Returns
    -------
    tuple of DataFrame and Translation
        Trials as :meth:`MetaDataset.from_frames` takes them.

    Raises
    ------
    ValueError
        If the flow has no part that is the learner's class, or no run is left.
    """
    flow = str(runs["flow_name"].iloc[0])
    settings = [_settings(parameters, learner) for parameters in runs["parameters"]]
    names = {name for one in settings for name in one}
    if not names:
        known = ", ".join(sorted(_parts(runs)))
        raise ValueError(f"the flow {flow!r} has no part of {learner.name}; it has {known}")
    defaults = _library_defaults(learner)
    configs: list[Config] = []
    scores: list[tuple[str, float]] = []
    refused: defaultdict[str, list[str]] = defaultdict(list)
    for one, task_id, value in zip(settings, runs["task_id"], runs["value"], strict=True):
        try:
            configs.append(learner.space.validate(learner.config_of(defaults | one), what="run"))
            scores.append((str(task_id), float(value)))
        except ValueError as error:
            refused[_culprit(error)].append(str(error))
    searched = {n.removesuffix("_rule") for n in learner.space.names}
    translation = Translation(
        flow=flow,
        learner=learner.name,
        n_runs=len(runs),
        n_used=len(configs),
        mapped=tuple(sorted(searched & names)),
        assumed=tuple(sorted(searched - names)),
        ignored=_ignored(settings, searched),
        refused={name: f"{len(why)} runs: {why[0]}" for name, why in sorted(refused.items())},
    )
    if not configs:
        reasons = "; ".join(f"{name}: {why}" for name, why in translation.refused.items())
        raise ValueError(f"no run of {flow!r} is a configuration of {learner.name}: {reasons}")
    return _averaged(configs, scores, learner), translation


# ---------------------------------------------------------------------- flows and their parts


def _parts(runs: pd.DataFrame) -> set[str]:
    """Return the class names of a flow's parts, itself included."""
    full_names = {name for parameters in runs["parameters"] for name in parameters}
    return {part for part, _ in map(_split, full_names)}


def _split(full_name: str) -> tuple[str, str]:
    """Take a full name apart: the class of the part it belongs to, and the parameter's name."""
    match = _FULL_NAME.fullmatch(full_name)
    if match is None:
        return "", full_name
    return match["part"].split("(")[0].rsplit(".", 1)[-1], match["name"]


def _learner_of(parts: set[str], flow: int) -> Learner:
    """Find the learner whose class is among a flow's parts."""
    if any(part.endswith("SearchCV") for part in parts):
        raise ValueError(
            f"flow {flow} tunes by itself ({', '.join(sorted(parts))}): its parameters are not "
            "those that were fitted"
        )
    found = [
        learner
        for learner in learners.values()
        if not isinstance(learner, UnionLearner) and _class_name(learner.estimator) in parts
    ]
    bases = {learner.base for learner in found}
    found = [learner for learner in found if learner.estimator not in bases]
    if len(found) != 1:
        names = ", ".join(learner.name for learner in found) or "none"
        raise ValueError(
            f"flow {flow} has the parts {', '.join(sorted(parts))}; of the catalogue's learners "
            f"that is {names}; name one"
        )
    return found[0]


def _class_name(path: str | None) -> str:
    return "" if path is None else path.split(":")[1]


def _settings(parameters: Mapping[str, str], learner: Learner) -> dict[str, Any]:
    """Return what a run sets of the learner's class and of the class it builds on."""
    prefixes = {_class_name(learner.estimator): ""}
    if learner.base is not None:
        prefixes[_class_name(learner.base)] = "estimator__"
    found = {}
    for full_name, text in parameters.items():
        part, name = _split(full_name)
        if part in prefixes:
            found[prefixes[part] + name] = _value(text)
    return found


def _value(text: str) -> Any:
    """Read a value as OpenML's clients write it: JSON, or what is not JSON as it stands."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _library_defaults(learner: Learner) -> dict[str, Any]:
    defaults = dict(learner.estimator_class(**learner.fixed).get_params(deep=False))
    if learner.base_class is not None:
        base = learner.base_class().get_params()
        defaults |= {f"estimator__{name}": value for name, value in base.items()}
    return defaults | learner.params_of(learner.space.default)


# ---------------------------------------------------------------------- what is left over


def _culprit(error: ValueError) -> str:
    match = re.search(r"sets (\w+)=|'(\w+)'", str(error))
    return next(filter(None, match.groups()), "?") if match else "?"


def _ignored(settings: Sequence[Mapping[str, Any]], searched: set[str]) -> dict[str, list[Any]]:
    """Collect the values, most frequent first, of parameters that are not searched."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in settings:
        for name, value in one.items():
            if name not in searched and name.split("__")[-1] not in _NO_MATTER:
                seen[name][json.dumps(value, sort_keys=True)] += 1
    return {
        name: [json.loads(text) for text, _ in values.most_common(_SHOWN)]
        for name, values in sorted(seen.items())
    }


def _averaged(
    configs: Sequence[Config], scores: Sequence[tuple[str, float]], learner: Learner
) -> pd.DataFrame:
    """Lay configurations and scores out, one row a task and configuration."""
    same: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for i, (config, (task_id, _)) in enumerate(zip(configs, scores, strict=True)):
        same[task_id, json.dumps(config, sort_keys=True)].append(i)
    trials = learner.space.to_frame([configs[rows[0]] for rows in same.values()])
    return trials.assign(
        task_id=[task_id for task_id, _ in same],
        score=[sum(scores[i][1] for i in rows) / len(rows) for rows in same.values()],
    )


def _described(
    tables: Path, task_ids: Sequence[str], settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fetch the tasks' tables and return their meta-features, and where they came from."""
    tables.mkdir(parents=True, exist_ok=True)
    loaders = openml_tasks([int(task_id) for task_id in task_ids])
    info = [prepare(tables, task_id, load, settings).info for task_id, load in loaders.items()]
    index = pd.Index(task_ids, name="task_id")
    return task_features(tables, task_ids, settings), pd.DataFrame(info, index=index)
