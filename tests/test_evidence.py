"""The evidence commands, on tables small enough to see through."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from valleys import QUICK, SPACE, evaluated

from metahpo import MetaDataset, MetaModel

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the commands as Python finds a script's neighbours, and let them train small models."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(MetaModel, "fit", partial(MetaModel.fit, device="cpu", options=QUICK))


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two tables: valleys, and valleys of others, in the format of histories."""
    folder = tmp_path_factory.mktemp("histories")
    for name, seed in (("valleys", 0), ("others", 100)):
        trials, features = evaluated(np.linspace(0, 1, 15), n=30, seed=seed)
        columns = {parameter: f"hp_{parameter}" for parameter in SPACE.names}
        table = trials.rename(columns=columns).assign(config_id=range(len(trials)))
        table.to_parquet(folder / f"{name}.parquet")
        features.rename_axis("task_id").reset_index().to_parquet(
            folder / f"{name}_metafeatures.parquet"
        )
    return folder


@pytest.fixture(scope="module")
def md() -> MetaDataset:
    trials, features = evaluated(np.linspace(0, 1, 8), n=20)
    return MetaDataset.from_frames(trials, features, space=SPACE)


def run(name: str, monkeypatch: pytest.MonkeyPatch, out: Path, *options: Any) -> pd.DataFrame:
    """Call a command, and read the table that it writes."""
    command = ["benchmarks/command.py", *map(str, options), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    __import__(name)
    sys.modules[name].main()
    facts = json.loads((out / f"{name}.json").read_text())
    page = (out / f"{name}.md").read_text()
    assert f"`{' '.join(['python', *command])}`" in page
    assert facts["sessions"][0]["machine"]["cores"]
    assert facts["sessions"][0]["finished"]
    return pd.DataFrame(facts["rows"], columns=facts["columns"])


# ---------------------------------------------------------------------- the commands


def test_calibration_counts_for_every_number_of_trials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, histories: Path
) -> None:
    options = ("--histories", histories, "--table", "valleys", "--tasks", 2, "--told", 3, 6)
    found = run("calibration", monkeypatch, tmp_path, *options)
    assert found[["trials", "told"]].to_numpy().tolist() == [
        ["asked", 3], ["asked", 6], ["random", 3], ["random", 6]
    ]  # fmt: skip
    assert found["in 95%"].between(found["in 80%"], 1.0).all()
    assert (found["width 80%"] > 0).all()


def test_adversaries_are_held_against_the_gp(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, histories: Path
) -> None:
    options = ("--histories", histories, "--table", "valleys", "--tasks", 2, "--trials", 21)
    names = ("--adversary", "none", "foreign", "constant", "--foreign", "valleys", "others")
    found = run("adversaries", monkeypatch, tmp_path, *options, *names).set_index("adversary")
    assert list(found.index) == ["none", "foreign", "constant"]
    assert found.loc["none", "GP"] == found.loc["foreign", "GP"]  # the same studies
    assert found.loc["constant", ["metahpo", "GP"]].tolist() == [0.0, 0.0]
    assert found["trust @20"].between(0, 1).all()
    assert found.loc["foreign", "trust @20"] < found.loc["none", "trust @20"]


def test_a_stream_of_tasks_is_added_one_by_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, histories: Path
) -> None:
    options = ("--histories", histories, "--table", "valleys", "--tasks", 2)
    stream = ("--stream", 6, "--trials", 4)
    found = run("incrementality", monkeypatch, tmp_path, *options, *stream)
    assert found["tasks added"].tolist() == ["0", "5", "6", "trained anew"]
    assert found.loc[0, "change"] == 0
    assert (found["@10"] <= found["@1"]).all()
    assert (found.loc[1:2, "seconds an update"] > 0).all()


def test_scale_says_what_was_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = ("--tasks", "--narrow", "--studies", 2, "--told", 2)
    found = run("scale", monkeypatch, tmp_path, *options).set_index("device")
    one_by_one, at_once = found.loc["cpu", "asks a second"]
    assert 0 < one_by_one < at_once
    assert found.loc["cuda", "seconds"] == "not measured"


def test_a_table_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("calibration", monkeypatch, tmp_path, "--histories", tmp_path, "--table", "moon")
    assert capsys.readouterr().err.startswith("error: there is no history ")


# ---------------------------------------------------------------------- their parts


def test_what_misleads_keeps_to_the_space(md: MetaDataset) -> None:
    import adversaries

    trials, features = evaluated([0.2, 0.4], n=10, seed=50)
    other = MetaDataset.from_frames(trials, features, space=SPACE)
    rng = np.random.default_rng(0)
    for name, (twist, _) in adversaries.adversaries(adversaries.NAMES, other).items():
        twisted = twist(md, rng)
        again = MetaDataset.from_frames(twisted.trials, twisted.tasks, space=twisted.space)
        assert set(again.task_ids) >= set(md.task_ids) or name == "single"
        same = twisted.trials.equals(md.trials)
        assert same == (name in ("none", "flat", "constant")), name


def test_permuting_and_shifting_move_configurations_and_leave_scores(md: MetaDataset) -> None:
    import adversaries

    rng = np.random.default_rng(0)
    before = md.space.encode(md.trials)
    for twist in (adversaries.permuted, adversaries.shifted):
        twisted = twist(md, rng)
        after = md.space.encode(twisted.trials)
        assert twisted.trials["score"].equals(md.trials["score"])
        assert (after != before).any(1).mean() > 0.9
    numbers = [column.choice is None for column in md.space.columns]
    np.testing.assert_allclose(
        (after - before)[:, numbers][:, 0] % 1, 1 / 3, atol=1e-6
    )  # rate moves by a third


def test_a_flat_target_is_flat_but_for_its_best(histories: Path) -> None:
    import adversaries
    import evidence

    parser = evidence.histories_command_line("", n_tasks=1)
    given = parser.parse_args(["--histories", str(histories), "--table", "valleys"])
    contest = evidence.held_out(given, "valleys")[0]
    flat = adversaries.flattened(contest, 0.9)
    configs = contest.problem(0, None).configs()
    true, seen = ([c.evaluate(config).score for config in configs] for c in (contest, flat))
    assert max(seen) == max(true) == flat.bounds.optimum
    assert min(seen) == flat.bounds.worst
    assert sum(score > min(seen) for score in seen) == 3  # of 30


def test_intervals_are_counted_ends_included() -> None:
    import calibration

    predicted = pd.DataFrame({"low": [0.0, 0.0, 0.0, 2.0], "high": [1.0, 1.0, 1.0, 3.0]})
    held = calibration.held(predicted, np.array([0.0, 1.0, 1.1, 1.9]), 0.8)
    assert held["in 80%"] == 0.5
    assert held["width 80%"] == pytest.approx(
        1.0 / np.ptp(np.quantile([0, 1, 1.1, 1.9], [0.1, 0.9]))
    )


def test_regret_is_relative_to_best_and_worst() -> None:
    import evidence

    rows = pd.DataFrame({"best": [np.nan, 0.5, 0.8], "optimum": 0.9, "worst": 0.4})
    np.testing.assert_allclose(evidence.regret(rows), [1.0, 0.8, 0.2])
    np.testing.assert_allclose(evidence.regret(rows.assign(optimum=0.4, worst=0.9)), [1, 0.2, 0.8])
    np.testing.assert_allclose(evidence.regret(rows.assign(best=0.4, optimum=0.4)), 0.0)
