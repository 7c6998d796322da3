"""Whether a model that grows with one's own studies forgets.

A model is trained on a part of a table's tasks. Then a stream of others comes in, one at a time:
each is tuned with the model as it is, and what came of it is added by ``MetaModel.update``. After
every fifth, the model tunes the same held-out tasks. Regret is normalised, (optimum - best so far)
/ (optimum - worst), after 1, 3 and 10 trials, the mean over the tasks; change is the mean of the
three against the model that has seen nothing of the stream, with its standard error over the
tasks: below 0 is better. The last line is a model trained anew on all that the stream's tasks have
in the table, which is far more than the studies tried.

    python benchmarks/incrementality.py --table pimp_adaboost --out results
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import evidence
import numpy as np
from numpy.typing import NDArray

from metahpo import MetaModel
from metahpo.bench.engine import Engine
from metahpo.bench.histories import HistoryContest
from metahpo.bench.plan import Budget, Entrant
from metahpo.bench.ring import Unit

LOOKS = (1, 3, 10)  # trials after which regret is read
EVERY = 5  # tasks of the stream between two looks

Array = NDArray[np.float64]


def unit(contest: HistoryContest, model: Path, trials: int) -> Unit:
    """Let a model tune a task."""
    posed = replace(contest, model=str(model))
    return Unit(posed, Entrant("metahpo", "metahpo"), seed=0, budget=Budget(trials=trials))


def regrets(contests: list[HistoryContest], model: Path, engine: Engine) -> Array:
    """Return the regret on tasks after LOOKS trials: shape (tasks, looks)."""
    units = [unit(contest, model, max(LOOKS)) for contest in contests]
    found = dict(engine.spread(evidence.played, units))
    at = np.array(LOOKS) - 1
    return np.stack([evidence.regret(found[i])[at] for i in range(len(units))])


def study(contest: HistoryContest, model: Path, trials: int) -> list[tuple[dict[str, Any], float]]:
    """Tune a task of the stream; return its trials."""
    rows = evidence.played(unit(contest, model, trials))
    pairs = rows[["config", "score"]].itertuples(index=False)
    return [(json.loads(config), float(score)) for config, score in pairs]


def looked(name: str, after: Array, before: Array) -> dict[str, Any]:
    """Return a line of the table."""
    change = (after - before).mean(1)
    return {
        "tasks added": name,
        **{f"@{n}": after[:, i].mean() for i, n in enumerate(LOOKS)},
        "change": change.mean(),
        "±": change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.nan,
    }


def measure(given: argparse.Namespace, table: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a line for every look on a table."""
    held, known = evidence.held_out(given, table), evidence.contests(given, table, (1, 2, 3, 4))
    stream, everything = known[: given.stream], held[0].problem(0, None).evaluations
    if len(stream) == len(known):
        raise SystemExit(f"{table} has {len(known)} tasks to learn from; shorten the --stream")
    streamed = {contest.task_id for contest in stream}
    engine = Engine(given.jobs)
    model = MetaModel.fit(everything.subset(set(everything.task_ids) - streamed))
    where = folder / f"{table} 0"
    model.save(where)
    before = regrets(held, where, engine)
    yield {"table": table, **looked("0", before, before), "seconds an update": np.nan}
    seconds: list[float] = []
    for number, contest in enumerate(stream, start=1):
        trials = study(contest, where, given.trials)
        begun = time.process_time()
        model = model.update(
            trials, contest.problem(0, None).meta_features, task_id=contest.task_id
        )
        seconds.append(time.process_time() - begun)
        where = folder / f"{table} {number}"
        model.save(where)
        if number % EVERY == 0 or number == len(stream):
            line = looked(str(number), regrets(held, where, engine), before)
            yield {
                "table": table,
                **line,
                "seconds an update": statistics.median(seconds[-EVERY:]),
            }
    where = folder / f"{table} anew"
    MetaModel.fit(everything).save(where)
    yield {"table": table, **looked("trained anew", regrets(held, where, engine), before)}


def main() -> None:
    """Measure, print and write."""
    parser = evidence.histories_command_line(__doc__ or "", n_tasks=20)
    parser.add_argument("--stream", type=int, default=30, help="tasks that are added")
    parser.add_argument("--trials", type=int, default=30, help="of a study on one of them")
    given = parser.parse_args()
    facts = evidence.begun(given)
    with tempfile.TemporaryDirectory() as folder:
        lines = (line for table in given.table for line in measure(given, table, Path(folder)))
        rows = evidence.watched(lines)
    evidence.publish("incrementality", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
