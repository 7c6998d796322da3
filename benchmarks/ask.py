"""How long the next suggestion takes, side by side with Optuna's samplers.

Time of CPU for a suggestion, on one thread, while a study goes on after 50 trials: for the space
of a support vector machine (numbers, choices and conditions) and for the choice among all
learners. ``metahpo`` draws its candidates, others over the whole space every eighth trial, and
looks for better ones around the most promising; ``among 5,000`` it chooses among candidates that
are given; as Optuna's ``MetaSampler`` it reads the study anew at every trial. In brackets the
mean.

    python benchmarks/ask.py
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd

from metahpo import MetaModel, MetaOptimizer, MetaSampler, Space
from metahpo.catalogue import resolve_learner
from metahpo.search.stored import suggest

N_TRIALS = 50  # before the first suggestion that counts
N_GIVEN = 5000  # candidates
TURNS = 16  # suggestions that count
STUDIES = 3


class Study(NamedTuple):
    """A study under way."""

    ask: Callable[[], Any]
    tell: Callable[[Any, float], object]


def main() -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print(
        f"milliseconds of CPU for a suggestion after {N_TRIALS} trials: median (mean) of {TURNS}"
    )
    names = ("metahpo", f"among {N_GIVEN:,}", "MetaSampler", "Optuna TPE", "Optuna GP")
    print(f"| learner | parameters | {' | '.join(names)} |")
    print(f"| --- | ---: |{' ---: |' * len(names)}")
    for learner in ("svc", "auto"):
        model = MetaModel.load("default", learner=learner)
        given = model.space.to_frame(model.space.sample(N_GIVEN, seed=2))
        tpe, gp = optuna.samplers.TPESampler, optuna.samplers.GPSampler
        space = resolve_learner(learner, "classification").space
        cells = [
            taken(partial(own, model)),
            taken(partial(own, model, given)),
            taken(partial(optunas, partial(MetaSampler, learner=learner), space)),
            taken(partial(optunas, tpe, space)),
            taken(partial(optunas, gp, space)),
        ]
        print(f"| {learner} | {len(model.space)} | {' | '.join(cells)} |")


def taken(begun: Callable[[], Study]) -> str:
    """Return what suggestions take while studies go on, in milliseconds of CPU."""
    seconds = []
    for _ in range(STUDIES):
        study = begun()
        for score in scores(TURNS + 1):
            before = time.process_time()
            suggested = study.ask()
            seconds.append(time.process_time() - before)
            study.tell(suggested, score)
    turns = 1000 * np.array(seconds).reshape(STUDIES, -1)[:, 1:]  # the first loads and compiles
    return f"{np.median(turns):.1f} ({turns.mean():.1f})"


def scores(n: int) -> list[float]:
    """Return scores that nothing explains: no sampler can settle."""
    found: list[float] = np.random.default_rng(n).normal(size=n).tolist()
    return found


def own(model: MetaModel, candidates: pd.DataFrame | None = None) -> Study:
    """Tell an optimizer of the trials."""
    optimizer = MetaOptimizer(model, candidates=candidates)
    for config, score in zip(model.space.sample(N_TRIALS, seed=1), scores(N_TRIALS), strict=True):
        optimizer.tell(config, score)
    return Study(optimizer.ask, optimizer.tell)


def optunas(sampler: Callable[..., optuna.samplers.BaseSampler], space: Space) -> Study:
    """Open an Optuna study with the trials."""
    study = optuna.create_study(direction="maximize", sampler=sampler(seed=0))
    for config, score in zip(space.sample(N_TRIALS, seed=1), scores(N_TRIALS), strict=True):
        distributions = {name: space.distributions[name] for name in config}
        study.add_trial(
            optuna.trial.create_trial(params=config, distributions=distributions, value=score)
        )

    def ask() -> optuna.Trial:
        trial = study.ask()
        suggest(trial, space)
        return trial

    return Study(ask, study.tell)


if __name__ == "__main__":
    main()
