"""Families as tasks for a tuner: meta-features, what an evaluation costs, experience, races."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from metahpo.cli import main
from metahpo.fewshot.duel import duel
from metahpo.fewshot.duel_summary import draw_duel, to_markdown
from metahpo.fewshot.experience import (
    Families,
    declared_families,
    gather,
    learn,
    load_experience,
    load_families,
)
from metahpo.fewshot.ledger import Ledger, Record
from metahpo.fewshot.meta_features import describe_family
from metahpo.fewshot.study import as_toml, run_trial, warm_study
from metahpo.fewshot.taskfile import FewShotPlan, declared_task
from metahpo.fewshot.tuning import SPACE, configured, evaluate, learned, passes_an_update
from metahpo.metadataset import MetaDataset
from metahpo.metamodel import MetaModel

REPOSITORY = Path(__file__).parents[1]


def family(**source: Any) -> FewShotPlan:
    return declared_task({"source": {"kind": "sinusoid", **source}, "training": {"shots": 5}})


# ---------------------------------------------------------------------- meta-features


def test_meta_features_tell_what_differs() -> None:
    plain, large = describe_family(family()), describe_family(family(amplitude=[5.0, 8.0]))
    noisy, fast = describe_family(family(noise=1.0)), describe_family(family(frequency=[3.0, 4.0]))
    assert plain == describe_family(family())
    assert large["loss_log_mean"] > plain["loss_log_mean"] + 1
    assert large["loss_log_sd"] < plain["loss_log_sd"]
    assert large["target_sd_log"] > plain["target_sd_log"] + 0.5
    assert noisy["loss_log_mean"] > plain["loss_log_mean"]
    assert fast["agreement"] < plain["agreement"]  # a fast wave's gradient says little of others
    assert (plain["shots"], plain["ways"], plain["inputs"]) == (5, 0, 1)
    assert all(math.isfinite(value) for value in plain.values())


def test_the_share_between_tasks_is_that_of_constants() -> None:
    constants = declared_task({"source": {"kind": "polynomial", "degree": 0}})
    lines = declared_task({"source": {"kind": "polynomial", "degree": 1}})
    assert describe_family(constants)["target_share"] == pytest.approx(1, abs=0.02)
    assert describe_family(lines)["target_share"] < 0.9


# ---------------------------------------------------------------------- evaluations


def test_a_configuration_is_trained_for_its_passes() -> None:
    config = {**SPACE.default, "task_batch": 10, "inner_steps": 3, "width": 16}
    assert passes_an_update(config) == 10 * (1 + 3 * 2)
    assert passes_an_update({**config, "order": "first"}) == 10 * (1 + 3)
    plan = configured(family(), config, passes=7_000)
    assert (plan.outer.iterations, plan.outer.tasks) == (100, 10)
    assert plan.net.hidden == (16, 16)
    assert (plan.method.steps, plan.method.rule.rate) == (3, 0.01)
    by_gradient = learned(family(), passes=32_500)
    assert by_gradient.outer.iterations == 100
    assert by_gradient.method.rule.learned


def test_an_evaluation_is_fixed_by_its_seed_and_longer_training_is_better() -> None:
    config = {**SPACE.default, "task_batch": 4, "outer_rate": 5e-3, "width": 16}
    short, again = (evaluate(configured(family(), config, 600), seed=1) for _ in range(2))
    assert (short.score, short.test_score) == (again.score, again.test_score)
    long = evaluate(configured(family(), config, 3_000), seed=1)
    assert long.score < short.score
    assert abs(long.test_score - long.score) < long.score  # of other tasks, of the same family


def test_a_diverged_training_is_a_failure() -> None:
    config = {**SPACE.default, "inner_rate": 1.0, "inner_steps": 6, "outer_rate": 0.03}
    done = evaluate(configured(family(amplitude=[1e4, 1e5]), config, 3_000))
    assert math.isnan(done.score)


# ---------------------------------------------------------------------- ledgers


def piece(number: int) -> Record:
    return {"number": number}


def test_a_ledger_goes_on_after_a_line_that_was_cut(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.jsonl", {"budget": 3})
    ledger.fill([partial(piece, i) for i in range(3)], total=3)
    text = ledger.path.read_text()
    ledger.path.write_text(text[: text.index("\n") + 5])  # killed within the second line
    assert ledger.read() == [{"number": 0}]
    seen: list[tuple[int, int]] = []
    ledger.fill(
        [partial(piece, i) for i in (1, 2)],
        total=3,
        watch=lambda done, total: seen.append((done, total)),
    )
    assert ledger.read() == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(ValueError, match="begun with another budget than 4; use another folder"):
        Ledger(ledger.path, {"budget": 4}).read()
    with pytest.raises(ValueError, match="begun with another price than 2"):
        Ledger(ledger.path, {"price": 2}).read()


# ---------------------------------------------------------------------- experience

FAMILIES = """
n_configs = 4
passes = 300
[earlier.waves]
kind = "sinusoid"
shots = 5
[earlier.lines]
kind = "polynomial"
degree = 1
[held_out.bent]
kind = "piecewise_linear"
"""


@pytest.fixture(scope="module")
def experience(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experience")
    (folder / "families.toml").write_text(FAMILIES)
    gather(load_families(folder / "families.toml"), folder)
    learn(folder)
    return folder


def test_experience_is_a_metadataset_and_a_model(experience: Path) -> None:
    dataset = MetaDataset.load(experience / "dataset")
    assert set(dataset.task_ids) == {"waves", "lines"}
    assert (dataset.n_evaluations, dataset.direction) == (8, "minimize")
    assert dataset.tasks is not None
    assert dataset.tasks.loc["waves", "shots"] == 5
    first = dataset.trials[dataset.trials["task_id"] == "lines"].iloc[0]
    assert first["inner_rate"] == SPACE.default["inner_rate"]  # the default comes first
    plan = load_families(experience / "families.toml").earlier["lines"]
    expected = evaluate(configured(plan, SPACE.default, 300)).score
    assert first["score"] == pytest.approx(expected)
    assert load_experience(experience).space == SPACE


def test_gathering_goes_on_with_more_configurations(experience: Path, tmp_path: Path) -> None:
    lines = (experience / "evaluations.jsonl").read_text()
    (tmp_path / "evaluations.jsonl").write_text(lines)
    families = load_families(experience / "families.toml")
    seen: list[tuple[int, int]] = []
    gather(families, tmp_path, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 8)]
    assert (tmp_path / "evaluations.jsonl").read_text() == lines


def test_a_family_declared_otherwise_is_evaluated_anew(experience: Path, tmp_path: Path) -> None:
    shutil.copy(experience / "evaluations.jsonl", tmp_path)
    (tmp_path / "edited.toml").write_text(FAMILIES.replace("degree = 1", "degree = 3"))
    edited = load_families(tmp_path / "edited.toml")
    seen: list[tuple[int, int]] = []
    dataset = gather(edited, tmp_path, watch=lambda done, total: seen.append((done, total)))
    assert seen[0] == (4, 8)  # the waves are as they were
    first = dataset.trials[dataset.trials["task_id"] == "lines"].iloc[0]
    cubics = evaluate(configured(edited.earlier["lines"], SPACE.default, 300))
    assert first["score"] == pytest.approx(cubics.score)
    seen.clear()
    families = load_families(experience / "families.toml")
    gather(families, tmp_path, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 8)]  # what was found of the first declaration is kept, too


def test_the_shipped_experience_is_of_the_shipped_families(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "results/fewshot/experience/evaluations.jsonl", tmp_path)

    def stop(done: int, total: int) -> None:
        assert done == total
        raise InterruptedError  # what follows would fetch tables from OpenML

    with pytest.raises(InterruptedError):
        gather(load_families(REPOSITORY / "tasks/fewshot/families.toml"), tmp_path, watch=stop)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"passes": 1}, "n_configs is None; a positive integer is needed"),
        ({"n_configs": 1, "passes": 0}, "passes is 0; a positive integer is needed"),
        ({"n_configs": 1, "passes": 1, "families": {}}, "unknown key 'families'"),
        ({"n_configs": 1, "passes": 1, "earlier": {"a": 1}}, r"tables \[earlier.NAME\]"),
        (
            {"n_configs": 1, "passes": 1, "held_out": {"a": {"kind": "sine"}}},
            r"\[held_out.a\]: \[source\] has kind 'sine'",
        ),
    ],
)
def test_wrong_families_name_the_key(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        declared_families(declared)


# ---------------------------------------------------------------------- studies


def test_a_warm_study_begins_with_what_the_model_suggests(experience: Path) -> None:
    model = load_experience(experience)
    features = describe_family(family())
    study = warm_study(model, features, seed=3)
    trial = run_trial(study, family(), passes=300, seed=3)
    assert trial.config == pytest.approx(model.suggest(features, 1)[0])
    assert study.trials[0].value == trial.evaluation.score
    assert study.trials[0].user_attrs["test_score"] == trial.evaluation.test_score


def test_settings_are_written_as_a_task_file_reads_them() -> None:
    import tomllib

    config = {**SPACE.default, "width": 24, "order": "first"}
    plan = family()
    again = declared_task({**plan.declared, **tomllib.loads(as_toml(config, plan))})
    expected = configured(plan, config, 1_000)
    assert (again.net.hidden, again.method.steps) == (expected.net.hidden, expected.method.steps)
    assert again.method.rule == expected.method.rule
    assert again.outer.learning_rate == expected.outer.learning_rate


def test_tune_goes_on_with_its_study(
    experience: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "bent.toml"
    task.write_text('[source]\nkind = "piecewise_linear"\n')
    command = ["fewshot", "tune", str(task), "-e", str(experience), "--passes", "300"]
    command += ["--study", str(tmp_path / "study.db")]
    assert main([*command, "--trials", "2"]) == 0
    assert main([*command, "--trials", "3"]) == 0
    said = capsys.readouterr().out
    assert "[learner]\nmethod" in said
    assert "of 3" in said


@pytest.fixture(scope="module")
def begun(experience: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command that tunes, whose study has begun."""
    folder = tmp_path_factory.mktemp("begun")
    for kind in ("piecewise_linear", "sinusoid"):
        (folder / f"{kind}.toml").write_text(f'[source]\nkind = "{kind}"\n')
    command = ["fewshot", "tune", str(folder / "piecewise_linear.toml"), "-e", str(experience)]
    command += ["--study", str(folder / "study.db"), "--trials", "1", "--passes", "300"]
    assert main(command) == 0
    return command


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("sinusoid", [], "source {'kind': 'piecewise_linear'} instead of {'kind': 'sinusoid'}"),
        ("piecewise_linear", ["--passes", "600"], "passes 300 instead of 600"),
        ("piecewise_linear", ["--seed", "4"], "seed 0 instead of 4"),
    ],
)
def test_a_study_of_other_trials_is_not_gone_on_with(
    begun: list[str],
    kind: str,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [word.replace("piecewise_linear.toml", f"{kind}.toml") for word in begun]
    assert main([*command, *options]) == 2
    said = capsys.readouterr()
    study = begun[begun.index("--study") + 1]
    assert said.out == ""
    assert f"error: {study} is a study with {words}; give another --study" in said.err
    assert said.err.count("\n") == 1
    assert main(begun) == 0


def test_a_study_that_metahpo_did_not_begin_is_not_gone_on_with(
    begun: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.db"
    optuna.create_study(storage=f"sqlite:///{path}", study_name="fewshot").ask()
    assert main([*begun, "--study", str(path)]) == 2
    assert "does not say what its study tunes; give another --study" in capsys.readouterr().err


def test_a_duel_is_kept_and_reported(experience: Path, tmp_path: Path) -> None:
    families = load_families(experience / "families.toml")
    model: MetaModel = load_experience(experience)
    path = tmp_path / "duel.jsonl"
    rows = duel(families, model, path, seeds=2, trials=3)
    assert rows.groupby("method").size().to_dict() == {"gradient": 4, "metahpo": 6, "tpe": 6}
    cold = rows[(rows["method"] == "tpe") & (rows["seed"] == 0)]
    default = evaluate(configured(families.held_out["bent"], SPACE.default, 300), 0)
    assert cold["score"].iloc[0] == pytest.approx(default.score)
    for _, study in rows[rows["method"] != "gradient"].groupby(["method", "seed"]):
        best = study["test_score"].iloc[
            study["score"].expanding().apply(lambda s: s.argmin()).astype(int)
        ]
        assert study["best_test"].tolist() == pytest.approx(best.tolist())
        assert study["seconds"].is_monotonic_increasing
    lines = path.read_text()
    again = duel(families, model, path, seeds=2, trials=3)
    assert path.read_text() == lines
    assert again.equals(rows)
    session = {
        "command": "x",
        "metahpo": "0",
        "machine": {"cores": 2, "cpu": "fast"},
        "versions": {"python": "3", "torch": "2"},
    }
    page = to_markdown("families", rows, 300, session)
    assert "families where warm is ahead" in page
    assert f"{cold['best_test'].iloc[0]:#.2g}"[:3] in page
    draw_duel(rows, tmp_path / "duel.png")
    assert (tmp_path / "duel.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(lines.splitlines()[0])["passes"] == 300


def test_a_duel_runs_anew_what_depends_on_what_was_changed(
    experience: Path, tmp_path: Path
) -> None:
    families, path = load_families(experience / "families.toml"), tmp_path / "duel.jsonl"
    two = replace(families, held_out={**families.held_out, "waves": family(amplitude=[2.0, 4.0])})
    model, blank = load_experience(experience), MetaModel.blank("minimize")
    seen: list[int] = []

    def run(families: Families, model: MetaModel, path: Path = path) -> pd.DataFrame:
        seen.clear()
        rows = duel(
            families, model, path, seeds=1, trials=1, watch=lambda done, _: seen.append(done)
        )
        return rows.drop(columns="seconds")

    first = run(two, model)
    bent, waves = two.held_out.values()
    swapped = replace(two, held_out={"bent": waves, "waves": bent})
    assert not run(swapped, model).equals(first)
    assert seen[0] == 0  # the names are those of the file, the families are not
    assert run(swapped, model).equals(run(swapped, model, tmp_path / "fresh.jsonl"))
    one = replace(two, held_out={**two.held_out, "waves": family(noise=0.5)})
    run(one, model)
    assert seen[0] == 3
    run(two, blank)
    assert seen[0] == 4  # all but the warm studies
    assert run(two, load_experience(experience)).equals(first)
    assert seen == [6]
