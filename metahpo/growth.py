"""Growth: a finished study becomes one more training task, without training anew.

The features, and what the other tasks say, stay as they are, so nothing that was learned is
forgotten; the new task is a weight vector on the same features, found in closed form.

Notation
--------
===== ========= ==============================================================================
name  shape     meaning
===== ========= ==============================================================================
y     (n,)      the study's scores, higher being better
z     (n,)      where they stand: (y - a) / b under the belief that the study left
w     (F,)      the new task's weights
C     (F, F)    how tasks' weights vary around those of tasks like them
===== ========= ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from metahpo.candidates import Candidates
from metahpo.hint import prefix_hint
from metahpo.metadataset import Direction
from metahpo.space import Codes, Config, Space
from metahpo.surrogate.features import Floats
from metahpo.surrogate.relevance import given_values
from metahpo.surrogate.scores import KNOTS, profile
from metahpo.surrogate.tasks import memory
from metahpo.training import Experience

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from metahpo.surrogate.study import StudyBelief

Array = NDArray[np.float64]

SECONDS = "metahpo:seconds"
"""User attribute of a trial: what its evaluation took, where that is not its whole duration."""

_SECONDS = "fit_seconds"
_NO_PARAMETERS = ("task_id", "score", _SECONDS)  # columns of a table of trials
_LISTED = 5  # parameters that a message names
_REMEMBERED = 10  # a study's best configurations that join the pool

Trials: TypeAlias = Union["Study", pd.DataFrame, Iterable[tuple[Mapping[str, Any], float]]]


def finished_trials(
    trials: Trials, space: Space, direction: Direction, prefix: str = ""
) -> tuple[list[Config], Array, Array, str]:
    """Read a study: configurations, scores (higher being better), seconds, and its name.

    Of the configurations what the space knows, by its names. Seconds are NaN where they are not
    known.

    Parameters
    ----------
    trials : optuna.Study, DataFrame, or iterable of (dict, float)
        See :meth:`metahpo.MetaModel.update`.
    space : Space
        That of the model, as which tables are read.
    direction : {"maximize", "minimize"}
        Which way the scores are better.
    prefix : str, default=""
        What the trials put in front of the space's names.

    Raises
    ------
    ValueError
        If a study's direction is another, a table has no column ``score`` or several tasks, or
        there are trials and the space knows no parameter of any.
    """
    name, known, tuned = "", space.prefixed(prefix), list[str]()
    if isinstance(trials, pd.DataFrame):
        if "score" not in trials:
            raise ValueError("the table of trials has no column 'score'")
        name = _name_in(trials)
        read = known.from_frame(known.clip(trials))  # an empty cell may be the choice None
        configs = [{k: v for k, v in config.items() if k in trials} for config in read]
        scores = trials["score"].to_list()
        seconds = trials[_SECONDS].to_list() if _SECONDS in trials else []
        tuned = [str(column) for column in trials if column not in _NO_PARAMETERS]
    elif isinstance(trials, Iterable):
        pairs = list(trials)
        configs, scores = [dict(config) for config, _ in pairs], [score for _, score in pairs]
        seconds = []
    else:
        configs, scores, seconds, name = _of_study(trials, direction)
    tuned = tuned or list({name: None for config in configs for name in config})
    configs = _by_names_of(space, configs, tuned, prefix)
    y, took = _finite(scores), _finite(seconds or [math.nan] * len(configs))
    return configs, y if direction == "maximize" else -y, took, name


def _by_names_of(
    space: Space, configs: list[Config], tuned: list[str], prefix: str
) -> list[Config]:
    """Leave out what a space does not know, and the prefix of what it does."""
    names = {prefix + name: name for name in space.names}
    found = [{names[n]: value for n, value in config.items() if n in names} for config in configs]
    if found and not any(found):
        raise ValueError(
            f"the model knows no parameter of the trials ({', '.join(tuned[:_LISTED])}"
            f"{', ...' if len(tuned) > _LISTED else ''}){prefix_hint(tuned, space.names)}"
        )
    return found


def _name_in(table: pd.DataFrame) -> str:
    """Return the task that a table of trials says it is of; "" where it says none."""
    tasks = [str(task) for task in table.get("task_id", pd.Series(dtype=object)).unique()]
    if len(tasks) > 1:
        raise ValueError(
            f"the table of trials is of {len(tasks)} tasks: {', '.join(tasks[:3])}"
            f"{', ...' if len(tasks) > 3 else ''}; scores are only compared within a task, "
            "so give one at a time"
        )
    return "".join(tasks)


def _finite(values: list[float]) -> Array:
    numbers = np.array(values, dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _of_study(
    study: Study, direction: Direction
) -> tuple[list[Config], list[float], list[float], str]:
    from optuna.trial import TrialState

    if study.direction.name.lower() != direction:
        raise ValueError(
            f"the study's direction is {study.direction.name.lower()}, the model's {direction}"
        )
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    scores = [math.nan if trial.value is None else trial.value for trial in ended]
    seconds = [seconds_taken(trial) for trial in ended]
    return [dict(trial.params) for trial in ended], scores, seconds, study.study_name


def seconds_taken(trial: FrozenTrial) -> float:
    """Return what a trial took: as its user attribute says, else from its start to its end.

    NaN where neither is known, as of a trial that was pruned or added by hand.
    """
    from optuna.trial import TrialState

    said = trial.user_attrs.get(SECONDS)
    if isinstance(said, int | float):
        return float(said)
    if trial.state == TrialState.PRUNED or trial.duration is None:
        return math.nan
    return trial.duration.total_seconds() or math.nan


def grown(
    experience: Experience,
    pool: Codes,
    trials: Candidates,
    y: Array,
    belief: StudyBelief,
    suggestable: NDArray[np.bool_],
    task_id: str,
    meta_features: Mapping[str, float] | None,
) -> Experience:
    """Add a study to what the training tasks left behind.

    Parameters
    ----------
    experience : Experience
    pool : Codes
        Its pool's configurations.
    trials : Candidates
        The study's configurations, viewed as the model does.
    y : ndarray, shape (n,)
        Their scores, higher being better, none missing.
    belief : StudyBelief
        What they leave of it.
    suggestable : ndarray of bool, shape (n,)
        Which configurations can be suggested: they lack no parameter, and did not fail.
    task_id : str
        The name of the new task.
    meta_features : mapping of str to float or None
        Of its dataset.
    """
    offset, scale, weight = belief.components
    z = ((y[:, None] - offset) / scale) @ weight
    phi = trials.phi[:, : experience.features.size]
    w = _weights(experience, belief, phi, z)
    new = _worth_remembering(pool, trials, np.where(suggestable, y, np.nan))
    remembered = _with_task(experience.memory, new, pool, trials.codes, z - phi @ w)
    prior, relevance = experience.prior, experience.relevance
    row = given_values(meta_features, relevance.names)
    return replace(
        experience,
        task_ids=(*experience.task_ids, task_id),
        pool=[*experience.pool, *(trials.config(i) for i in new)],
        memory=remembered,
        prior=replace(prior, weights=np.vstack([prior.weights, w])),
        spreads=np.append(experience.spreads, scale @ weight),
        relevance=replace(relevance, reference=np.vstack([relevance.reference, row])),
        profiles=np.vstack([experience.profiles, _profile(belief, y)]),
    )


def _weights(experience: Experience, belief: StudyBelief, phi: Floats, z: Array) -> Array:
    """Start from the tasks that the study is like; move as far as its trials ask for."""
    known = experience.prior.weights
    start = belief.task_weight @ np.concatenate([known, np.zeros((1, known.shape[1]))])
    return experience.prior.weights_given(phi, z, start)


def _worth_remembering(pool: Codes, trials: Candidates, y: Array) -> list[int]:
    """Return the best trials whose configurations are not in the pool; none that scores NaN."""
    seen = set(pool.row_keys)
    new: list[int] = []
    keys = trials.codes.row_keys
    for i in np.argsort(-y, kind="stable"):
        if not np.isnan(y[i]) and keys[i] not in seen and len(new) < _REMEMBERED:
            seen.add(keys[i])
            new.append(int(i))
    return new


def _with_task(known: Array, new: list[int], pool: Codes, trials: Codes, residual: Array) -> Array:
    """Add the rows of `new` trials, and the column of a task that differs by `residual`."""
    keys = trials.row_keys
    remembered = [*pool.row_keys, *(keys[i] for i in new)]
    own = memory(remembered, keys, np.zeros(len(keys), dtype=np.intp), residual, 1)
    earlier = np.pad(known, ((0, len(new)), (0, 0)))
    return np.concatenate([earlier, own], axis=1)


def _profile(belief: StudyBelief, y: Array) -> Array:
    """Return the scores by quantile, as the belief extends them to what was not tried."""
    middles = (np.arange(len(KNOTS)) + 0.5) / len(KNOTS)
    offset, scale, weight = belief.components
    expected = (offset + np.outer(ndtri(middles), scale)) @ weight
    return profile(np.minimum(expected, y.max()))
