"""What a benchmark's report says, held against numbers worked out in other ways."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import SPEEDS, made_up_runs, record
from rich.console import Console

from metahpo.bench.report import write_report
from metahpo.bench.report.curves import by_seconds, by_trial, keep_common
from metahpo.bench.report.findings import examine
from metahpo.bench.report.standings import p_value, standings
from metahpo.bench.report.statistics import (
    against,
    bootstrap_band,
    critical_difference,
    ranks,
)
from metahpo.bench.report.summary import summary
from metahpo.bench.report.tables import sections_of, task_by_task
from metahpo.bench.report.tasks import summarize
from metahpo.bench.report.words import caveats, definitions
from metahpo.bench.runs import RUN, RUNS, SCHEMA
from metahpo.cli import main
from metahpo.cli.scoreboard import Scoreboard

nan = math.nan


def write_results(folder: Path, runs: pd.DataFrame, **changes: Any) -> Path:
    folder.mkdir()
    pq.write_table(pa.Table.from_pandas(runs, schema=SCHEMA, preserve_index=False), folder / RUNS)
    (folder / RUN).write_text(json.dumps(record(runs, **changes)))
    return folder


def two_methods(a: list[float], b: list[float], **columns: Any) -> pd.DataFrame:
    """One task, one seed: the scores of the methods a and b, trial by trial."""
    runs = made_up_runs({"a": 1, "b": 1}, n_tasks=1, seeds=1, n_trials=len(a), failing=0)
    runs["score"] = [*a, *b]
    sign = -1 if columns.get("direction") == "minimize" else 1
    best = (sign * runs["score"]).groupby(runs["method"], sort=False)
    runs["best"] = sign * best.transform(lambda scores: scores.cummax().ffill())
    return runs.assign(**columns)


# ---------------------------------------------------------------------- regret


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_regret_is_measured_between_the_best_and_the_worst_seen(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    a, b = [0.5, nan, 0.9], [nan, 0.1, 0.3]
    runs = two_methods([sign * x for x in a], [sign * x for x in b], direction=direction)
    curves = by_trial(runs)
    assert curves.methods == ("a", "b")
    np.testing.assert_allclose(curves.regret[0], [[0.5, 0.5, 0.0], [1.0, 1.0, 0.75]])
    assert curves.score is not None
    expected = [[0.5, 0.5, 0.9], [0.1, 0.1, 0.3]]  # without a score it stands at the worst
    np.testing.assert_allclose(curves.score[0], sign * np.array(expected))


def test_regret_is_measured_between_known_bounds_where_there_are_any() -> None:
    curves = by_trial(two_methods([0.5, 0.8], [0.6, 0.6], optimum=1.0, worst=0.0))
    np.testing.assert_allclose(curves.regret[0], [[0.5, 0.2], [0.4, 0.4]])
    assert "known optimum" in definitions(examine(two_methods([0], [1], optimum=1, worst=0)))[0]
    assert "that any method found" in definitions(examine(two_methods([0], [1])))[0]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_diverged_score_does_not_make_all_others_equal(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    a, b = [-1e21, 0.5, 0.9], [nan, 0.7, 0.8]  # the median is 0.7: cut at 0.9 - 5 × 0.2
    runs = two_methods([sign * x for x in a], [sign * x for x in b], direction=direction)
    curves = by_trial(runs)
    np.testing.assert_allclose(curves.regret[0], [[1.0, 0.4, 0.0], [1.0, 0.2, 0.1]])
    assert curves.score is not None  # which is what was scored, uncut
    np.testing.assert_allclose(curves.score[0, :, 0], sign * -1e21)
    assert "5 times as far from the best as the median" in definitions(examine(runs))[0]


def test_known_bounds_and_constant_better_halves_are_not_cut() -> None:
    known = two_methods([-1e3, 0.9], [0.5, 0.8], optimum=1.0, worst=-1e3)
    np.testing.assert_allclose(by_trial(known).regret[0, :, 0], [1, 0.5 / 1001])
    constant = two_methods([-1.0, 0.9, 0.9], [0.9, 0.9, 0.9])
    np.testing.assert_allclose(by_trial(constant).regret[0, :, 0], [1, 0])


def test_tasks_count_alike_however_many_runs_they_have() -> None:
    """Folds are normalised one at a time, then averaged; learners after them."""
    runs = pd.concat(
        [
            two_methods([0.0], [1.0], learner="svc", fold=0),
            two_methods([50.0], [100.0], learner="svc", fold=1),
            two_methods([1.0], [0.0], learner="svc", fold=2),
            two_methods([5.0], [3.0], learner="tree", fold=0),
        ]
    )
    regret = by_trial(runs).regret
    np.testing.assert_allclose(regret[0, :, 0], [(2 / 3 + 0) / 2, (1 / 3 + 1) / 2])


def test_where_everything_failed_all_are_equal() -> None:
    curves = by_trial(two_methods([nan, nan], [nan, nan]))
    assert (curves.regret == 0).all()


def test_test_scores_are_followed_through_trials_without_an_incumbent() -> None:
    runs = two_methods([0.1, 0.9], [0.2, 0.3])
    runs["test_score"] = [nan, 0.8, 0.4, 0.6]
    np.testing.assert_allclose(by_trial(runs, "test_score").regret[0], [[1, 0], [1, 0.5]])


def test_curves_against_time_hold_what_had_ended_by_then() -> None:
    runs = two_methods([0.0, 1.0], [0.5, 0.25])
    runs["elapsed"] = [1.0, 10.0, 2.0, 3.0]
    curves = by_seconds(runs, [0.5, 1.0, 2.5, 10.0, 99.0])
    np.testing.assert_allclose(curves.regret[0], [[1, 1, 1, 0, 0], [1, 1, 0.5, 0.5, 0.5]])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_neither_units_nor_signs_of_scores_matter(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(4), rng.random(4)
    curves = by_trial(two_methods(list(a), list(b)))
    others = [shift - scale * scores for scores in (a, b)]
    mirrored = by_trial(two_methods(*map(list, others), direction="minimize"))
    np.testing.assert_allclose(curves.regret, mirrored.regret, atol=1e-9)


# ---------------------------------------------------------------------- runs that are missing


def test_only_what_every_method_has_run_is_compared() -> None:
    runs = made_up_runs(n_tasks=5, seeds=2, n_trials=3)
    missing = (runs["method"] == "gp") & ((runs["task_id"] == "103") | (runs["seed"] == 1))
    common, coverage = keep_common(runs[~missing])
    assert set(zip(common["task_id"], common["seed"], strict=True)) == {
        (task_id, 0) for task_id in ("100", "101", "102", "104")
    }
    assert coverage.units == {"metahpo": 10, "tpe": 10, "gp": 4, "random": 10}
    assert (coverage.n_heats, coverage.n_common_heats) == (10, 4)
    assert (coverage.n_tasks, coverage.n_common_tasks) == (5, 4)
    said = caveats(examine(runs[~missing]))
    assert "4 of 10 heats (4 of 5 tasks) that every method has run" in said[0]
    assert "gp 4" in said[0]
    assert not any("Incomplete" in text for text in caveats(examine(runs)))


def test_what_was_declared_and_has_not_run_is_said() -> None:
    runs = made_up_runs({"a": 1, "b": 1}, n_tasks=1, seeds=1, n_trials=2)
    methods = [{"name": name, "method": "random"} for name in ("a", "b", "c")]
    stopped = record(runs, seeds=[0, 1], plan={"methods": methods})
    stopped["sessions"][-1]["finished"] = None
    assert caveats(examine(runs, records=[stopped]))[:3] == [
        "made-up was stopped before its end; its command goes on.",
        "made-up declares methods that have not run: c.",
        "made-up declares seeds that have not run: 1.",
    ]
    assert examine(runs, records=[record(runs)]).unfinished == ()


def test_nothing_in_common_is_one_line() -> None:
    runs = made_up_runs({"a": 1, "b": 1}, n_tasks=2, seeds=1, n_trials=2)
    apart = runs[(runs["method"] == "a") == (runs["task_id"] == "100")]
    with pytest.raises(ValueError, match="no task was run by all 2 methods yet"):
        examine(apart)


def test_failures_and_crashes_are_counted_where_they_are_read() -> None:
    runs = made_up_runs({"a": 1, "b": 1}, n_tasks=2, seeds=1, n_trials=4, failing=0)
    runs.loc[[0, 1], ["status", "score"]] = ["failed", nan]
    runs.loc[[5], "status"] = "timeout"
    runs.loc[[6, 7], "status"] = "crashed"
    runs.loc[[2], ["status", "score"]] = ["partial", nan]
    said = " ".join(caveats(examine(runs)))
    assert "2 of 16 trials failed, and count as trials without a score: a 2" in said
    assert "1 of 16 trials timed out" in said
    assert "a share of the rows, without a score on all: a 1" in said
    assert "trials lost: b 2" in said
    assert "fewer than 6 tasks" in said


# ---------------------------------------------------------------------- statistics


def brute_wilcoxon(gains: np.ndarray) -> float:
    """Sum up, over all signs that the gains could have had, how often ranks are as uneven."""
    sizes = np.argsort(np.argsort(np.abs(gains))) + 1
    seen = sizes[gains > 0].sum() - sizes.sum() / 2
    signs = itertools.product([0, 1], repeat=len(gains))
    sums = np.array([sizes @ np.array(s) for s in signs]) - sizes.sum() / 2
    return float((np.abs(sums) >= abs(seen) - 1e-9).mean())


def brute_holm(ps: list[float]) -> list[float]:
    order = np.argsort(ps)
    stepped = np.maximum.accumulate([(len(ps) - i) * ps[at] for i, at in enumerate(order)])
    corrected = dict(zip(order, np.minimum(stepped, 1), strict=True))
    return [float(corrected[i]) for i in range(len(ps))]


def test_wins_ties_losses_and_p_against_a_baseline() -> None:
    rng = np.random.default_rng(0)
    regret = rng.random((9, 4))
    regret[:, 1] -= 0.4
    versus = against(regret, ("base", "good", "b", "c"), "base")
    gains = {m: regret[:, 0] - regret[:, i] for i, m in enumerate(("good", "b", "c"), start=1)}
    expected = brute_holm([brute_wilcoxon(gain) for gain in gains.values()])
    for (method, gain), p in zip(gains.items(), expected, strict=True):
        found = versus[method]
        assert (found.wins, found.ties, found.losses) == ((gain > 0).sum(), 0, (gain < 0).sum())
        assert found.p == pytest.approx(p)
    assert versus["good"].p < 0.05 < versus["b"].p


def test_equal_methods_tie_and_are_not_told_apart() -> None:
    regret = np.tile(np.random.default_rng(0).random((8, 1)), (1, 3))
    regret[:, 1] += 1e-13  # what summing in another order does
    versus = against(regret, ("a", "b", "c"), "a")
    assert (versus["b"].ties, versus["b"].p) == (8, 1.0)
    found = critical_difference(regret, ("a", "b", "c"))
    assert found.ranks == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert found.cliques == (("a", "b", "c"),)


def test_ranks_share_ties_and_the_least_regret_is_first() -> None:
    regret = np.array([[0.1, 0.3, 0.2], [0.5, 0.5, 0.0]])
    np.testing.assert_array_equal(ranks(regret), [[1, 3, 2], [2.5, 2.5, 1]])


def test_a_bar_joins_what_is_not_told_apart_and_nothing_else() -> None:
    """Each method twenty tasks long; near means the noise covers the difference."""
    rng = np.random.default_rng(1)
    level = {"a": 0.0, "b": 0.01, "c": 1.0, "d": 2.0, "e": 2.01}
    regret = np.stack([rng.normal(mean, 0.1, 20) for mean in level.values()], axis=1)
    found = critical_difference(regret, tuple(level))
    assert {frozenset(clique) for clique in found.cliques} == {frozenset("ab"), frozenset("de")}
    assert list(found.ranks) == sorted(found.ranks, key=found.ranks.__getitem__)
    assert found.p < 1e-6
    alone = critical_difference(regret[:, [0, 2, 3]], ("a", "c", "d"))
    assert alone.cliques == ()


def test_pairs_are_not_looked_at_where_friedman_sees_no_difference() -> None:
    regret = np.random.default_rng(2).random((10, 4))
    found = critical_difference(regret, tuple("abcd"))
    assert found.p > 0.05
    assert len(found.cliques[0]) == 4


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_the_band_is_as_wide_as_the_standard_error_says(n_tasks: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(n_tasks, 3))
    low, high = bootstrap_band(values)
    mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(n_tasks)
    assert (low <= mean).all()
    assert (mean <= high).all()
    if n_tasks >= 20:
        np.testing.assert_allclose(high - low, 2 * 1.96 * error, rtol=0.15)
    np.testing.assert_array_equal(bootstrap_band(values)[0], low)  # the same seed, the same band


def test_p_values_are_not_more_precise_than_they_are() -> None:
    assert [p_value(p) for p in (0.0004, 0.0123, 1.0, nan)] == ["< 0.001", "0.012", "1.000", "–"]


# ---------------------------------------------------------------------- tables


def test_standings_are_the_means_and_medians_over_tasks() -> None:
    runs = made_up_runs(n_tasks=7, seeds=2, n_trials=5, failing=0)
    curves = by_trial(runs)
    rows = {row.method: row for row in standings(curves, 4, "random")}
    assert list(rows) == sorted(rows, key=lambda method: rows[method].rank)
    last = runs[runs["trial"] == 5].groupby(["method", "task_id"])["best"].mean()
    for method, row in rows.items():
        assert row.score == pytest.approx(last[method].mean())
        assert row.median_score == pytest.approx(last[method].median())
    assert rows["random"].versus is None


def test_scores_of_different_metrics_are_not_averaged() -> None:
    runs = pd.concat([two_methods([0.5], [0.6]), two_methods([9], [8], metric="r2", task_id="2")])
    findings = examine(runs)
    assert findings.trials.score is None
    assert "mean score" not in summary("x", findings, sections_of(findings), [record(runs)])


def test_task_by_task_tells_mean_spread_and_who_catches_up() -> None:
    runs = pd.concat(
        [
            two_methods([0.2, 0.4, 0.9], [0.5, 0.6, 0.6], seed=0),
            two_methods([0.4, 0.8, 0.9], [0.5, 0.6, 0.8], seed=1),
        ]
    )
    a, b = summarize(runs, rivals=("b",))
    assert (a.at(1), a.at(2), a.at(99)) == (
        "0.3000 ±0.1414",
        "0.6000 ±0.2828",
        "0.9000 ±0.0000",
    )
    assert (a.catches_up, b.catches_up) == (3, 3)
    assert summarize(runs, rivals=("a",))[1].catches_up is None
    lower = runs.assign(direction="minimize", score=-runs["score"], best=-runs["best"])
    assert summarize(lower, rivals=("b",))[0].catches_up == 3
    head, rows = task_by_task(examine(runs, baseline="b"))
    assert head == ["dataset", "method", "@1", "@3", "catches up"]
    assert rows[0][0] == "made-up 0, svc, accuracy"


# ---------------------------------------------------------------------- the report


def test_a_report_is_complete_and_the_same_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = made_up_runs(n_tasks=8, learners=("svc", "tree"), seeds=1, n_trials=4)
    folder = write_results(tmp_path / "made-up", runs)
    write_report([folder])
    names = {path.name for path in folder.iterdir()}
    pictures = {
        f"{name}.{kind}"
        for name in ("curves", "critical_difference", "dots")
        for kind in ("png", "svg")
    }
    assert names == {RUNS, RUN, "summary.md", "tasks.md", "report.html"} | pictures
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["bench", "report", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    said = capsys.readouterr()
    assert all(method in said.out for method in SPEEDS)
    assert str(folder / "report.html") in said.err

    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)  # nothing from outside
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    text = (folder / "summary.md").read_text()
    for said in (*SPEEDS, "4 methods, 8 tasks, 2 learners (svc, tree), 1 seed, 4 trials a run"):
        assert said in text
        assert said in page
    for said in ("metahpo bench tasks/made-up.toml", "0123456789ab", "some CPU", "Wilcoxon"):
        assert said in text
    assert text.count("\n## ") == 8


def test_joined_folders_report_what_the_whole_would(tmp_path: Path) -> None:
    runs = made_up_runs(n_tasks=6, seeds=2, n_trials=3)
    first = write_results(tmp_path / "first", runs[runs["seed"] == 0])
    overlapping = (runs["seed"] == 1) | (runs["task_id"] == "102")
    second = write_results(tmp_path / "second", runs[overlapping], name="more")
    with pytest.raises(ValueError, match="--out FOLDER"):
        write_report([first, second])
    joined = write_report([first, second], tmp_path / "joined")
    assert joined.coverage == examine(runs).coverage
    whole, parts = (
        {row.method: row for row in standings(curves, 2, "random")}
        for curves in (examine(runs).trials, joined.trials)
    )
    assert whole == parts
    text = (tmp_path / "joined" / "summary.md").read_text()
    assert text.startswith("# made-up + more\n")
    assert text.count("- command: ") == 2


@pytest.mark.parametrize(
    "runs",
    [
        made_up_runs({"alone": 1}, n_tasks=2, n_trials=3),
        made_up_runs({"a": 1, "b": 2}, n_tasks=1, seeds=1, n_trials=1, test=False),
        made_up_runs(n_tasks=3, n_trials=2, failing=1),
        made_up_runs(n_tasks=3, n_trials=2).assign(evaluate_seconds=0.0),
    ],
    ids=["one method", "one of everything", "all failed", "no times"],
)
def test_odd_benchmarks_have_reports_too(tmp_path: Path, runs: pd.DataFrame) -> None:
    folder = write_results(tmp_path / "odd", runs)
    findings = write_report([folder])
    timed = bool((runs["evaluate_seconds"] > 0).any())
    assert ("## After a time" in (folder / "summary.md").read_text()) == timed
    assert np.isfinite(findings.trials.regret).all()


def test_what_a_report_cannot_be_made_of_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_results(tmp_path / "made-up", made_up_runs(n_tasks=2, n_trials=2))
    with pytest.raises(ValueError, match="'grid' did not run; these did: metahpo, tpe, gp"):
        write_report([folder], baseline="grid")
    (folder / RUNS).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="damaged"):
        write_report([folder])
    assert main(["bench", "report", str(tmp_path / "nowhere")]) == 2
    assert "holds no results of a benchmark" in capsys.readouterr().err


# ---------------------------------------------------------------------- while it runs


def units(runs: pd.DataFrame) -> list[pd.DataFrame]:
    keys = ["task_id", "learner", "metric", "fold", "seed", "method"]
    return [unit for _, unit in runs.groupby(keys)]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_scoreboard_ranks_as_the_report_would(direction: str) -> None:
    runs = made_up_runs(n_tasks=5, seeds=1, n_trials=8, direction=direction, failing=0)
    screen = io.StringIO()
    board = Scoreboard(tuple(SPEEDS), Console(file=screen))
    board.begin(total=30, done=10)
    assert board.ranks() == {}
    for unit in units(runs):
        board.unit(unit)
    board.end()
    expected = examine(runs).ranking.ranks
    assert board.ranks() == pytest.approx(expected)
    assert list(board.ranks()) == list(expected)
    assert "10 of 30 runs were done before and are kept" in screen.getvalue()
    assert "30/30 runs; mean ranks: metahpo" in screen.getvalue()


def test_the_scoreboard_lives_in_a_terminal_and_leaves_nothing_behind() -> None:
    runs = made_up_runs({"metahpo": 2, "b": 1}, n_tasks=2, seeds=1, n_trials=2, failing=1)
    screen = io.StringIO()
    board = Scoreboard(("metahpo", "b"), Console(file=screen, force_terminal=True, width=80))
    board.begin(total=4, done=0)
    for unit in units(runs):  # all failed: ranks are shared, means unknown
        board.unit(unit)
    board.end()
    assert board.ranks() == {"metahpo": 1.5, "b": 1.5}
    assert "4 of 4 runs" in screen.getvalue()
    assert "mean rank" in screen.getvalue()
