"""What summary and page say in words: what was compared, how it is measured, how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metahpo.bench.report.curves import PROBLEM
from metahpo.bench.report.findings import Findings, failures
from metahpo.bench.report.standings import p_value
from metahpo.bench.report.statistics import ALPHA
from metahpo.bench.runs import PARTIAL
from metahpo.surrogate.scores import JUNK

Record = dict[str, Any]


def scope(findings: Findings) -> str:
    """Say what was compared: methods, tasks, learners, seeds, folds, trials."""
    runs = findings.runs
    parts = [
        _count(runs["method"].nunique(), "method"),
        _count(runs["task_id"].nunique(), "task"),
        f"{_count(runs['learner'].nunique(), 'learner')} "
        f"({', '.join(map(str, runs['learner'].unique()))})",
        _count(runs["seed"].nunique(), "seed"),
    ]
    folds = runs[["task_id", "fold"]].drop_duplicates().groupby("task_id").size().max()
    parts += [f"{folds} folds a task"] if folds > 1 else []
    longest, shortest = _trials_a_run(findings)
    trials = f"{longest} trials" if longest == shortest else f"{shortest} to {longest} trials"
    return f"{', '.join(parts)}, {trials} a run; scored by {_metrics(findings)}"


def caveats(findings: Findings) -> list[str]:
    """Say what a reader must know before believing the numbers."""
    said = list(findings.unfinished)
    coverage = findings.coverage
    if not coverage.complete:
        done = ", ".join(f"{name} {n}" for name, n in coverage.units.items())
        said.append(
            f"Incomplete: compared on the {coverage.n_common_heats} of {coverage.n_heats} heats "
            f"({coverage.n_common_tasks} of {coverage.n_tasks} tasks) that every method has run. "
            f"Runs so far: {done}."
        )
    counts = failures(findings.runs)
    for status, what in {"failed": "failed", "timeout": "timed out"}.items():
        if status in counts and counts[status].any():
            each = ", ".join(f"{m} {n}" for m, n in counts[status].items() if n)
            said.append(
                f"{counts[status].sum():,} of {len(findings.runs):,} trials {what}, and count as "
                f"trials without a score: {each}."
            )
    if PARTIAL in counts and counts[PARTIAL].any():
        each = ", ".join(f"{m} {n}" for m, n in counts[PARTIAL].items() if n)
        said.append(
            f"Trials spent on evaluations of a share of the rows, without a score on all: {each}."
        )
    if "crashed" in counts and counts["crashed"].any():
        each = ", ".join(f"{m} {n}" for m, n in counts["crashed"].items() if n)
        said.append(
            f"Methods that raised an error of their own lost the rest of that run's budget; "
            f"trials lost: {each}."
        )
    longest, shortest = _trials_a_run(findings)
    if longest != shortest:
        said.append("Runs have different numbers of trials; one that ended stays where it was.")
    if coverage.n_common_tasks < 6:
        said.append("With fewer than 6 tasks no test can tell methods apart at the 5 % level.")
    return said


def definitions(findings: Findings) -> list[str]:
    """Say how the numbers are made."""
    problem = "known optimum, 1 the known worst score"
    seen = "score that any method found on that task and fold in any seed"
    junk = (
        f"or what is {JUNK:g} times as far from the best as the median of all found, where the "
        "worst is further still"
    )
    bounds = {
        "all": f"0 is the task's {problem}",
        "none": f"0 is the best {seen}, 1 the worst, {junk}; so it says nothing about how far the "
        "true optimum is",
        "some": f"0 is the task's {problem} where known, elsewhere 0 is the best and 1 the worst "
        f"{seen}, {junk}",
    }[findings.known_bounds]
    return [
        f"Normalised regret: {bounds}. A run without a score yet, or with a "
        "worse one than that, stands at 1.",
        "Every number is over tasks, each with its mean over learners, folds and seeds: ranks, "
        "wins and tests treat the task, not the run, as what was drawn at random.",
        f"Wins, ties and losses: tasks with lower, equal and higher regret than "
        f"{findings.baseline}. p: Wilcoxon's signed-rank test against it, two-sided, with Holm's "
        "correction for the number of methods.",
        f"Bands: 95 % bootstrap intervals of the mean over tasks. Critical difference: Friedman's "
        f"test (here p {_p(findings.ranking.p)}), then Wilcoxon for all pairs with Holm's "
        f"correction; a bar joins methods of which no pair differs at {100 * ALPHA:g} %.",
    ]


def provenance(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Say how the runs were made, as pairs of what and value, a session at a time."""
    facts: list[tuple[str, str]] = []
    for record in records:
        seeds = ", ".join(map(str, record.get("seeds", ())))
        facts += [("benchmark", str(record.get("name", "")))] if len(records) > 1 else []
        facts += [("seeds", seeds)] if seeds else []
        for session in record.get("sessions", ()):
            facts += _session(session)
    return facts


def _session(session: Record) -> list[tuple[str, str]]:
    machine = session.get("machine") or {}
    hardware = ", ".join(
        [
            *(str(machine[key]) for key in ("cpu", "platform") if machine.get(key)),
            *([f"{machine['cores']} cores"] if machine.get("cores") else []),
            *([f"{machine['memory_gb']:g} GB"] if machine.get("memory_gb") else []),
        ]
    )
    versions = {"metahpo": session.get("metahpo"), **(session.get("versions") or {})}
    revision = session.get("revision")
    changed = " with changes" if session.get("modified") else ""
    finished = session.get("finished") or "not finished"
    facts = {
        "command": session.get("command"),
        "time": f"{session.get('started')} to {finished}, {session.get('units', 0)} runs, "
        f"{session.get('jobs', 1)} at a time",
        "machine": hardware,
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items() if number),
        "revision": f"{revision[:12]}{changed}" if revision else None,
    }
    return [(what, str(value)) for what, value in facts.items() if value]


def _metrics(findings: Findings) -> str:
    found = findings.runs[["metric", "direction"]].drop_duplicates()
    return " and ".join(
        f"{metric} ({'higher' if direction == 'maximize' else 'lower'} is better)"
        for metric, direction in found.itertuples(index=False)
    )


def _trials_a_run(findings: Findings) -> tuple[int, int]:
    lengths = findings.runs.groupby([*PROBLEM, "fold", "seed", "method"])["trial"].max()
    return int(lengths.max()), int(lengths.min())


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _p(p: float) -> str:
    return "not defined for two methods" if p != p else p_value(p)
