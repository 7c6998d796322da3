"""One run that learns its number of steps, against a sweep of runs with every fixed number.

At each price c of a step, the learned run's priced loss L_K + c·K is compared with the best of
the sweep. The fixed runs are trained once a seed, since their training knows no price: the price
decides only which of them is best, which is chosen on the very episodes that are reported, in
favour of the sweep. All runs are measured on the same meta-test episodes, so differences are
paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from metahpo.engine import StepCount
from metahpo.fewshot.curves import losses_by_step
from metahpo.fewshot.ledger import Ledger, Record
from metahpo.fewshot.summary import made_by, markdown_table
from metahpo.fewshot.taskfile import FewShotPlan
from metahpo.fewshot.training import fit_seed

PRICES = (0.003, 0.02, 0.1)
_TEST_SEED = 6_000_011


@dataclass(frozen=True)
class Run:
    """A training with a learned count at a price, or with a fixed one."""

    seed: int
    price: float | None
    steps: int | None


@dataclass(frozen=True)
class Comparison:
    """The learned run at a price, and the fixed number that does best there.

    Attributes
    ----------
    price : float
    chosen : tuple of int
        The learned run's K, by seed.
    best : int
        The fixed number of least priced loss, on average over the seeds.
    learned, fixed : float
        Mean priced losses.
    difference, ci95 : float
        Learned minus fixed, and half the width of its confidence interval over the episodes:
        what these very trainings would show on others.
    seeds_ci95 : float
        The same over the seeds, by Student's t: what other trainings would show. NaN for one.
    learned_seconds, sweep_seconds : float
        CPU time of one seed's trainings.
    """

    price: float
    chosen: tuple[int, ...]
    best: int
    learned: float
    fixed: float
    difference: float
    ci95: float
    seeds_ci95: float
    learned_seconds: float
    sweep_seconds: float


def sweep(
    plan: FewShotPlan,
    path: Path,
    *,
    prices: Sequence[float] = PRICES,
    n_jobs: int = 1,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Comparison]:
    """Train with a learned count at every price, and with every fixed one.

    Parameters
    ----------
    plan : FewShotPlan
        Its learner must learn its step count.
    path : Path
        JSON lines, one finished training each; the same call goes on with the rest.
    prices : sequence of float, default=(0.003, 0.02, 0.1)
        In units of the query loss.
    n_jobs : int, default=1
        Processes.
    watch : callable, optional
        Called with how many trainings are done, of how many.

    Raises
    ------
    ValueError
        If the task's learner has a fixed number of steps.
    """
    count = plan.method.steps
    if not isinstance(count, StepCount):
        raise ValueError("the task's learner has a fixed number of steps; give [learner] maximum")
    ledger = Ledger(path, {"task": _rules(plan)})
    runs = list(_runs(plan.seeds, prices, count.maximum))
    known = _by_run(ledger)
    left = [partial(_trained, plan, count, run) for run in runs if run not in known]
    ledger.fill(left, total=len(runs), n_jobs=n_jobs, watch=watch)
    known = _by_run(ledger)
    return [_compared(known, price, plan.seeds, count.maximum) for price in prices]


def _rules(plan: FewShotPlan) -> dict[str, Any]:
    """Return what of a declaration the trainings and their episodes depend on."""
    return plan.declared_without("seeds", "shifted", "second")


def _runs(seeds: int, prices: Sequence[float], maximum: int) -> Iterator[Run]:
    for seed in range(seeds):
        yield from (Run(seed, price, None) for price in prices)
        yield from (Run(seed, None, steps) for steps in range(1, maximum + 1))


def _by_run(ledger: Ledger) -> dict[Run, Record]:
    return {Run(r["seed"], r["price"], r["steps"]): r for r in ledger.read()}


def _trained(plan: FewShotPlan, count: StepCount, run: Run) -> Record:
    import time

    steps = count if run.price is None else replace(count, price=run.price)
    method = replace(plan.method, steps=run.steps or steps)
    begun = time.process_time()
    learner = fit_seed(replace(plan, method=method), run.seed)
    seconds = time.process_time() - begun
    tasks = plan.source.tasks("test", shots=plan.training.shots, queries=plan.evaluation.queries)
    losses = losses_by_step(
        learner,
        tasks,
        episodes=plan.evaluation.episodes,
        steps=learner.steps_,
        seed=_TEST_SEED,
    )
    return {
        **asdict(run),
        "chosen": learner.steps_,
        "seconds": round(seconds, 2),
        "losses": [round(value, 6) for value in losses[-1].tolist()],
    }


Losses = NDArray[np.float64]


def _compared(known: Mapping[Run, Record], price: float, seeds: int, maximum: int) -> Comparison:
    learned = [known[Run(seed, price, None)] for seed in range(seeds)]
    fixed = {
        k: [known[Run(seed, None, k)] for seed in range(seeds)] for k in range(1, maximum + 1)
    }
    swept = {k: _priced(records, price) for k, records in fixed.items()}
    best = min(swept, key=lambda k: float(swept[k].mean()))
    ours = _priced(learned, price)
    difference = ours - swept[best]  # (seeds, episodes)
    episodes = difference.mean(0)
    return Comparison(
        price=price,
        chosen=tuple(record["chosen"] for record in learned),
        best=best,
        learned=float(ours.mean()),
        fixed=float(swept[best].mean()),
        difference=float(episodes.mean()),
        ci95=float(1.96 * episodes.std(ddof=1) / np.sqrt(len(episodes))),
        seeds_ci95=_interval(difference.mean(1)),
        learned_seconds=float(np.mean([record["seconds"] for record in learned])),
        sweep_seconds=sum(r["seconds"] for records in fixed.values() for r in records) / seeds,
    )


def _interval(values: Losses) -> float:
    """Return half the width of the 95% confidence interval of a mean of few values."""
    if len(values) < 2:
        return np.nan
    widest = student_t.ppf(0.975, len(values) - 1)  # in standard errors
    return float(widest * values.std(ddof=1) / np.sqrt(len(values)))


def _priced(records: Sequence[Record], price: float) -> Losses:
    """Return L_K + c·K of every seed's episodes: (seeds, episodes)."""
    return np.array([np.add(r["losses"], price * r["chosen"]) for r in records])


def to_markdown(
    title: str, comparisons: Sequence[Comparison], plan: FewShotPlan, session: Mapping[str, Any]
) -> str:
    """Write the page of a sweep."""
    head = "price of a step | learned K, by seed | best fixed K | priced loss, learned | "
    head += "priced loss, best fixed | difference ±95% | ±95% of seeds | CPU s, one run | "
    head += "CPU s, whole sweep"
    lines = [head.split(" | ")]
    for one in comparisons:
        lines.append(
            [
                f"{one.price:g}",
                ", ".join(map(str, one.chosen)),
                str(one.best),
                f"{one.learned:#.4g}",
                f"{one.fixed:#.4g}",
                f"{one.difference:+#.2g} ±{one.ci95:#.2g}",
                "" if np.isnan(one.seeds_ci95) else f"±{one.seeds_ci95:#.2g}",
                f"{one.learned_seconds:.0f}",
                f"{one.sweep_seconds:.0f}",
            ]
        )
    intro = (
        f"Learned number of steps against a sweep of fixed ones: {plan.seeds} seeds, "
        f"{plan.training.shots} shots, {plan.evaluation.episodes} meta-test episodes that all "
        "runs share. Priced loss: query loss + price · steps. The best fixed K is chosen on "
        "these very episodes, in favour of the sweep. The first interval is over episodes, with "
        "the trainings as they are; the second over trainings with other seeds."
    )
    return "\n\n".join([f"# {title}", intro, markdown_table(lines), made_by(session)]) + "\n"
