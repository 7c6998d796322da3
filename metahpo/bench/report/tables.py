"""The tables of a benchmark's report, as text that the summary and the page lay out."""

from __future__ import annotations

from dataclasses import dataclass

from metahpo.bench.report.curves import Curves
from metahpo.bench.report.findings import Findings, seconds_a_trial
from metahpo.bench.report.standings import (
    Table,
    regret_table,
    shown_trials,
    standings,
    standings_table,
)
from metahpo.bench.report.tasks import summarize, tasks_table
from metahpo.page import duration


@dataclass(frozen=True)
class Section:
    """A part of the report: a heading, a sentence, and tables under their own headings."""

    title: str
    text: str
    tables: dict[str, Table]


def sections_of(findings: Findings) -> list[Section]:
    """Lay out everything that is compared over tasks."""
    trials = findings.trials
    shown = shown_trials(trials)
    found = [
        Section(
            "After n trials",
            "Best score so far, as the tuner saw it; @n is after n trials.",
            {"mean normalised regret": _overview(trials, shown)} | _at(findings, trials, shown),
        )
    ]
    if findings.test is not None:
        found.append(
            Section(
                "On the test folds",
                "The incumbent, refitted on the whole training part, on rows no trial has seen.",
                {"mean normalised test regret": _overview(findings.test, shown)}
                | _at(findings, findings.test, shown[-1:]),
            )
        )
    if findings.times is not None:
        found.append(
            Section(
                "After a time",
                "Suggesting and evaluating together, of histories the recorded seconds of "
                "evaluations alone; a run that has ended stays where it was.",
                {
                    f"after {duration(t)}": _standing(findings, findings.times, i)
                    for i, t in enumerate(findings.times.budgets)
                },
            )
        )
    if len(findings.by_learner) > 1:
        found.append(
            Section(
                "A learner at a time",
                "Mean normalised regret.",
                {n: _overview(own, shown_trials(own)) for n, own in findings.by_learner.items()},
            )
        )
    return [*found, Section("What it cost", "Mean a trial.", {"": _costs(findings)})]


def task_by_task(findings: Findings) -> Table:
    """Lay out every task by itself: mean ± standard deviation over seeds and folds."""
    at = [int(findings.trials.budgets[i]) for i in shown_trials(findings.trials)]
    return tasks_table(summarize(findings.runs, (findings.baseline,)), at)


def _overview(curves: Curves, shown: list[int]) -> Table:
    return regret_table(curves, shown, [f"@{curves.budgets[i]:g}" for i in shown])


def _at(findings: Findings, curves: Curves, shown: list[int]) -> dict[str, Table]:
    return {f"@{curves.budgets[i]:g}": _standing(findings, curves, i) for i in shown}


def _standing(findings: Findings, curves: Curves, at: int) -> Table:
    return standings_table(standings(curves, at, findings.baseline), findings.baseline)


def _costs(findings: Findings) -> Table:
    seconds = seconds_a_trial(findings.runs)
    rows = [
        [str(method), duration(row["suggest_seconds"]), duration(row["evaluate_seconds"])]
        for method, row in seconds.iterrows()
    ]
    return ["method", "suggesting", "evaluating"], rows
