"""What each part of the surrogate is worth: metahpo with it and without it, on the same tasks.

A model is trained without the tasks that are held out, once a part is taken out of it or out of
its training. Regrets are means over tasks; ``adapted`` says how many inner steps a study takes.
The full model's steps and rates are learned; the lines with a rate and a number of steps fix them.

    python benchmarks/ablations.py --table pimp_adaboost oboe_a openml_svm_offgrid --out results
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import evidence
import numpy as np
from numpy.typing import NDArray

from metahpo import MetaModel
from metahpo.bench.engine import Engine
from metahpo.bench.histories import HistoryContest
from metahpo.bench.plan import Budget, Entrant
from metahpo.bench.ring import Unit
from metahpo.surrogate.features import FeatureOptions
from metahpo.surrogate.tasks import TaskPrior

Array = NDArray[np.float64]

SHOWN = (1, 2, 3, 5, 10, 20, 50)
FIXED = ((0.03, 1), (0.03, 3), (0.3, 1), (0.3, 3))  # rate and steps of the inner loop
NOTHING = -12.0  # logarithm of a variance that does not count


# ---------------------------------------------------------------------- models without a part


def with_adaptation(model: MetaModel, **changes: Array) -> MetaModel:
    """Change what adaptation has learned, by the names of its tensors."""
    learned = model.adaptation.tensors()
    changed = {f"adaptation.{name.replace('_', '.')}": value for name, value in changes.items()}
    assert changed.keys() <= learned.keys()
    experience = replace(model.experience, adaptation={**learned, **changed})
    return replace(model, experience=experience)


def fixed(model: MetaModel, rate: float, steps: int) -> MetaModel:
    """Let every study take so many inner steps, all at one rate."""
    rates = {f"rate_{name}": np.log(rate) for name in model.adaptation.log_rates}
    return with_adaptation(model, steps=np.array(steps), **rates)


def without_learned_start(model: MetaModel) -> MetaModel:
    """Begin at the hypotheses that were there before any task, and stay there."""
    return replace(model, experience=replace(model.experience, adaptation={}))


def without_local(model: MetaModel) -> MetaModel:
    """Let the transfer hypotheses have no task-local process; the null ones keep theirs."""
    return with_adaptation(
        model, theta_local=np.full(len(model.adaptation.theta["local"]), NOTHING)
    )


def without_particles(model: MetaModel) -> MetaModel:
    """Believe in one Gaussian over weights in place of a mixture around the training tasks."""
    weights = model.experience.prior.weights
    return _gaussian(model, np.broadcast_to(weights.mean(0), weights.shape))


def without_mean(model: MetaModel) -> MetaModel:
    """Let the training tasks shape the kernel alone."""
    return _gaussian(model, np.zeros_like(model.experience.prior.weights))


def _gaussian(model: MetaModel, centre: Array) -> MetaModel:
    known = model.experience
    away = known.prior.weights - centre
    covariance = known.prior.covariance + away.T @ away / max(len(away), 1)
    prior = TaskPrior(np.array(centre), covariance, known.prior.noise)
    memory = np.zeros_like(known.memory)
    return replace(model, experience=replace(known, prior=prior, memory=memory))


class Variant(NamedTuple):
    """metahpo without a part."""

    change: Callable[[MetaModel], MetaModel] = lambda model: model
    settings: dict[str, Any] = {}  # noqa: RUF012  # of the method
    options: FeatureOptions | None = None
    """Of the network, where it is to be trained otherwise."""


VARIANTS: dict[str, Variant] = {
    "full": Variant(),
    "no meta-features": Variant(settings={"meta_features": False}),
    "no learned mean": Variant(without_mean),
    "no local process": Variant(without_local),
    "no particles": Variant(without_particles),
    "no inner steps": Variant(lambda model: with_adaptation(model, steps=np.array(0))),
    **{
        f"rate {rate}, {steps} steps": Variant(lambda m, r=rate, s=steps: fixed(m, r, s))
        for rate, steps in FIXED
    },
    "no learned start": Variant(without_learned_start),
    "one network": Variant(options=FeatureOptions(members=1)),
    "no earlier tasks": Variant(settings={"prior": False}),
}


# ---------------------------------------------------------------------- what it costs


def regrets(unit: Unit) -> Array:
    """Tune a task, and return its regret after each trial."""
    return evidence.regret(evidence.played(unit))


def measure(given: argparse.Namespace, table: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a line for every variant on a table."""
    contests = evidence.held_out(given, table)
    known = contests[0].problem(seed=0, n_trials=None).evaluations
    chosen = {name: VARIANTS[name] for name in given.variant}
    trained = {
        options: MetaModel.fit(known, options=options)
        for options in dict.fromkeys(variant.options for variant in chosen.values())
    }
    for name, variant in chosen.items():
        model = variant.change(trained[variant.options])
        model.save(folder / f"{table} {name}")
        found = played(contests, folder / f"{table} {name}", variant, given)
        line = {"table": table, "variant": name, "tasks": len(contests)}
        line |= {f"@{n}": float(found[:, n - 1].mean()) for n in SHOWN if n <= given.trials}
        yield {**line, "adapted": model.adaptation.steps}


def played(
    contests: list[HistoryContest], model: Path, variant: Variant, given: argparse.Namespace
) -> Array:
    """Return the regrets of tasks tuned with a model: (tasks · seeds, trials)."""
    units = [
        Unit(
            replace(contest, model=str(model)),
            Entrant("metahpo", "metahpo", variant.settings),
            seed,
            Budget(trials=given.trials),
        )
        for contest in contests
        for seed in range(given.seeds)
    ]
    curves = [curve for _, curve in Engine(given.jobs).spread(regrets, units)]
    longest = max(len(curve) for curve in curves)  # a short table ends when all is tried
    return np.stack([np.pad(curve, (0, longest - len(curve)), mode="edge") for curve in curves])


def main() -> None:
    """Measure, print and write."""
    parser = evidence.histories_command_line(__doc__ or "", n_tasks=20)
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--trials", type=int, default=50, help="of a study")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    given = parser.parse_args()
    facts = evidence.begun(given)
    with tempfile.TemporaryDirectory() as folder:
        lines = (line for table in given.table for line in measure(given, table, Path(folder)))
        rows = evidence.watched(lines)
    evidence.publish("ablations", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
