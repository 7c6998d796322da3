"""The trials of a study whose parameters can be held against each other.

Where parameters are conditional, no two trials need to have the same ones. Optuna's importances
and parallel coordinates are of trials that have them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metahpo.catalogue import ROOT, Learner, UnionLearner
from metahpo.report.result import TuningResult
from metahpo.space import Config

if TYPE_CHECKING:
    import optuna

_LEAST = 4  # scored trials below which there is nothing to compare


@dataclass(frozen=True, eq=False)
class Comparison:
    """Some trials and the parameters that all of them have.

    Attributes
    ----------
    learner : Learner
        Whose parameters they are: the best one's, where learners were chosen among.
    names : tuple of str
        The parameters, in the learner's words; those with a single value are left out.
    study : optuna.Study
        The trials, in memory.
    n_trials : int
        How many there are.
    n_of_learner : int
        How many scored trials the learner has.
    """

    learner: Learner
    names: tuple[str, ...]
    study: optuna.Study
    n_trials: int
    n_of_learner: int


def comparison(result: TuningResult) -> Comparison | None:
    """Compare the trials that set all that the best one sets, or else what every trial sets.

    Returns
    -------
    Comparison or None
        None where too few trials, or none that differ, are left.
    """
    learner, best = _own(result.learner, result.best.config)
    own = [
        (_own(result.learner, trial.config)[1], trial.score)
        for trial in result.trials
        if not trial.failed and trial.config.get(ROOT) == result.best.config.get(ROOT)
    ]
    shared = [name for name in best if all(name in config for config, _ in own)]
    for names in (list(best), shared):
        trials = [(c, score) for c, score in own if all(name in c for name in names)]
        varied = tuple(n for n in names if len({repr(config[n]) for config, _ in trials}) > 1)
        if len(trials) >= max(_LEAST, len(own) / 2) and varied and _differ(trials):
            study = _study(learner, varied, trials)
            return Comparison(learner, varied, study, len(trials), len(own))
    return None


def _own(learner: Learner, config: Config) -> tuple[Learner, Config]:
    return learner.split(config) if isinstance(learner, UnionLearner) else (learner, config)


def _differ(trials: list[tuple[Config, float]]) -> bool:
    return len({score for _, score in trials}) > 1


def _study(
    learner: Learner, names: tuple[str, ...], trials: list[tuple[Config, float]]
) -> optuna.Study:
    import optuna

    distributions: dict[str, Any] = {name: learner.space.distributions[name] for name in names}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # that a study was created is no news
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
    study.add_trials(
        optuna.trial.create_trial(
            params={name: config[name] for name in names},
            distributions=distributions,
            value=score,
        )
        for config, score in trials
    )
    return study
