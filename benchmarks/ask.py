"""How long the next suggestion takes, side by side with Optuna's samplers.

Median time of CPU for one more suggestion after 50 trials, on one thread, for the space of a
support vector machine (numbers, choices and conditions) and for the choice among all learners:
metahpo draws its candidates and looks for better ones around the most promising, or chooses among
5,000 that are given.

    python benchmarks/ask.py
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import math
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import optuna
import pandas as pd

from metahpo import MetaModel, MetaOptimizer, Space
from metahpo.search.stored import suggest

N_TRIALS = 50
N_GIVEN = 5000  # candidates
REPEATS = 9


def main() -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print(f"milliseconds of CPU for a suggestion after {N_TRIALS} trials, median of {REPEATS}")
    print(f"| learner | parameters | metahpo | among {N_GIVEN:,} | Optuna TPE | Optuna GP |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for learner in ("svc", "auto"):
        model = MetaModel.load("default", learner=learner)
        tpe, gp = optuna.samplers.TPESampler, optuna.samplers.GPSampler
        cells = [
            f"{median(partial(told, model)):.1f}",
            f"{median(partial(told, model, given(model.space))):.1f}",
            f"{median(partial(study_of, tpe, model.space)):.1f}",
            f"{median(partial(study_of, gp, model.space)):.1f}",
        ]
        print(f"| {learner} | {len(model.space)} | {' | '.join(cells)} |")


def median(prepare: Callable[[], Callable[[], object]]) -> float:
    """Return the median time of CPU, in milliseconds, of what is prepared anew each time."""
    prepare()()
    taken = []
    for _ in range(REPEATS):
        ask = prepare()
        begun = time.process_time()
        ask()
        taken.append(time.process_time() - begun)
    return 1000 * statistics.median(taken)


def scores() -> np.ndarray:
    """Return scores that nothing explains: no sampler can settle."""
    return np.random.default_rng(0).normal(size=N_TRIALS)


def given(space: Space) -> pd.DataFrame:
    """Return candidates to choose among."""
    return space.to_frame(space.sample(N_GIVEN, seed=2))


def told(model: MetaModel, candidates: pd.DataFrame | None = None) -> Callable[[], object]:
    """Tell a new optimizer of the trials, as they come in a study that is under way."""
    optimizer = MetaOptimizer(model, candidates=candidates)
    trials = zip(model.space.sample(N_TRIALS, seed=1), scores().tolist(), strict=True)
    *earlier, last = trials
    for config, score in earlier:
        optimizer.tell(config, score)
    optimizer.tell(optimizer.ask(), math.nan)
    optimizer.tell(*last)
    return optimizer.ask


def study_of(
    sampler: type[optuna.samplers.TPESampler | optuna.samplers.GPSampler], space: Space
) -> Callable[[], object]:
    """Open a study with the trials."""
    study = optuna.create_study(direction="maximize", sampler=sampler(seed=0))
    for config, score in zip(space.sample(N_TRIALS, seed=1), scores(), strict=True):
        distributions = {name: space.distributions[name] for name in config}
        study.add_trial(
            optuna.trial.create_trial(
                params=config, distributions=distributions, value=float(score)
            )
        )
    return lambda: suggest(study.ask(), space)


if __name__ == "__main__":
    main()
