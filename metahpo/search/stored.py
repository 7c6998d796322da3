"""The study behind a search: opened, checked to be the same search, and taken up where it ended.

A trial that ran to its end is complete, or failed if no score came of it; both count. One that was
cut short, by Ctrl-C or by the death of its process, is failed, too, but its configuration is
queued again and it does not count. A configuration whose process dies a second time is given up,
so that one which exhausts the memory cannot keep a search from ending.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
import pandas as pd
import psutil
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from scipy import sparse

from metahpo.search.folds import CrossValidation
from metahpo.search.inputs import as_table
from metahpo.space import Config, Space

_IDENTITY = "metahpo:search"  # user attribute of the study: what was searched, on what
_HOST = "metahpo:host:"  # begins a user attribute of the study for every host that opened it
_PROCESS = "metahpo:process"  # user attribute of a trial: who runs it
_REDO = "metahpo:redo_of"  # user attribute of a trial: the one, cut short, that it repeats
_JOURNAL = "journal:///"  # what the URL of a journal file begins with; the file follows
_NAMELESS = "<lambda>"  # equal to any other, once printed
_SQLITE_WAIT = 60  # seconds that a process waits while others write; the default, 5, is too few
_UNCLAIMED = timedelta(minutes=1)  # a trial is claimed long before, or its process is dead
_UNCLAIMED_ANYWHERE = timedelta(days=2)  # no time zones, 26 hours, and clocks are so far apart
_SAME_START = 5  # seconds: when a process started is known by a clock that may be set meanwhile


def open_study(
    storage: str | BaseStorage | None,
    name: str | None,
    sampler: BaseSampler,
    identity: Mapping[str, Any] | None,
) -> Study:
    """Create the study, or load the one of this name and take up what was cut short in it.

    Parameters
    ----------
    storage : str, optuna storage or None
        None: in memory.
    name : str or None
        None: a new study.
    sampler : optuna sampler
    identity : mapping of str to JSON value, or None
        What must be equal for two searches to share a study. None in memory.

    Raises
    ------
    ValueError
        If the storage cannot be opened, or if it holds a study of this name that searches
        something else.
    """
    study = optuna.create_study(
        storage=open_storage(storage),
        sampler=sampler,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
    )
    if identity is not None:
        _check_identity(study, identity)
        _sign(study)
        take_up(study)
    return study


def open_storage(storage: str | BaseStorage | None) -> BaseStorage | None:
    """Open a storage by its URL: a database that SQLAlchemy knows, or ``journal:///FILE``.

    Raises
    ------
    ValueError
        Naming the URL and why it cannot be opened.
    """
    from sqlalchemy.exc import SQLAlchemyError

    if not isinstance(storage, str):
        return storage
    try:
        if storage.startswith(_JOURNAL):
            return JournalStorage(JournalFileBackend(storage.removeprefix(_JOURNAL)))
        waiting = {"connect_args": {"timeout": _SQLITE_WAIT}}
        return RDBStorage(storage, waiting if storage.startswith("sqlite") else None)
    except (ImportError, OSError, SQLAlchemyError) as error:
        url = re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", storage)  # passwords are not printed
        raise ValueError(f"the storage {url!r} cannot be opened: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    missing = error.__cause__ if isinstance(error, ImportError) else None  # Optuna names none
    if isinstance(missing, ModuleNotFoundError):
        return f"it needs the package {missing.name}"
    return str(getattr(error, "orig", None) or error).splitlines()[0]


# ---------------------------------------------------------------------- identity


def identity_of(
    validation: CrossValidation, space: Space, estimator: Any, metric: str
) -> dict[str, Any]:
    """Describe a search, so that another one can be told from it.

    Raises
    ------
    ValueError
        If a parameter has choices that JSON has no words for.
    """
    return {
        "space": space.to_json(),
        "data": _digest(validation.X, validation.y),
        "folds": _digest(*(rows for split in validation.splits for rows in split)),
        "estimator": _printed(estimator),
        "metric": _printed(metric),
        **_given(validation.params),
    }


def _given(params: Mapping[str, Any]) -> dict[str, str]:
    """Describe what else goes to ``fit``; nothing where nothing does, as in earlier versions."""
    told = {name: _told(value) for name, value in sorted(params.items()) if value is not None}
    return {"fit parameters": str(told)} if told else {}


def _told(value: Any) -> str:
    try:
        return _digest(value)
    except (TypeError, ValueError):  # it is no array or table
        return _printed(value)


def _printed(thing: Any) -> str:
    """Print without addresses, which are different the next time."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(thing))


def _digest(*tables: Any) -> str:
    digest = hashlib.sha256()
    for table in tables:
        if table is None:
            continue
        if sparse.issparse(table) and hasattr(table, "tocsr"):
            rows: Any = table.tocsr()
            digest.update(repr(rows.shape).encode())
            for part in (rows.data, rows.indices, rows.indptr):
                digest.update(np.ascontiguousarray(part).tobytes())
            continue
        frame = pd.DataFrame(as_table(table))
        digest.update(repr(list(frame.columns)).encode())
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def _check_identity(study: Study, identity: Mapping[str, Any]) -> None:
    where = f"the study {study.study_name!r}"
    if study.directions != [StudyDirection.MAXIMIZE]:
        found = " and ".join(direction.name.lower() for direction in study.directions)
        raise ValueError(
            f"{where} has the direction {found}, but scores of scikit-learn are maximized; "
            "choose another study_name"
        )
    current = json.loads(json.dumps(identity))
    stored = begun_as(study, _IDENTITY, current)
    if stored is None:
        raise ValueError(f"{where} is not of MetaSearchCV; choose another study_name")
    differing = [what for what in {**current, **stored} if stored.get(what) != current.get(what)]
    if differing:
        raise ValueError(
            f"{where} is of a search with {_difference(differing[0], stored, current)}; "
            "choose another study_name, or continue it as it was"
        )
    nameless = [what for what in ("estimator", "metric") if _NAMELESS in current[what]]
    if nameless and study.get_trials(deepcopy=False):
        warnings.warn(
            f"the {nameless[0]} has a function without a name of its own; whether it is the one "
            f"that {where} began with cannot be told",
            stacklevel=2,
        )


def begun_as(study: Study, attribute: str, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a study was begun as; None where it has trials and does not say.

    A study without trials is told, and begins as that.

    Parameters
    ----------
    study : optuna.Study
    attribute : str
        The user attribute that says so.
    identity : dict
        What a new study is of, as JSON reads it back.
    """
    trials = study.get_trials(deepcopy=False)  # first: whoever makes one has said what it is of
    stored: dict[str, Any] | None = study.user_attrs.get(attribute)
    if stored is None and not trials:
        study.set_user_attr(attribute, identity)
        return identity
    return stored


def _difference(what: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    if what == "data":
        return "other data (X or y)"
    if what == "fit parameters":
        return "other parameters given to fit"
    if what == "folds":
        return "other folds; a shuffled cv needs a random_state to come out the same"
    if what != "space":
        return f"another {what}: {stored.get(what)} instead of {current[what]}"
    before, now = (Space.from_json(identity["space"]) for identity in (stored, current))
    names = [
        name
        for name in dict.fromkeys((*before.names, *now.names))
        if before.distributions.get(name) != now.distributions.get(name)
    ]
    return f"another space (it differs in {', '.join(names) or 'its conditions or default'})"


# ---------------------------------------------------------------------- trials


def suggest(trial: Trial, space: Space) -> Config:
    """Ask a trial for a configuration of a space, parents before their children."""
    config: Config = {}
    for name in space.names:
        if name in space.active(config):
            config[name] = _suggest_one(trial, name, space)
    return config


def _suggest_one(trial: Trial, name: str, space: Space) -> Any:
    distribution = space.distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    low, high, log = distribution.low, distribution.high, distribution.log
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, low, high, step=distribution.step, log=log)
    return trial.suggest_int(name, int(low), int(high), step=distribution.step, log=log)


def finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that count, in order."""
    trials = study.get_trials(deepcopy=False)
    redone = {trial.user_attrs.get(_REDO) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        or (trial.state == TrialState.FAIL and trial.params and trial.number not in redone)
    ]


def _sign(study: Study) -> None:
    """Write down that this host is among those of a study, before it starts a trial."""
    if _own_host() not in study.user_attrs:
        study.set_user_attr(_own_host(), True)


def claim(trial: Trial) -> None:
    """Write down which process runs a trial, so that its death can be noticed."""
    trial.set_user_attr(_PROCESS, _this_process())


def requeue(study: Study, trial: Trial | FrozenTrial) -> None:
    """Queue the configuration of a trial that was cut short."""
    if trial.params:
        study.enqueue_trial(trial.params, user_attrs={_REDO: trial.number})


def take_up(study: Study) -> None:
    """Queue the configurations of trials whose process has died."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _is_dead(study, trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            continue  # another process that takes up the study was faster, if only just
        if _REDO not in trial.user_attrs:
            requeue(study, trial)


def _this_process() -> list[Any]:
    process = psutil.Process()
    return [socket.gethostname(), process.pid, process.create_time()]


def _own_host() -> str:
    return _HOST + socket.gethostname()


def _is_dead(study: Study, trial: FrozenTrial) -> bool:
    """Whether a trial's process, of this machine, is gone; of others', nothing can be said."""
    if _PROCESS not in trial.user_attrs:
        return _is_forsaken(study, trial)
    host, pid, created = trial.user_attrs[_PROCESS]
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(pid)
        # where nobody collects orphans, as in many containers, they stay as zombies
        another = abs(process.create_time() - created) > _SAME_START
        return bool(another or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _is_forsaken(study: Study, trial: FrozenTrial) -> bool:
    """Whether nobody has claimed a trial for so long that nobody will.

    When it began is by the clock, and in the time zone, of the host that began it. Which one that
    was is known only where no other has opened the study.
    """
    hosts = [name for name in study.user_attrs if name.startswith(_HOST)]
    patience = _UNCLAIMED if hosts == [_own_host()] else _UNCLAIMED_ANYWHERE
    return trial.datetime_start is not None and datetime.now() - trial.datetime_start > patience


@contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Keep Optuna from logging every trial for as long as a search runs, or let it do so."""
    before = optuna.logging.get_verbosity()
    aloud = min(before, optuna.logging.INFO)  # whatever was set for other studies
    optuna.logging.set_verbosity(optuna.logging.ERROR if enabled else aloud)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
