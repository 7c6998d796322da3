"""What training costs as experience grows, and how many studies can be served.

Models are trained on made-up tasks, each in a process of its own: seconds on the clock, seconds of
processor time, and the most memory that the process took, beside what it had before it began to
train. Each task has its own configurations of a mixed space with seven parameters. Then many
studies, each with some trials behind it, ask for their next configuration: one after the other
through the optimizer, and side by side, choosing among the model's pool. Asks a second are counted
by processor time, which other users of the machine do not stretch, on a GPU by the clock.

    python benchmarks/scale.py --out results
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import evidence
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo import MetaDataset, MetaModel, MetaOptimizer, Space
from metahpo.space import Config
from metahpo.surrogate.hypotheses import Told

SPACE = Space(
    {
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "decay": FloatDistribution(1e-6, 1.0, log=True),
        "share": FloatDistribution(0.1, 1.0),
        "depth": IntDistribution(1, 12),
        "leaves": IntDistribution(2, 512, log=True),
        "kind": CategoricalDistribution(["plain", "deep", "wide"]),
        "momentum": FloatDistribution(0.0, 0.99),
    },
    {"momentum": ("kind", ["deep", "wide"])},
)
N_META_FEATURES = 10
WIDE = (100, 1000)  # tasks and configurations for which there is a goal of 10 minutes
AT_ONCE = 100  # studies that are computed side by side
LEADING = 8  # components of a study's belief that choose among the pool
NOT_MEASURED = "not measured"

Array = NDArray[np.float64]


def made_up(n_tasks: int, n_configs: int) -> MetaDataset:
    """Make up tasks: valleys whose bottoms move with two of the meta-features."""
    rng = np.random.default_rng(0)
    rows = SPACE.draw(n_tasks * n_configs, seed=0)
    where = rng.random((n_tasks, 2))  # of each task's bottom
    bottom = where @ rng.random((2, rows.shape[1]))
    owner = np.repeat(np.arange(n_tasks), n_configs)
    noise = 0.05 * rng.standard_normal(len(rows))
    scores = -((rows - bottom[owner]) ** 2).sum(1) + noise
    names = np.array([f"task {i}" for i in range(n_tasks)])
    others = rng.standard_normal((n_tasks, N_META_FEATURES - 2))
    features = pd.DataFrame(np.concatenate([where, others], axis=1), index=names)
    trials = SPACE.to_frame(SPACE.decode(rows)).assign(task_id=names[owner], score=scores)
    return MetaDataset.from_frames(
        trials, features.rename(columns="feature {}".format), space=SPACE
    )


def fit(n_tasks: int, n_configs: int, device: str) -> dict[str, Any]:
    """Train on made-up tasks, and say what it took; for a process of its own."""
    md = made_up(n_tasks, n_configs)
    before = peak()
    clock, processor = time.perf_counter(), time.process_time()
    MetaModel.fit(md, device=device)
    return {
        "seconds": time.perf_counter() - clock,
        "processor seconds": time.process_time() - processor,
        "peak MB": peak(),
        "before MB": before,
    }


def peak() -> float:
    """Return the most memory that this process ever took, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def apart(n_tasks: int, n_configs: int, device: str) -> dict[str, Any]:
    """Train in a process of its own; "not measured" where there is no such device."""
    line: dict[str, Any] = {
        "work": "fit",
        "device": device,
        "tasks": n_tasks,
        "configurations a task": n_configs,
    }
    if device == "cuda" and not torch.cuda.is_available():
        return {**line, "seconds": NOT_MEASURED}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        return {**line, **alone.submit(fit, n_tasks, n_configs, device).result()}


def asks(n_studies: int, n_told: int) -> Iterator[dict[str, Any]]:
    """Let studies ask, one after the other, each with candidates of its own."""
    model = MetaModel.load("default", learner="svc")
    seconds = np.zeros(2)
    for seed in range(n_studies):
        optimizer = MetaOptimizer(model, seed=seed)
        for config, score in trials(model, n_told, seed):
            optimizer.tell(config, score)
        with timed(seconds):
            optimizer.ask()
    yield served(f"ask, {n_studies} studies after {n_told} trials", "cpu", n_studies, seconds)


def asks_at_once(n_studies: int, n_told: int, device: str) -> dict[str, Any]:
    """Let studies choose among the configurations that are good somewhere, all at once."""
    work = f"ask among the pool, {n_studies} studies after {n_told} trials, {AT_ONCE} at once"
    if device == "cuda" and not torch.cuda.is_available():
        return {"work": work, "device": device, "seconds": NOT_MEASURED}
    model = MetaModel.load("default", learner="svc")
    prior = model.prior()
    known = model.pool_view
    pool = prior.view(known.phi, known.codes.array).to(device)
    studies = []
    for seed in range(n_studies):
        configs, scores = zip(*trials(model, n_told, seed), strict=True)
        codes = model.space.codes(list(configs))
        studies.append(prior.told(model.encode(codes), codes.array, np.array(scores)))
    seconds = np.zeros(2)
    adaptation = prior.adaptation.to(device)
    bends = torch.from_numpy(prior.bends).to(device)
    for first in range(0, n_studies, AT_ONCE):
        together = Told.side_by_side(studies[first : first + AT_ONCE]).to(device)
        with timed(seconds), torch.no_grad():
            posterior = adaptation.posterior(together)
            among = pool.expand(len(together.y))
            gain = posterior.leading(LEADING).expected_improvement(among, bends)
            gain.argmax(1).cpu()  # waits for the device
    return served(work, device, n_studies, seconds)


def trials(model: MetaModel, n: int, seed: int) -> list[tuple[Config, float]]:
    """Make up a study's trials."""
    scores = np.random.default_rng(seed).normal(size=n).tolist()
    return list(zip(model.space.sample(n, seed=seed), scores, strict=True))


@contextmanager
def timed(seconds: Array) -> Iterator[None]:
    """Add what a block takes: seconds on the clock, and of processor time."""
    begun = np.array([time.perf_counter(), time.process_time()])
    yield
    seconds += np.array([time.perf_counter(), time.process_time()]) - begun


def served(work: str, device: str, n_studies: int, seconds: Array) -> dict[str, Any]:
    """Return a line; asks are counted by the processor's time, on a GPU by the clock."""
    clock, processor = seconds.tolist()
    return {
        "work": work,
        "device": device,
        "seconds": clock,
        "processor seconds": processor,
        "asks a second": n_studies / (processor if device == "cpu" else clock),
    }


def measure(
    tasks: Sequence[int], n_configs: int, wide: bool, n_studies: int, n_told: int
) -> Iterator[dict[str, Any]]:
    """Yield a line for every training, and for asking."""
    for n_tasks in tasks:
        yield apart(n_tasks, n_configs, "cpu")
    for device in ("cpu", "cuda") if wide else ():
        yield apart(*WIDE, device)
    if n_studies:
        yield from asks(n_studies, n_told)
        for device in ("cpu", "cuda"):
            yield asks_at_once(n_studies, n_told, device)


def main() -> None:
    """Measure, print and write."""
    parser = evidence.command_line(__doc__ or "")
    parser.add_argument("--tasks", nargs="*", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--configs", type=int, default=20, help="configurations a task")
    parser.add_argument("--narrow", action="store_true", help="leave out 100 tasks × 1,000")
    parser.add_argument("--studies", type=int, default=1000, help="that ask; 0 leaves them out")
    parser.add_argument("--told", type=int, default=10, help="trials that each has behind it")
    given = parser.parse_args()
    facts = evidence.begun(given)
    facts["threads"] = torch.get_num_threads()
    rows = evidence.watched(
        measure(given.tasks, given.configs, not given.narrow, given.studies, given.told)
    )
    evidence.publish("scale", __doc__ or "", rows, facts, given.out)


if __name__ == "__main__":
    main()
