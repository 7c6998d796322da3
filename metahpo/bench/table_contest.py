"""Contests on tables: a learner of the catalogue, nested in the task's own cross-validation."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metahpo.bench.contest import Contest, Trial
from metahpo.bench.experience import Experience, model_folder
from metahpo.bench.fitting import Fitting, fit
from metahpo.bench.importing import find_learner
from metahpo.bench.plan import Plan
from metahpo.bench.problem import Knowledge, Problem, Table
from metahpo.bench.tables import Part, Prepared
from metahpo.collect import Settings
from metahpo.collect.features import table_features
from metahpo.collect.plan import DEFAULT_METRIC
from metahpo.collect.tables import read_table
from metahpo.metafeatures import MetaFeatures
from metahpo.space import Config


@dataclass(frozen=True)
class TableContest(Contest):
    """A learner of the catalogue on an outer fold of a table.

    Attributes
    ----------
    part : Part
    settings : Settings
    experience : Experience
    """

    part: Part
    settings: Settings
    experience: Experience

    def problem(self, seed: int, n_trials: int | None) -> Problem:
        """Pose the problem."""
        learner = find_learner(self.learner, self.settings.task)
        return Problem(
            space=learner.space,
            direction=self.direction,
            metric=self.metric,
            seed=seed,
            n_trials=n_trials,
            learner=learner,
            knowledge=Knowledge(
                model=self.experience.load_model,
                evaluations=self.experience.load_evaluations,
                describe=self._describe,
                table=self._table,
            ),
        )

    def evaluate(self, config: Config) -> Trial:
        """Cross-validate a configuration on the training part."""
        return self._cross_validated(config, 1.0)

    def glimpse(self, config: Config, share: float) -> Trial:
        """Cross-validate a configuration on a share of the training part."""
        return self._cross_validated(config, share)

    def _cross_validated(self, config: Config, share: float) -> Trial:
        done = fit(replace(self._fitting(config, test=None), share=share))
        seconds = float(np.nan_to_num(done.fit_seconds)) + done.score_seconds
        return Trial(done.score, seconds, done.status, done.error)

    def test(self, config: Config) -> float:
        """Fit a configuration on the whole training part and score it on the test part."""
        if self.part.test is None:
            return math.nan
        return fit(self._fitting(config, self.part.test)).score

    def _fitting(self, config: Config, test: Path | None) -> Fitting:
        text = json.dumps(config, sort_keys=True)
        return Fitting(self.learner, text, self.part.train, test, self.settings)

    @property
    def own_model(self) -> str | None:
        """Folder of the refitted model, where the plan's own knows the task."""
        return self.experience.model if self.experience.without else None

    def warm_up(self) -> None:
        """Describe the table: what that costs is counted by the methods that ask for it."""
        self._describe()

    def _describe(self) -> MetaFeatures:
        return table_features(self.part.train, self.settings)

    def _table(self) -> Table:
        return Table(*read_table(self.part.train), self.settings.n_folds)


def table_contests(task: Prepared, plan: Plan) -> list[TableContest]:
    """Return a task's contests: its learners and folds."""
    metric = plan.metric or DEFAULT_METRIC[task.kind]
    contests = []
    for name in plan.learners:
        learner = find_learner(name, task.kind)
        experience = Experience(
            learner.name, task.kind, model_folder(plan.model, learner.name), plan.evaluations
        )
        contests += [
            TableContest(
                task=task.info["name"],
                task_id=task.task_id,
                learner=name if ":" in name else learner.name,
                metric=metric,
                direction="maximize",
                fold=part.fold,
                part=part,
                settings=plan.settings(task.kind, metric),
                experience=experience,
            )
            for part in task.parts
        ]
    return contests
