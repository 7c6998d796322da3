"""Tune a learner of the catalogue on a user's table, and gather what there is to report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from metahpo.catalogue import Learner
from metahpo.metamodel import DEFAULT, MetaModel
from metahpo.report import Tried, TuningResult, pipeline_code
from metahpo.sampler import MetaSampler
from metahpo.search import MetaSearchCV
from metahpo.search.folds import CrossValidation, Fold, mean_score
from metahpo.search.pipeline import Place, find_place
from metahpo.search.run import Callback, outcomes
from metahpo.search.scoring import SINGLE
from metahpo.space import Config
from metahpo.tables import LabelledTable
from metahpo.transfer import TransferReport

DEFAULT_SCORE = "metahpo:library_default"
"""User attribute of the study: what the learner scores with its library's own defaults."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What is tuned, and how it is measured.

    Parameters
    ----------
    table : LabelledTable
    learner : Learner
        One of the table's task; a union chooses the learner, too.
    metric : str
        Name of a scikit-learn scorer.
    n_folds : int, default=5
        Of the cross-validation: shuffled, and stratified for classification.
    seed : int, default=0
        Of the folds, the estimators and the suggestions.
    n_jobs : int, default=1
        Folds that are fitted side by side.
    model : MetaModel, str or Path, default="default"
    """

    table: LabelledTable
    learner: Learner
    metric: str
    n_folds: int = 5
    seed: int = 0
    n_jobs: int = 1
    model: MetaModel | str | Path = DEFAULT

    def search(
        self,
        n_trials: int | None,
        timeout: float | None = None,
        storage: str | None = None,
        study_name: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> MetaSearchCV:
        """Run the study, or go on with the stored one, and refit its best.

        Beside the trials, the library's defaults are scored once; see ``DEFAULT_SCORE``.

        Parameters
        ----------
        n_trials : int or None
            How many finished trials the study is to have, whoever ran them; None for as many as
            `timeout` allows.
        timeout : float, optional
            Seconds after which no trial is started.
        storage, study_name : str, optional
            Where the study is kept; in memory by default.
        callbacks : sequence of callable, optional
            Called with study and trial after each trial.

        Raises
        ------
        ValueError
            As :meth:`metahpo.MetaSearchCV.fit`.
        """
        search = self.unfitted(n_trials, storage, study_name).set_params(
            timeout=timeout, callbacks=[self.score_default, *callbacks]
        )
        fitted: MetaSearchCV = search.fit(self.table.X, self.table.y)
        return fitted

    def unfitted(
        self, n_trials: int | None, storage: str | None = None, study_name: str | None = None
    ) -> MetaSearchCV:
        """Return the search that :meth:`search` runs, without having run it."""
        return MetaSearchCV(
            self._pipeline,
            n_trials=n_trials,
            cv=self._folds,
            scoring=self.metric,
            n_jobs=self.n_jobs,
            random_state=self.seed,
            storage=storage,
            study_name=study_name,
            model=self.model,
            learner=self.learner,
        )

    def result(self, search: MetaSearchCV, command: str = "") -> TuningResult:
        """Gather what there is to report of a search.

        Parameters
        ----------
        search : MetaSearchCV
            From :meth:`search`.
        command : str, default=""
            What was typed.
        """
        study, sampler = search.study_, search.study_.sampler
        assert isinstance(sampler, MetaSampler)
        trials = outcomes(study)
        best = trials[search.best_index_][0].params
        default = study.user_attrs.get(DEFAULT_SCORE)
        return TuningResult(
            table=self.table,
            learner=self.learner,
            metric=self.metric,
            n_folds=self.n_folds,
            seed=self.seed,
            trials=[self._tried(n, *outcome) for n, outcome in enumerate(trials, start=1)],
            model=sampler.model,
            explanation=sampler.optimizer(study).explain(best),
            transfer=self._in_own_words(search.transfer_),
            code=self._code(self._place.own(best)),
            default_score=math.nan if default is None else default,
            command=command,
            study=study.study_name,
        )

    # ------------------------------------------------------------------ what is searched

    @cached_property
    def _pipeline(self) -> Any:
        return self.learner.make(random_state=self.seed)

    @cached_property
    def _place(self) -> Place:
        return find_place(self._pipeline, self.learner)

    @property
    def _folds(self) -> Any:
        from sklearn.model_selection import KFold, StratifiedKFold

        kind = StratifiedKFold if self.table.task == "classification" else KFold
        return kind(self.n_folds, shuffle=True, random_state=self.seed)

    def score_default(self, study: Study, trial: FrozenTrial) -> None:
        """Score the library's defaults once a study, unless a trial happened to try them."""
        if DEFAULT_SCORE in study.user_attrs:
            return
        default = self.learner.space.default
        if trial.value is not None and self._place.own(trial.params) == default:
            score = trial.value
        else:
            score = self._cross_validated(default)
        study.set_user_attr(DEFAULT_SCORE, score if math.isfinite(score) else None)

    def _cross_validated(self, config: Config) -> float:
        X, y = self.table.X, self.table.y
        splits = list(self._folds.split(X, y))
        validation = CrossValidation(X, y, splits, scoring=self.metric, n_jobs=self.n_jobs)
        folds = validation(self.learner.make(config, random_state=self.seed))
        return mean_score(folds, SINGLE, validation.error_score)

    # ------------------------------------------------------------------ what is reported

    def _tried(self, number: int, trial: FrozenTrial, folds: Sequence[Fold]) -> Tried:
        return Tried(
            number=number,
            config=self._place.own(trial.params),
            score=math.nan if trial.value is None else trial.value,
            seconds=math.nan if trial.duration is None else trial.duration.total_seconds(),
            error=next((fold["error"] for fold in folds if "error" in fold), None),
        )

    def _in_own_words(self, report: TransferReport) -> TransferReport:
        """Leave out of the parameters' names where in the pipeline they stand."""
        prefix = self._place.prefix
        return TransferReport(
            mapped=tuple(name.removeprefix(prefix) for name in report.mapped),
            clipped={n.removeprefix(prefix): how for n, how in report.clipped.items()},
            fixed={n.removeprefix(prefix): value for n, value in report.fixed.items()},
            unknown=tuple(name.removeprefix(prefix) for name in report.unknown),
        )

    def _code(self, config: Config) -> str:
        return pipeline_code(
            self.learner.make(config, random_state=self.seed, n_jobs=None),
            self.table.code,
            metric=self.metric,
            n_folds=self.n_folds,
            seed=self.seed,
            task=self.table.task,
        )
