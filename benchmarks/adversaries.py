"""What experience that misleads costs, beside Optuna's GP that has none.

The training tasks of a table are made to mislead, one way after the other; a model is trained on
them and tunes tasks held out. Regret is normalised, (optimum - best so far) / (optimum - worst),
and is the mean over the trials from the 20th on, over tasks and over seeds; the GP starts from the
library's default, on the same tasks with the same seeds. Below 1 metahpo is ahead; the interval
holds 90% of the ratios that other tasks would give (bootstrap over tasks). Trust is the mean of
``MetaOptimizer.trust`` after so many trials. ``flat`` and ``constant`` mislead by their targets:
on them all scores but the best tenth, or all, are the same.

    python benchmarks/adversaries.py --table pimp_adaboost --tasks 10 --out results
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import evidence
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.stats import bootstrap

from metahpo import MetaDataset, MetaModel, MetaOptimizer
from metahpo.bench.contest import Bounds, Trial
from metahpo.bench.engine import Engine
from metahpo.bench.histories import HistoryContest
from metahpo.bench.plan import Budget, Entrant
from metahpo.bench.ring import Unit
from metahpo.space import Config

FROM = 20  # the trial from which on regret counts
LOOKS = (5, 20, 50)  # trials after which trust is read
PEER = "gp_default"
GARBAGE = 0.1  # share of the scores that are replaced
SHIFT = 1 / 3  # of a number's range
FLAT = 0.9  # share of a flat target's scores that are the same

Array = NDArray[np.float64]
Twist = Callable[[MetaDataset, np.random.Generator], MetaDataset]


# ---------------------------------------------------------------------- sources that mislead


def truthful(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Leave the tasks as they are."""
    return md


def negated(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Turn every task upside down."""
    return replace(md, trials=md.trials.assign(score=-md.trials["score"]))


def permuted(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Let every configuration stand for another one, the same in all tasks."""
    keys = pd.Series(md.space.codes(md.trials).row_keys)
    which, distinct = pd.factorize(keys)
    first = np.unique(which, return_index=True)[1]
    return _with_configs(md, md.trials.iloc[first[rng.permutation(len(distinct))[which]]])


def shifted(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Move every number by a third of its range, beyond its end to its beginning."""
    numbers = [column.choice is None for column in md.space.columns]
    rows = md.space.encode(md.trials)
    rows[:, numbers] = (rows[:, numbers] + SHIFT) % 1.0
    return _with_configs(md, md.space.to_frame(md.space.decode(rows)))


def _with_configs(md: MetaDataset, configs: pd.DataFrame) -> MetaDataset:
    names = list(md.space.names)
    others = md.trials.drop(columns=names)
    trials = pd.concat([others, configs[names].set_axis(others.index, axis=0)], axis=1)
    return replace(md, trials=trials[list(md.trials)])


def foreign(md: MetaDataset, rng: np.random.Generator, other: MetaDataset) -> MetaDataset:
    """Replace each task's scores by what another learner scored on some task of its own.

    A configuration has the score of that task's configuration whose code is nearest, column by
    column as far as both spaces have columns.
    """
    columns = min(len(md.space.columns), len(other.space.columns))
    here = md.space.encode(md.trials)[:, :columns]
    there = other.space.encode(other.trials)[:, :columns]
    scores = md.trials["score"].to_numpy(dtype=float, copy=True)
    donors = rng.permutation(np.resize(other.task_ids, len(md)))
    for task_id, donor in zip(md.task_ids, donors, strict=True):
        own, rows = md.trials["task_id"] == task_id, other.trials["task_id"] == donor
        nearest = KDTree(there[rows]).query(here[own])[1]
        scores[own] = other.trials["score"].to_numpy(dtype=float)[rows][nearest]
    return replace(md, trials=md.trials.assign(score=scores))


def duplicated(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Add as many copies of one task as there are tasks."""
    chosen = str(rng.choice(md.task_ids))
    original = md.trials[md.trials["task_id"] == chosen]
    names = [f"copy {i} of {chosen}" for i in range(len(md))]
    copies = [original.assign(task_id=name) for name in names]
    tasks = md.tasks
    if tasks is not None:
        tasks = pd.concat([tasks, tasks.loc[[chosen] * len(names)].set_axis(names, axis=0)])
    return MetaDataset.from_frames(
        pd.concat([md.trials, *copies], ignore_index=True),
        tasks,
        space=md.space,
        direction=md.direction,
        metric=md.metric,
    )


def single(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Keep one task."""
    return md.subset([str(rng.choice(md.task_ids))])


def garbage(md: MetaDataset, rng: np.random.Generator) -> MetaDataset:
    """Replace a tenth of the scores by some that are anything, and far off at times."""
    score = md.trials["score"]
    by_task = score.groupby(md.trials["task_id"])
    centre, spread = by_task.transform("median"), by_task.transform(np.ptp)
    wrong = rng.random(len(score)) < GARBAGE
    anything = centre + spread * rng.standard_cauchy(len(score))
    return replace(md, trials=md.trials.assign(score=score.where(~wrong, anything)))


# ---------------------------------------------------------------------- targets that mislead


@dataclass(frozen=True)
class Flattened(HistoryContest):
    """A task on which no score is worse than a level: below it all are the same."""

    level: float

    def evaluate(self, config: Config) -> Trial:
        """Look a configuration up, and raise it to the level."""
        trial = super().evaluate(config)
        better = max if self.direction == "maximize" else min
        return trial._replace(score=better(trial.score, self.level))

    @property
    def bounds(self) -> Bounds:
        """The best that the table has, and the level."""
        return Bounds(super().bounds.optimum, self.level)


def flattened(contest: HistoryContest, share: float) -> Flattened:
    """Let a share of a task's scores, from the worst one on, be the same."""
    scores = contest.table.pool(contest.task_id)["score"]
    share = share if contest.direction == "maximize" else 1.0 - share
    return Flattened(**vars(contest), level=float(scores.quantile(share)))


# ---------------------------------------------------------------------- what it costs


class Adversary(NamedTuple):
    """What is made of the training tasks, and of the target."""

    sources: Twist = truthful
    target: str = "itself"


NAMES = (
    *("none", "negated", "permuted", "shifted", "foreign", "duplicated", "single", "garbage"),
    *("flat", "constant"),
)
TARGETS: dict[str, Callable[[HistoryContest], HistoryContest]] = {
    "itself": lambda contest: contest,
    "flat": partial(flattened, share=FLAT),
    "constant": partial(flattened, share=1.0),
}


def adversaries(names: Sequence[str], other: MetaDataset) -> dict[str, Adversary]:
    """Return adversaries by name; `other` is another learner's history, for ``foreign``."""
    twists = (negated, permuted, shifted, duplicated, single, garbage)
    known = {
        "none": Adversary(),
        **{twist.__name__: Adversary(twist) for twist in twists},
        "foreign": Adversary(partial(foreign, other=other)),
        "flat": Adversary(target="flat"),
        "constant": Adversary(target="constant"),
    }
    return {name: known[name] for name in names}


def study(unit: Unit) -> dict[str, Any]:
    """Let a method tune a task: its regret from trial FROM on, and its trust on the way."""
    rows = evidence.played(unit)
    late = evidence.regret(rows)[FROM - 1 :].mean()
    facts = {"task": unit.contest.task_id, "regret": float(late)}
    return facts if unit.entrant.name == PEER else {**facts, **trust(unit, rows)}


def trust(unit: Unit, rows: pd.DataFrame) -> dict[str, float]:
    """Tell a study again, and read the trust after LOOKS trials."""
    problem = unit.contest.problem(unit.seed, None)
    optimizer = MetaOptimizer(problem.model, problem.meta_features, **problem.options())
    seen = {}
    for trial, config, score in rows[["trial", "config", "score"]].itertuples(index=False):
        optimizer.tell(json.loads(config), score)
        if trial in LOOKS:
            seen[f"trust @{trial}"] = optimizer.trust
    return seen


def train(job: tuple[Twist, HistoryContest]) -> None:
    """Train the model of a contest on tasks that have been twisted."""
    twist, contest = job
    known = contest.problem(seed=0, n_trials=None).evaluations
    model = MetaModel.fit(twist(known, np.random.default_rng(0)))
    model.save(contest.model)


def tuned(
    contests: Sequence[HistoryContest], method: str, given: argparse.Namespace
) -> pd.DataFrame:
    """Let a method tune all tasks with all seeds; return the means of each task."""
    units = [
        Unit(contest, Entrant(method, method), seed, Budget(trials=given.trials))
        for contest in contests
        for seed in range(given.seeds)
    ]
    found = pd.DataFrame([facts for _, facts in Engine(given.jobs).spread(study, units)])
    return found.groupby("task").mean()


def measure(given: argparse.Namespace, table: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a line for every adversary on a table."""
    contests = evidence.held_out(given, table)
    lender = next(name for name in given.foreign if name != table)
    other = evidence.held_out(given, lender)[0].problem(0, None).evaluations
    chosen = adversaries(given.adversary, other)
    twists = dict.fromkeys(adversary.sources for adversary in chosen.values())
    models = {twist: str(folder / f"{table} {i}") for i, twist in enumerate(twists)}
    jobs = [(twist, replace(contests[0], model=model)) for twist, model in models.items()]
    list(Engine(given.jobs).spread(train, jobs))

    def posed(target: str, model: str = "") -> list[HistoryContest]:
        return [TARGETS[target](replace(contest, model=model)) for contest in contests]

    targets = dict.fromkeys(adversary.target for adversary in chosen.values())
    peers = {target: tuned(posed(target), PEER, given) for target in targets}  # need no model
    for name, (twist, target) in chosen.items():
        own = tuned(posed(target, models[twist]), "metahpo", given)
        yield {"table": table, "adversary": name, **compared(own, peers[target])}


def compared(own: pd.DataFrame, peer: pd.DataFrame) -> dict[str, Any]:
    """Hold metahpo against the GP, task by task."""
    own, peer = own.align(peer, join="inner", axis=0)
    regrets = own["regret"].to_numpy(), peer["regret"].to_numpy()
    low, high = spread(*regrets)
    return {
        "tasks": len(own),
        "metahpo": regrets[0].mean(),
        "GP": regrets[1].mean(),
        "ratio": ratio(*regrets),
        "90% from": low,
        "to": high,
        **{f"trust @{n}": own[f"trust @{n}"].mean() for n in LOOKS if f"trust @{n}" in own},
    }


def ratio(own: Array, peer: Array, axis: int = -1) -> Any:
    """Return the ratio of the means; NaN where both are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return own.mean(axis) / peer.mean(axis)


def spread(own: Array, peer: Array) -> tuple[float, float]:
    """Return between what the ratio lies for 90% of the choices of as many tasks."""
    if len(own) < 2 or not peer.any():
        return np.nan, np.nan
    found = bootstrap(
        (own, peer),
        ratio,
        paired=True,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def main() -> None:
    """Measure, print and write."""
    parser = evidence.histories_command_line(__doc__ or "", n_tasks=10)
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--trials", type=int, default=50, help="of a study")
    parser.add_argument("--adversary", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--foreign",
        nargs="+",
        default=["lcbench", "rbv2_rpart"],
        help="tables of other learners; the first that is another one lends its scores",
    )
    given = parser.parse_args()
    facts = evidence.begun(given)
    with tempfile.TemporaryDirectory() as folder:
        lines = (line for table in given.table for line in measure(given, table, Path(folder)))
        rows = evidence.watched(lines)
    evidence.publish("adversaries", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
