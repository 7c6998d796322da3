"""What the benchmark runner itself costs: a trial, a worker, a hundred thousand results, a resume.

    python benchmarks/runner.py --out results/runner

Overhead a trial with an evaluator that returns at once; speed-up of 1, 2, 4 and 8 workers where
each evaluation sleeps; the process's memory as results pile up; how long a benchmark of 1,000
tasks takes to find out what is left after it was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from optuna.distributions import FloatDistribution

from metahpo import MetaDataset, MetaModel, Space
from metahpo.bench.contest import Contest, Trial
from metahpo.bench.engine import Engine
from metahpo.bench.plan import Budget, Entrant, Plan
from metahpo.bench.problem import Knowledge, Problem
from metahpo.bench.run import Session, Silent, run_contests
from metahpo.bench.store import Store

SPACE = Space({"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)})


@dataclass(frozen=True)
class Instant(Contest):
    """A contest whose evaluations take no time, or sleep."""

    sleep: float = 0.0

    def problem(self, seed: int, n_trials: int | None) -> Problem:
        """Pose the problem."""
        knowledge = Knowledge(MetaModel.blank, _nothing, dict)
        return Problem(SPACE, "maximize", "score", seed, n_trials, knowledge)

    def evaluate(self, config: dict[str, Any]) -> Trial:
        """Return at once, or after a sleep."""
        time.sleep(self.sleep)
        return Trial(config["x"])


def _nothing() -> MetaDataset:
    raise ValueError("there are no earlier tasks")


def contests(n: int, sleep: float = 0.0) -> list[Instant]:
    """Make up tasks."""
    return [
        Instant(f"task {i}", str(i), "none", "score", "maximize", 0, sleep=sleep) for i in range(n)
    ]


def run(
    out: Path,
    n_tasks: int,
    n_seeds: int,
    n_trials: int,
    *,
    jobs: int = 1,
    sleep: float = 0.0,
    watcher: Any = None,
) -> float:
    """Run random search on made-up tasks; return the seconds it took."""
    plan = Plan(
        "runner",
        "tasks",
        tuple(range(n_tasks)),
        (Entrant("random", "random"),),
        budget=Budget(trials=n_trials),
        seeds=tuple(range(n_seeds)),
    )
    session = Session(Engine(jobs), watcher=watcher or Silent())
    started = time.perf_counter()
    with Store(out).opened(plan, "benchmarks/runner.py", jobs, resume=True) as store:
        run_contests(contests(n_tasks, sleep), plan.entrants, plan, store, session)
    return time.perf_counter() - started


class Scales(Silent):
    """Weighs this process as results pile up."""

    def __init__(self, every: int) -> None:
        self.every, self.trials = every, 0
        self.megabytes: dict[int, float] = {}

    def unit(self, rows: pd.DataFrame) -> None:
        """Count a unit's trials, and weigh now and then."""
        before = self.trials
        self.trials += len(rows)
        if self.trials // self.every > before // self.every:
            size = psutil.Process().memory_info().rss / 2**20
            self.megabytes[self.trials] = round(size, 1)


class Clock(Silent):
    """Notes when the first unit could be played."""

    def __init__(self) -> None:
        self.started, self.begun = time.perf_counter(), float("nan")
        self.left = 0

    def begin(self, total: int, done: int) -> None:
        """Note the time."""
        self.begun, self.left = time.perf_counter() - self.started, total - done
        raise KeyboardInterrupt  # it has begun; that is all there was to see


def overhead(folder: Path, repeats: int) -> dict[str, Any]:
    """Measure milliseconds a trial, 40 units of 50 trials each time."""
    run(folder / "warm-up", 2, 1, 50)
    times = [run(folder / f"overhead{i}", 40, 1, 50) / 2000 * 1e3 for i in range(repeats)]
    return {"milliseconds a trial": [round(t, 3) for t in sorted(times)]}


def speed_up(folder: Path, sleep: float) -> dict[str, Any]:
    """Measure how much faster more workers are, after each pool has been started once."""
    seconds = {}
    for jobs in (1, 2, 4, 8):
        run(folder / f"start{jobs}", jobs, 1, 1, jobs=jobs, sleep=5.0)  # so that each gets one
        seconds[jobs] = run(folder / f"speed{jobs}", 32, 1, 10, jobs=jobs, sleep=sleep)
    return {
        "sleep": sleep,
        "seconds": {jobs: round(s, 2) for jobs, s in seconds.items()},
        "speed-up": {jobs: round(seconds[1] / s, 2) for jobs, s in seconds.items()},
    }


def memory(folder: Path, n_results: int) -> dict[str, Any]:
    """Weigh the process every tenth of the results, 50 trials a unit."""
    scales = Scales(n_results // 10)
    seconds = run(folder / "memory", n_results // 500, 10, 50, watcher=scales)
    size = (folder / "memory" / "runs.parquet").stat().st_size / 2**20
    return {
        "megabytes by results": scales.megabytes,
        "seconds": round(seconds, 1),
        "runs.parquet, MB": round(size, 2),
    }


def resume(folder: Path, n_tasks: int) -> dict[str, Any]:
    """Kill a run of many tasks half-way, and time the next one up to its first unit."""
    out = folder / "resume"
    child = subprocess.Popen([sys.executable, __file__, "--child", str(out), str(n_tasks)])
    while len(list((out / "shards").glob("*.parquet"))) < n_tasks // 2:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    clock = Clock()
    with suppress(KeyboardInterrupt):
        run(out, n_tasks, 1, 5, watcher=clock)
    return {"tasks": n_tasks, "left": clock.left, "seconds": round(clock.begun, 3)}


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/runner"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--sleep", type=float, default=0.05)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--child", nargs=2, metavar=("OUT", "TASKS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        run(Path(given.child[0]), int(given.child[1]), 1, 5)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "overhead": overhead(folder, given.repeats),
            "workers": speed_up(folder, given.sleep),
            "resume": resume(folder, given.tasks),
            "memory": memory(folder, given.results),
        }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "runner.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
