"""MetaSampler: MetaOptimizer as an Optuna sampler.

The sampler remembers nothing of a study's trials. Whenever one needs parameters it reads them,
infers what the objective suggests from (:mod:`metahpo.observed`), and asks a fresh
:class:`~metahpo.MetaOptimizer` that was told all of it. So it makes no difference which sampler,
thread or process made the earlier trials.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence, Set
from copy import copy
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metahpo.catalogue import resolve_learner, task_named
from metahpo.growth import seconds_taken
from metahpo.hint import hint
from metahpo.metadataset import Direction
from metahpo.metafeatures import describe
from metahpo.metamodel import DEFAULT, MetaModel
from metahpo.observed import (
    Shown,
    checked_fixed,
    narrowed,
    nearest_configs,
    observed_space,
    pinned,
)
from metahpo.optimizer import MetaOptimizer
from metahpo.space import Config, Space, as_space
from metahpo.transfer import Transfer, TransferReport

Task = Literal["classification", "regression"]

_logger = logging.getLogger(__name__)

_STARTING = 8  # trials that have begun and show nothing yet: so many of them are allowed for


class MetaSampler(BaseSampler):
    """Sample an Optuna study's parameters from a meta-model's experience and the study's trials.

    A drop-in for Optuna's samplers: ``study.optimize`` with any ``n_jobs``, ask-and-tell,
    pruners, every storage, several processes on one study. Parameters are recognised by their
    name; those the model does not know are tuned by the study's own trials. Ranges and choices
    are the objective's own, whatever the model's are.

    Parameters
    ----------
    model : MetaModel, str or Path, default="default"
        A meta-model, the folder of one, or "default" for the shipped one of `learner`.
    learner : str, optional
        A learner of the catalogue or its family, such as "svc" or "random_forest": whose shipped
        model is used, and what the objective is expected to suggest. "auto", the choice among
        all learners, by default.
    X, y : optional
        The dataset that is tuned on, described once, here; see :func:`metahpo.describe`.
    meta_features : mapping of str to float, optional
        The dataset's meta-features, instead of `X` and `y`. Without either all training tasks
        count equally.
    space : Space or mapping of str to Optuna distribution, optional
        What the objective suggests from, where it is not the space of the learner or model.
        Only the first trial depends on it; afterwards the trials show what is suggested.
    task : {"classification", "regression"}, optional
        By default what `y`, the meta-features or the learner's name say.
    fixed : mapping, optional
        Values of parameters that the model knows and the objective does not suggest.
    prefix : str, default=""
        What the objective puts in front of the model's names: "svc__" where it suggests
        "svc__C". It belongs to the names in `space` and `fixed`, too.
    seed : int, optional
        The same seed and the same trials give the same suggestion; without, runs differ once
        something is drawn that no earlier task has tried.
    cost_aware : bool, default=False
        Whether to suggest what promises the largest improvement per second, for studies that end
        after a time: see :class:`~metahpo.MetaOptimizer`. What a trial took is the user attribute
        ``metahpo:seconds`` where it has one, else the time from its start to its end.

    Attributes
    ----------
    model : MetaModel
    meta_features : mapping of str to float, or None
    space : Space
        What the objective is expected to suggest.
    transfer : TransferReport
        What of the space is known to the model: of the expected space at first, then of the one
        that the trials have shown when parameters were last sampled.

    Raises
    ------
    ValueError
        If the learner or a fixed parameter is unknown, the dataset cannot be described,
        `meta_features` are none of the model's or no numbers, the model's folder is damaged, or
        the model was trained without seconds and `cost_aware` is set; from a study, if it has
        several objectives or constraints.
    TypeError
        If `meta_features` or `fixed` is no mapping, `space` no space, or `learner` no name.

    Notes
    -----
    Trials that other samplers suggested, that were enqueued or added count like its own. A failed
    trial, and one with an infinite value, counts as bad as the worst; a pruned one at its last
    intermediate value, but not as better than the median of the completed; a running one as if
    it had come out as predicted. Of a study with a ``HyperbandPruner`` Optuna shows a sampler one
    bracket at a time: each begins with the same configurations.

    Examples
    --------
    >>> sampler = MetaSampler(learner="svc", X=X, y=y)                           # doctest: +SKIP
    >>> study = optuna.create_study(direction="maximize", sampler=sampler)       # doctest: +SKIP
    >>> study.optimize(objective, n_trials=20)                                   # doctest: +SKIP
    """

    def __init__(
        self,
        model: MetaModel | str | Path = DEFAULT,
        learner: str | None = None,
        X: Any = None,
        y: Any = None,
        *,
        meta_features: Mapping[str, float] | None = None,
        space: Space | Mapping[str, BaseDistribution] | None = None,
        task: Task | None = None,
        fixed: Mapping[str, Any] | None = None,
        prefix: str = "",
        seed: int | None = None,
        cost_aware: bool = False,
    ) -> None:
        self.meta_features = _meta_features(X, y, meta_features, task)
        task = self._task = task or _task(self.meta_features, learner)
        if not isinstance(model, MetaModel):
            model = MetaModel.load(model, learner=learner, task=task)
        self._prefix = prefix
        self.model = _prefixed(model, prefix)
        self.model.relevance.check(self.meta_features)
        if cost_aware:
            self.model.cost_belief()  # raises where the model knows no seconds
        self._cost_aware = cost_aware
        if space is not None:
            space = as_space(space)
        elif learner is not None:
            space = resolve_learner(learner, task).space.prefixed(prefix)
        self._fixed = checked_fixed(fixed or {}, self.model.space)
        self.space = observed_space(
            self.model.space if space is None or space == self.model.space else space,
            [],
            self._fixed,
        )
        self.transfer: TransferReport = Transfer(self.space, self.model.space, self._fixed).report
        self._noted: tuple[tuple[str, ...], dict[str, str]] = ((), {})
        self._entropy = np.random.SeedSequence(seed).entropy
        self._inferred: dict[int, set[str]] = {}  # by trial, until it is sampled
        self._last: MetaOptimizer | None = None  # what it found out serves the next

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is soon made again."""
        return {**self.__dict__, "_last": None}

    def reseed_rng(self) -> None:
        """Draw a new seed; Optuna calls this where several threads share the sampler."""
        self._entropy = np.random.SeedSequence().entropy

    # ------------------------------------------------------------------ Optuna's three questions

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what the study's trials have suggested from, each parameter as it was last.

        Expected parameters that no trial has shown yet are left to :meth:`sample_independent`,
        which sees the objective's own distribution: Optuna takes a difference to it for an error.
        """
        _refuse_multi_objective(study)
        trials = study.get_trials(deepcopy=False)
        inferred = {name: d for one in trials for name, d in one.distributions.items()}
        self._inferred[trial.number] = set(inferred)
        return inferred

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the configuration to try next, as far as it lies in `search_space`.

        Where another sampler has taken parameters out of it, to give them values of its own, these
        are taken to be the same as in the last trial that has them.
        """
        _refuse_multi_objective(study)
        # not what there is now: other threads and processes may have shown more meanwhile
        whole = self._inferred.pop(trial.number, set())
        if not search_space:
            return {}
        if held := whole - search_space.keys():
            trial = _as_if_shown(trial, held, study.get_trials(deepcopy=False))
        plan = self._plan(study, trial, asked={})
        return {n: _original(d, plan[n]) for n, d in search_space.items() if n in plan}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a value for one parameter, given what the trial has suggested already.

        A parameter that neither the model nor any trial knows is drawn uniformly.
        """
        _refuse_multi_objective(study)
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        if param_name not in self.space.distributions and not any(
            param_name in other.distributions for other in others
        ):
            plain = Space({param_name: _plain(param_distribution)})
            drawn = plain.sample(1, self._seed(trial, param_name), method="random")[0]
            return _original(param_distribution, drawn[param_name])
        plan = self._plan(study, trial, {param_name: param_distribution})
        return _original(param_distribution, plan[param_name])

    # ------------------------------------------------------------------ the optimizer behind

    def optimizer(self, study: Study) -> MetaOptimizer:
        """Return a MetaOptimizer that has been told the study's trials: to explain, or to ask.

        Raises
        ------
        ValueError
            If the study has several objectives or constraints.
        """
        _refuse_multi_objective(study)
        trials = study.get_trials(deepcopy=False)
        return self._told(study, trials, [_shown(trial) for trial in trials], seed=0)

    def _plan(
        self, study: Study, trial: FrozenTrial, asked: Mapping[str, BaseDistribution]
    ) -> Config:
        """Choose a trial's configuration: another, if one that is beside it was given the same.

        While one is chosen, trials go on in other threads and processes: one can show what it was
        given, and what has ended meanwhile can change what is best for the next to come.
        """
        plan = self._choice(study, trial, asked)
        while _is_taken(plan, study, trial):
            last, plan = plan, self._choice(study, trial, asked)
            if plan == last:
                break  # it is known, and still the best
        return plan

    def _choice(
        self, study: Study, trial: FrozenTrial, asked: Mapping[str, BaseDistribution]
    ) -> Config:
        """Choose a configuration, what the trial has suggested and what is asked for included."""
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        given = _plain_params(trial)
        own = Shown(given, _plain_all(trial.distributions | dict(asked)), finished=False)
        shown = [*(_shown(other) for other in others), own]
        optimizer = self._told(study, others, shown, seed=self._seed(trial))
        latest = {name: d for one in shown for name, d in one.distributions.items()}
        within = narrowed(optimizer.space, latest)
        self._begin(optimizer, within, others, trial.number)
        return optimizer.ask(within=pinned(within, given))

    def _told(
        self, study: Study, trials: Sequence[FrozenTrial], shown: Sequence[Shown], seed: int
    ) -> MetaOptimizer:
        """Make an optimizer of the space that is shown and tell it the finished trials."""
        _refuse_constraints(trials)
        optimizer = self._fresh(
            observed_space(self.space, shown, self._fixed),
            "minimize" if study.direction == StudyDirection.MINIMIZE else "maximize",
            seed,
        )
        self._note(optimizer.transfer, certain=any(one.finished for one in shown))
        scored = _scores(trials, study.direction)
        configs = nearest_configs(optimizer.space, [_plain_params(trial) for trial, _ in scored])
        for config, (trial, score) in zip(configs, scored, strict=True):
            optimizer.tell(config, score, seconds=seconds_taken(trial))
        return optimizer

    def _fresh(self, space: Space, direction: Direction, seed: int) -> MetaOptimizer:
        """Make an optimizer, from the last one where it was of the same kind."""
        last = self._last
        if last is not None and last.space == space and last.direction == direction:
            fresh = last.afresh(seed)
        else:
            fresh = MetaOptimizer(
                self.model,
                self.meta_features,
                space,
                seed=seed,
                fixed=self._fixed,
                direction=direction,
                cost_aware=self._cost_aware,
            )
        self._last = fresh
        return fresh

    def _begin(
        self,
        optimizer: MetaOptimizer,
        within: Space,
        trials: Sequence[FrozenTrial],
        number: int,
    ) -> None:
        """Tell an optimizer of the running trials.

        One that began earlier and does not show all its parameters yet is taken to be given the
        rest by this very sampler: else threads and processes that start together would all try
        the same configuration. So is one that died before it showed anything, while another was
        being chosen that still is: that one was chosen beside it.
        """
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        begun = [t.datetime_start for t in running if not t.params and t.datetime_start]
        beside = [t for t in trials if begun and _died_unseen(t, since=min(begun))]
        shown = sorted([*running, *beside], key=lambda trial: trial.number)
        configs = nearest_configs(optimizer.space, [_plain_params(trial) for trial in shown])
        starting = 0
        for trial, config in zip(shown, configs, strict=True):
            partial = len(config) < len(optimizer.space.active(config))
            if partial and starting < _STARTING and (config or trial.number < number):
                starting += 1
                optimizer.anticipate(pinned(within, config))
            elif config:
                optimizer.begin(config)

    def _note(self, report: TransferReport, *, certain: bool) -> None:
        """Keep the report, and say once what the model does not know of the objective's space."""
        self.transfer = report
        news = (report.unknown, report.clipped)
        if certain and news != self._noted:
            self._noted = news
            _logger.warning("MetaSampler: %s", self._said(report))

    def _said(self, report: TransferReport) -> str:
        if not report.mapped:
            unknown, known = report.unknown, self.model.space.names
            return (
                f"the model knows nothing of what is tuned: {', '.join(unknown)}"
                f"{hint(unknown, known, self._prefix, self._task)}"
            )
        if report.unknown:
            return f"the model does not know all that is tuned; {report}"
        return f"what is tuned reaches beyond what the model has seen; {report}"

    def _seed(self, trial: FrozenTrial, name: str = "") -> int:
        """Derive a seed from the trial: the same whenever and wherever its turn comes."""
        words = (trial.number, crc32(name.encode()))
        return int(np.random.SeedSequence(self._entropy, spawn_key=words).generate_state(1)[0])


# ---------------------------------------------------------------------- what is tuned


def _as_if_shown(
    trial: FrozenTrial, names: Set[str], others: Sequence[FrozenTrial]
) -> FrozenTrial:
    """Return a trial that shows parameters, too, as the last of some others has them."""
    given = copy(trial)
    for name in names:
        last = next(other for other in reversed(others) if name in other.params)
        given.params = {name: last.params[name], **given.params}
        given.distributions = {name: last.distributions[name], **given.distributions}
    return given


def _is_taken(plan: Config, study: Study, trial: FrozenTrial) -> bool:
    """Tell whether another trial that has not failed shows a configuration, or begins to."""
    others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
    params = (_plain_params(other) for other in others if other.state != TrialState.FAIL)
    return any(shown and shown.items() <= plan.items() for shown in params)


def _died_unseen(trial: FrozenTrial, since: datetime) -> bool:
    """Tell whether a trial failed after a moment, and had shown no parameter."""
    ended = trial.datetime_complete
    failed = trial.state == TrialState.FAIL and not trial.params
    return failed and ended is not None and ended > since


def _meta_features(
    X: Any, y: Any, given: Mapping[str, float] | None, task: Task | None
) -> Mapping[str, float] | None:
    if (X is None) != (y is None):
        missing = "y" if y is None else "X"
        raise ValueError(f"the dataset lacks {missing}; give X and y, or neither")
    if X is None:
        return given
    if given is not None:
        raise ValueError("both X, y and meta_features are given; give one of them")
    return describe(X, y, task or "auto")


def _task(meta_features: Mapping[str, float] | None, learner: str | None) -> Task:
    found: Task | None = getattr(meta_features, "task", None)
    return task_named(learner) if found is None else found


def _prefixed(model: MetaModel, prefix: str) -> MetaModel:
    if not prefix:
        return model
    pool = [{prefix + name: value for name, value in config.items()} for config in model.pool]
    experience = replace(model.experience, pool=pool)
    return replace(model, space=model.space.prefixed(prefix), experience=experience)


# ---------------------------------------------------------------------- reading trials


def _refuse_multi_objective(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(
            f"MetaSampler tunes one objective, the study has {len(study.directions)}; use "
            "optuna.samplers.NSGAIISampler, or combine the objectives into one value"
        )


def _refuse_constraints(trials: Sequence[FrozenTrial]) -> None:
    for trial in trials:
        # Optuna 5 has FrozenTrial.constraints; before, samplers kept them among the attributes
        if getattr(trial, "constraints", None) or trial.system_attrs.get("constraints"):
            raise ValueError(
                f"MetaSampler does not handle constraints, and trial {trial.number} has some; "
                "use optuna.samplers.GPSampler, or return a penalised value"
            )


def _shown(trial: FrozenTrial) -> Shown:
    return Shown(
        _plain_params(trial),
        _plain_all(trial.distributions),
        finished=trial.state in (TrialState.COMPLETE, TrialState.PRUNED),
    )


def _scores(
    trials: Sequence[FrozenTrial], direction: StudyDirection
) -> list[tuple[FrozenTrial, float]]:
    """Return the finished trials with their scores, NaN for failures."""
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = [value for value in map(_value, completed) if value is not None]
    middle = statistics.median(values) if values else None
    worse = max if direction == StudyDirection.MINIMIZE else min
    succeeded = [trial.params for trial in completed]
    scores = []
    for trial in trials:
        value = _value(trial)
        if trial.state == TrialState.PRUNED and value is not None and middle is not None:
            # it was stopped for being worse than others; how good it would be, nobody knows
            value = worse(value, middle)
        # a crash that went well when it was tried again says nothing on its parameters
        retried = trial.state == TrialState.FAIL and trial.params in succeeded
        if trial.state.is_finished() and trial.params and not retried:
            scores.append((trial, math.nan if value is None else value))
    return scores


def _value(trial: FrozenTrial) -> float | None:
    """Return a completed trial's value, a pruned one's last report; None where not a number."""
    value: float | None
    if trial.state == TrialState.PRUNED and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    else:
        value = trial.value
    return value if value is not None and math.isfinite(value) else None


# ---------------------------------------------------------------------- choices of any kind


def _plain_all(distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    return {name: _plain(distribution) for name, distribution in distributions.items()}


def _plain(distribution: BaseDistribution) -> Any:
    """Return a distribution whose choices are plain values: objects stand as their labels.

    Optuna lets a study in memory choose among tuples, classes and the like.
    """
    if isinstance(distribution, CategoricalDistribution) and not _is_plain(distribution):
        return CategoricalDistribution(_labels(distribution))
    return distribution


def _labels(distribution: CategoricalDistribution) -> list[str]:
    return [f"{i}: {choice!r}" for i, choice in enumerate(distribution.choices)]


def _is_plain(distribution: CategoricalDistribution) -> bool:
    choices = distribution.choices
    plain = all(
        choice is None or isinstance(choice, bool | int | float | str) for choice in choices
    )
    return plain and len({c for c in choices if c == c}) == len(choices)  # no NaN, no 1 and True


def _plain_params(trial: FrozenTrial) -> Config:
    plain: Config = {}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        if isinstance(distribution, CategoricalDistribution) and not _is_plain(distribution):
            value = _labels(distribution)[int(distribution.to_internal_repr(value))]
        plain[name] = value
    return plain


def _original(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution) and not _is_plain(distribution):
        return distribution.choices[_labels(distribution).index(value)]
    return value
