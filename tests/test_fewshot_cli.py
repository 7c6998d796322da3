"""``metahpo fewshot`` as a person meets it: files, exit codes, one line an error, kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from metahpo.cli import main
from metahpo.fewshot.training import load_trained

REPOSITORY = Path(__file__).parents[1]

TASK = """
seeds = 1
[source]
kind = "sinusoid"
[net]
hidden = [8]
[learner]
method = "maml++"
maximum = 2
price = 0.01
[training]
shots = 5
iterations = {iterations}
tasks = 4
validate_every = 10
validation = 20
[evaluation]
shots = [5]
steps = 2
episodes = 20
queries = 10
baseline_steps = 3
"""


def write_task(folder: Path, iterations: int = 10) -> Path:
    file = folder / "waves.toml"
    file.write_text(TASK.format(iterations=iterations))
    return file


@pytest.mark.parametrize("command", [[], ["bench"], ["fewshot"]])
def test_a_command_that_holds_others_shows_them(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "Commands" in shown.out
    assert not shown.err


def test_train_then_eval_writes_json_markdown_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, trained, results = write_task(tmp_path), tmp_path / "trained", tmp_path / "results"
    assert main(["fewshot", "train", str(task), "--trained", str(trained)]) == 0
    assert "10 iterations" in capsys.readouterr().out
    common = [str(task), "--trained", str(trained), "--out", str(results)]
    assert main(["fewshot", "eval", *common]) == 0
    assert {file.name for file in results.iterdir()} == {"waves.json", "waves.md", "waves.png"}
    assert capsys.readouterr().out.strip() == (results / "waves.md").read_text().strip()


def test_the_step_count_is_swept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, trained = write_task(tmp_path), tmp_path / "trained"
    command = ["fewshot", "sweep", str(task), "--trained", str(trained), "--out", str(tmp_path)]
    assert main(command) == 0
    page = capsys.readouterr().out
    assert "| 0.003 |" in page
    lines = (trained / "sweep.jsonl").read_text().splitlines()
    assert len(lines) == 3 + 2  # prices and fixed numbers
    (trained / "sweep.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:50])  # killed
    assert main(command) == 0
    assert [row for row in capsys.readouterr().out.splitlines() if row.startswith("| 0.")] == [
        *filter(lambda row: row.startswith("| 0."), page.splitlines())
    ]


def test_a_sweep_says_what_other_episodes_and_what_other_trainings_would_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, trained = write_task(tmp_path), tmp_path / "trained"
    command = ["fewshot", "sweep", str(task), "--trained", str(trained), "--out", str(tmp_path)]
    assert main([*command, "--seeds", "3"]) == 0
    runs = [json.loads(line) for line in (trained / "sweep.jsonl").read_text().splitlines()]
    page = json.loads((tmp_path / "waves_sweep.json").read_text())
    for row in page["rows"]:
        found = dict(zip(page["columns"], row, strict=True))
        price = found["price"]

        def losses(price: float | None, steps: int | None, cost: float = price) -> np.ndarray:
            wanted = [r for r in runs if (r["price"], r["steps"]) == (price, steps)]
            ordered = sorted(wanted, key=lambda r: r["seed"])
            return np.array([np.add(r["losses"], cost * r["chosen"]) for r in ordered])

        difference = losses(price, None) - losses(None, found["best"])  # (seeds, episodes)
        assert found["difference"] == pytest.approx(difference.mean(), abs=1e-6)
        low, high = ttest_1samp(difference.mean(1), 0.0).confidence_interval(0.95)
        assert found["seeds_ci95"] == pytest.approx((high - low) / 2, rel=1e-4)
        spread = difference.mean(0).std(ddof=1) / np.sqrt(difference.shape[1])
        assert found["ci95"] == pytest.approx(1.96 * spread, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "none.toml"], "there is no task file none.toml"),
        (["eval", "{task}", "--trained", "nowhere"], "nowhere holds no finished seed-0"),
        (["train", "{bad}"], "[training] has an unknown key 'iteration'"),
        (["train", "{images}"], "there is no nowhere/omniglot_background.npz"),
        (["collect", "{task}", "-e", "x"], "unknown key 'seeds'"),
        (["tune", "{task}", "-e", "nowhere"], "nowhere/model is no MetaModel"),
        (["train"], "Missing argument"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"{task}": str(write_task(tmp_path))}
    for name, text in {
        "bad": TASK.format(iterations=1).replace("iterations", "iteration"),
        "images": '[source]\nkind = "omniglot"\nfolder = "nowhere"\n[net]\nkind = "conv4"\n',
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
        files[f"{{{name}}}"] = str(tmp_path / f"{name}.toml")
    assert main(["fewshot", *(files.get(one, one) for one in arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1


def start(task: Path, trained: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(REPOSITORY / "cli.py"), "fewshot", "train", str(task)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--trained", str(trained)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    task = write_task(tmp_path, iterations=300)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(task, killed)
    try:
        for _ in range(6000):
            if (killed / "seed-0" / "checkpoint").exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        assert process.poll() is None, "it was through before it could be killed"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not (killed / "seed-0" / "training.json").exists()
    for folder in (killed, whole):
        assert main(["fewshot", "train", str(task), "--trained", str(folder)]) == 0
    expected = load_trained(whole, "seed-0").parameters
    for name, value in load_trained(killed, "seed-0").parameters.items():
        assert torch.equal(value, expected[name]), name


def test_ctrl_c_says_what_is_kept(tmp_path: Path) -> None:
    task, trained = write_task(tmp_path, iterations=100_000), tmp_path / "trained"
    process = start(task, trained)
    try:
        for _ in range(6000):
            if (trained / "seed-0" / "checkpoint").exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
