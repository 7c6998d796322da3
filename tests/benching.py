"""Contests that cost nothing, for tests of all around them; other processes import this."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution

from metahpo import MetaDataset, MetaModel, Space
from metahpo.bench.contest import Contest, Trial
from metahpo.bench.engine import Engine
from metahpo.bench.plan import Budget, Entrant, Plan
from metahpo.bench.problem import Glimpse, Knowledge, Problem, Table
from metahpo.bench.run import Session, Silent, run_contests
from metahpo.bench.runs import Watcher, read_runs
from metahpo.bench.store import Store

SPACE = Space(
    {
        "kind": CategoricalDistribution(["flat", "bent"]),
        "x": FloatDistribution(0, 1),
        "y": FloatDistribution(0, 1),
    },
    conditions={"y": ("kind", ["bent"])},
)


@dataclass(frozen=True)
class Hill(Contest):
    """A hill whose top is at (0.3, 0.7), for the bent; evaluations may take a while."""

    seconds: float = 0.0
    log: str | None = None  # a folder in which every evaluation leaves a file

    def problem(self, seed: int, n_trials: int | None) -> Problem:
        knowledge = Knowledge(
            model=lambda: MetaModel.blank(self.direction, self.metric),
            evaluations=lambda: MetaDataset.from_frames(_EARLIER, space=SPACE),
            describe=dict,
            table=lambda: Table(pd.DataFrame({"a": range(90)}), pd.Series([0, 1] * 45), 3),
        )
        return Problem(SPACE, self.direction, self.metric, seed, n_trials, knowledge)

    def evaluate(self, config: dict) -> Trial:
        if self.log is not None:
            (Path(self.log) / f"{self.task_id}-{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(self.seconds)
        if config["x"] > 0.95:
            return Trial(math.nan, 0.0, "failed", "off the cliff")
        return Trial(1 - (config["x"] - 0.3) ** 2 - (config.get("y", 0) - 0.7) ** 2, 0.01)

    def glimpse(self, config: dict, share: float) -> Trial:
        trial = self.evaluate(config)
        return trial._replace(score=trial.score + 10, seconds=share * trial.seconds)

    def test(self, config: dict) -> float:
        return -config["x"]


def hills(n: int = 2, **settings) -> list[Hill]:
    return [
        Hill(f"hill {i}", str(i), "none", "height", "maximize", 0, **settings) for i in range(n)
    ]


def entrants(*names: str) -> tuple[Entrant, ...]:
    return tuple(Entrant(name, name) for name in names)


def plan(*methods: str, **changes) -> Plan:
    values = {"budget": Budget(trials=5), "seeds": (0, 1), **changes}
    return Plan("hills", "tasks", (0, 1), entrants(*(methods or ("random",))), **values)


def play(
    out: Path,
    a_plan: Plan,
    contests: list[Hill],
    engine: Engine | None = None,
    watcher: Watcher | None = None,
    **session,
) -> pd.DataFrame:
    """Run, or go on with, a benchmark on hills, and read all of it."""
    session = Session(engine or Engine(), watcher=watcher or Silent(), **session)
    with Store(out).opened(a_plan, "test", 1, resume=session.resume) as store:
        for folder in session.merge:
            store.take_over(folder)
        run_contests(contests, a_plan.entrants, a_plan, store, session)
    return read_runs([out])


class Stubborn:
    """Asks for the same thing again and again."""

    def __init__(self, problem: Problem, *, x: float = 0.5) -> None:
        self.x = x

    def ask(self) -> dict:
        return {"kind": "flat", "x": self.x}

    def tell(self, config: dict, score: float) -> None:
        pass


class Fragile(Stubborn):
    """Breaks when it is told its third score."""

    told = 0

    def tell(self, config: dict, score: float) -> None:
        self.told += 1
        if self.told == 3:
            raise RuntimeError("three is too many")


class Peeping:
    """Looks at shares of the rows: this many, each so large, before each whole trial."""

    def __init__(self, problem: Problem, *, shares: list[float]) -> None:
        self._rng, self._shares, self._turn = np.random.default_rng(problem.seed), shares, 0
        self.told: list[float] = []

    def ask(self) -> dict | Glimpse:
        config = {"kind": "flat", "x": self._rng.uniform(0, 0.9)}
        turn, self._turn = self._turn, (self._turn + 1) % (len(self._shares) + 1)
        return Glimpse(config, self._shares[turn]) if turn < len(self._shares) else config

    def tell(self, config: dict, score: float) -> None:
        self.told.append(score)


class Deadly(Stubborn):
    """Takes its process with it, the first time round."""

    def __init__(self, problem: Problem, *, mark: str) -> None:
        super().__init__(problem)
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), 9)


def _earlier():
    rng = np.random.default_rng(0)
    rows = []
    for task in range(3):
        for x, y in rng.random((8, 2)):
            score = 1 - (x - 0.3) ** 2 - (y - 0.7 + task / 20) ** 2
            rows.append({"task_id": task, "kind": "bent", "x": x, "y": y, "score": score})
    return pd.DataFrame(rows)


_EARLIER = _earlier()
