"""How far a search is: a live line in a terminal, elsewhere a line whenever the best improves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.progress import TextColumn, TimeElapsedColumn

from metahpo.bar import Bar
from metahpo.cli.console import err

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class TrialMeter(Bar):
    """Counts a study's finished trials and shows the best score so far; an Optuna callback.

    A study that goes on begins with the best that it has: no trial is said to have found it anew.

    Parameters
    ----------
    total : int or None
        How many trials there are to be; None where only time ends them.
    metric : str
        What the scores are.
    """

    def __init__(self, total: int | None, metric: str) -> None:
        self._metric = metric
        self._began = datetime.now()  # as Optuna dates trials
        self._best: float | None = None  # None until the study is seen
        self._of = "" if total is None else f" of {total}"
        super().__init__(
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            label="  trials",
            console=err,
            live=err.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    @property
    def idle(self) -> bool:
        """Whether no trial has been finished since it was made."""
        return self._best is None

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Count the trials that are finished, whoever ran them, and look at the latest."""
        from metahpo.search.stored import finished

        trials = finished(study)
        if self._best is None:
            self._best = _best_of(t for t in trials if _ended(t) < self._began)
        best = _best_of(trials)
        improved, self._best = best > self._best, max(best, self._best)
        if math.isfinite(best):
            words = f"best {self._metric} {best:.4f}{_gain(study, best)}"
        else:
            words = "none has a score yet"
        self._bar.update(self._task, completed=len(trials), description=words)
        if improved and not err.is_terminal:
            err.print(f"  trial {len(trials)}{self._of}: {words}", markup=False)


def _best_of(trials: Iterable[FrozenTrial]) -> float:
    return max((t.value for t in trials if t.value is not None), default=-math.inf)


def _ended(trial: FrozenTrial) -> datetime:
    return trial.datetime_complete or datetime.max


def _gain(study: Study, best: float) -> str:
    from metahpo.tuning import DEFAULT_SCORE

    default = study.user_attrs.get(DEFAULT_SCORE)
    return "" if default is None else f" ({best - default:+.4f} on the library default)"
