"""Tuning a few-shot family with Optuna: warm-started from earlier families, or from nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metahpo.fewshot.taskfile import FewShotPlan
from metahpo.fewshot.tuning import DIRECTION, SPACE, Evaluation, conditions, configured, evaluate
from metahpo.space import Config

if TYPE_CHECKING:
    import optuna

    from metahpo.metamodel import MetaModel

_IDENTITY = "metahpo:fewshot"  # user attribute of a study: what its trials are measured on


@dataclass(frozen=True)
class Trial:
    """One evaluated configuration.

    Attributes
    ----------
    config : dict
    evaluation : Evaluation
    suggest_seconds : float
        Wall time that the tuner took to choose it.
    """

    config: Config
    evaluation: Evaluation
    suggest_seconds: float


def warm_study(
    model: MetaModel,
    meta_features: Mapping[str, float] | None,
    *,
    seed: int = 0,
    storage: str | None = None,
) -> optuna.Study:
    """Open a study that starts from what earlier families taught.

    Parameters
    ----------
    model : MetaModel
        From :func:`~metahpo.fewshot.experience.load_experience`.
    meta_features : mapping of str to float or None
        Of the family, from :func:`~metahpo.fewshot.meta_features.describe_family`.
    seed : int, default=0
    storage : str, optional
        Optuna's storage URL; a study that is there is gone on with, if :func:`check_identity`
        lets it.
    """
    from metahpo.sampler import MetaSampler

    sampler = MetaSampler(model, meta_features=meta_features, space=SPACE, seed=seed)
    return _study(sampler, storage)


def cold_study(*, seed: int = 0) -> optuna.Study:
    """Open a study of Optuna's TPE that starts from the default configuration."""
    import optuna

    study = _study(optuna.samplers.TPESampler(seed=seed), None)
    study.enqueue_trial(SPACE.default)
    return study


def _study(sampler: optuna.samplers.BaseSampler, storage: str | None) -> optuna.Study:
    import optuna

    return optuna.create_study(
        storage=storage,
        sampler=sampler,
        study_name="fewshot",
        direction=DIRECTION,
        load_if_exists=True,
    )


def check_identity(
    study: optuna.Study, plan: FewShotPlan, *, passes: int, seed: int, where: Path
) -> None:
    """Let a kept study go on only as it was begun: trials of other conditions do not compare.

    Parameters
    ----------
    study : optuna.Study
        A new one is told what it is of.
    plan : FewShotPlan
    passes, seed : int
        As for :func:`run_trial`.
    where : Path
        The study's file, for the error.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    from metahpo.search.stored import begun_as

    identity = {**conditions(plan), "passes": passes, "seed": seed}
    current: dict[str, Any] = json.loads(json.dumps(identity))
    stored = begun_as(study, _IDENTITY, current)
    if stored is None:
        raise ValueError(f"{where} does not say what its study tunes; give another --study")
    differing = [
        f"{what} {stored.get(what, {})} instead of {current.get(what, {})}"
        for what in dict.fromkeys((*stored, *current))
        if stored.get(what) != current.get(what)
    ]
    if differing:
        raise ValueError(
            f"{where} is a study with {' and '.join(differing)}; "
            "give another --study, or continue it as it was"
        )


def run_trial(study: optuna.Study, plan: FewShotPlan, *, passes: int, seed: int = 0) -> Trial:
    """Let a study choose a configuration, and meta-train it on a family.

    Parameters
    ----------
    study : optuna.Study
    plan : FewShotPlan
    passes : int
        Of meta-training; see :mod:`metahpo.fewshot.tuning`.
    seed : int, default=0
        Of the training.
    """
    from optuna.trial import TrialState

    asked = time.perf_counter()
    trial = study.ask(fixed_distributions=dict(SPACE.distributions))
    config = dict(trial.params)
    suggest_seconds = time.perf_counter() - asked
    done = evaluate(configured(plan, config, passes), seed)
    for name, value in asdict(done).items():
        trial.set_user_attr(name, None if math.isnan(value) else value)
    failed = math.isnan(done.score)
    study.tell(trial, None if failed else done.score, state=TrialState.FAIL if failed else None)
    return Trial(config, done, suggest_seconds)


def as_toml(config: Mapping[str, object], plan: FewShotPlan) -> str:
    """Write a configuration as the tables of a task file."""
    width = config["width"]
    net = f"filters = {width}" if plan.net.kind == "conv4" else f"hidden = [{width}, {width}]"
    return "\n".join(
        [
            "[net]",
            f'kind = "{plan.net.kind}"',
            net,
            "",
            "[learner]",
            'method = "maml"',
            f"rate = {config['inner_rate']:.4g}",
            f"steps = {config['inner_steps']}",
            f'order = "{config["order"]}"',
            "",
            "[training]",
            f"tasks = {config['task_batch']}",
            f"learning_rate = {config['outer_rate']:.4g}",
        ]
    )
