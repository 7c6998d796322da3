from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import OpenMLServer, free_port
from made_up import meta_dataset
from searching import knowing
from sklearn import datasets

import metahpo
from metahpo import MetaDataset, MetaModel, Space, describe, learners
from metahpo.cli import main
from metahpo.space import Config
from metahpo.tables import read_table

REPOSITORY = Path(__file__).parents[1]
COMMANDS = ("tune", "suggest", "describe", "collect", "train", "map", "demo")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> Run:
    """Run a command in an empty folder: its exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "")  # tune sets it; this puts it back
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return command


@pytest.fixture(scope="session")
def tiny(tiny_model: MetaModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of "svc"."""
    folder = tmp_path_factory.mktemp("models") / "svc"
    tiny_model.save(folder)
    return folder


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    path = tmp_path / "iris.csv"
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    X.assign(species=y.map(dict(enumerate("abc")))).to_csv(path, index=False)
    return path


SVC = learners["svc"].space
TWO = Space.union({"svc": SVC, "exotic": SVC}, "learner", default="svc")


def of_two_learners() -> MetaDataset:
    """Evaluations of "svc" and a twin of it."""
    one = meta_dataset(3, 8)
    configs = one.space.from_frame(one.trials)
    frames = []
    for name in ("svc", "exotic"):
        prefixed: list[Config] = [
            {"learner": name, **{f"{name}__{k}": v for k, v in config.items()}}
            for config in configs
        ]
        frames.append(TWO.to_frame(prefixed).join(one.trials[["task_id", "score"]]))
    trials = pd.concat(frames, ignore_index=True)
    return MetaDataset.from_frames(trials, one.tasks, space=TWO, info=one.info)


# ---------------------------------------------------------------------- the program


def test_the_program_starts_without_what_it_does_not_need() -> None:
    heavy = ("torch", "optuna", "sklearn", "pandas", "openml", "numpy", "plotly", "skrub")
    code = f"import metahpo.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_a_checkout_runs_without_installation(run: Run) -> None:
    checkout = subprocess.run(
        [sys.executable, REPOSITORY / "cli.py", "--version"], capture_output=True, text=True
    )
    installed = subprocess.run(
        [Path(sys.executable).with_name("metahpo"), "--version"], capture_output=True, text=True
    )
    assert checkout.stdout == installed.stdout == f"metahpo {metahpo.__version__}\n"
    assert run("--version") == (0, checkout.stdout, "")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_the_commands(arguments: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    for command in COMMANDS:
        assert f" {command} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, run: Run) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert "--out" in out or "--json" in out


# ---------------------------------------------------------------------- describe


def test_describe_prints_what_the_library_says(iris: Path, run: Run) -> None:
    known = read_table(iris, "species")
    features = describe(known.X, known.y)
    code, out, err = run("describe", iris, "--target", "species", "--json")
    assert code == 0
    told = json.loads(out)["meta_features"]
    assert list(told) == list(features)
    assert [math.nan if v is None else v for v in told.values()] == pytest.approx(
        list(features.values()), nan_ok=True
    )
    assert "guessed classification, since 'species' has 3 distinct values in 150 rows" in err
    code, out, _ = run("describe", iris, "--target", "species")
    assert code == 0
    for name in features:
        assert name in out


# ---------------------------------------------------------------------- map


def test_a_map_shows_the_known_tasks_and_the_table(
    run: Run, tiny: Path, tiny_model: MetaModel, iris: Path, tmp_path: Path
) -> None:
    assert run("map", "--model", tiny, "-o", "all.html")[0] == 0
    page = (tmp_path / "all.html").read_text()
    for name in tiny_model.card["tasks"].values():
        assert f'"{name}"' in page
    assert "iris.csv" not in page
    command = ("map", iris, "-t", "species", "-l", "svc", "--model", tiny, "-o", "deep/mine.html")
    assert run(*command)[:2] == (0, f"{len(tiny_model.task_ids)} tasks: deep/mine.html\n")
    assert '"iris.csv"' in (tmp_path / "deep" / "mine.html").read_text()
    assert run("map", "-l", "svr")[:2] == (0, "20 tasks: tasks.html\n")  # what svr does is known
    code, _, complaint = run("map", iris)
    assert (code, complaint) == (2, "error: give a table and its --target, or neither\n")


# ---------------------------------------------------------------------- suggest


def test_suggestions_are_the_model_s_in_the_words_of_the_estimator(
    iris: Path, tiny: Path, tiny_model: MetaModel, run: Run
) -> None:
    command = ("suggest", iris, "-t", "species", "-l", "svc", "-n", "3", "--model", tiny)
    code, out, _ = run(*command, "--json")
    assert code == 0
    told = json.loads(out)
    known = read_table(iris, "species")
    expected = tiny_model.suggest(describe(known.X, known.y), 3)
    assert [s["params"] for s in told["suggestions"]] == [
        learners["svc"].params_of(config) for config in expected
    ]
    for suggestion in told["suggestions"]:
        learners["svc"].estimator_class(**suggestion["params"])
    code, out, _ = run(*command)
    assert code == 0
    for suggestion in told["suggestions"]:
        assert f"kernel={suggestion['params']['kernel']!r}" in out


def test_what_is_not_installed_is_not_suggested(iris: Path, tmp_path: Path, run: Run) -> None:
    """A model of all learners was trained where there were more, or others, than here."""
    pool = TWO.sample(40, seed=0)
    assert {config["learner"] for config in pool} == {"svc", "exotic"}
    blank = knowing(TWO)
    remembering = replace(blank.experience, pool=pool, memory=np.zeros((40, 0)))
    model = replace(blank, experience=remembering)
    model.save(tmp_path / "auto")
    command = ("suggest", iris, "-t", "species", "--model", tmp_path / "auto", "-n", "40")
    code, out, err = run(*command, "--json")
    assert code == 0, err
    told = json.loads(out)["suggestions"]
    assert {suggestion["learner"] for suggestion in told} == {"svc"}
    assert f"knows no more than {len(told)} configurations to suggest" in err.replace("\n", " ")


def test_suggest_leaves_torch_alone(iris: Path, tiny: Path) -> None:
    """Importing torch would take longer than everything else together."""
    code = (
        "import sys; from metahpo.cli import main\n"
        "main(sys.argv[1:])\n"
        "print('torch' in sys.modules)"
    )
    command = [code, "suggest", iris, "-t", "species", "-l", "svc", "--model", tiny]
    found = subprocess.run([sys.executable, "-c", *command], capture_output=True, text=True)
    assert found.stdout.endswith("False\n"), found.stderr


# ---------------------------------------------------------------------- train


def test_train_makes_models_that_load_and_says_how_good_they_are(tmp_path: Path, run: Run) -> None:
    data = of_two_learners()
    data.save(tmp_path / "data")
    code, out, err = run("train", tmp_path / "data", "--learner", "svc", "--out", tmp_path / "m")
    assert code == 0, err
    model = MetaModel.load(tmp_path / "m" / "svc")
    assert model.space == data.for_learner("svc").space
    assert str(tmp_path / "m" / "svc") in err.replace("\n", "")
    assert [cell for cell in out.splitlines()[1].split() if cell != "/"][:3] == ["svc", "3", "24"]


def test_train_names_what_there_is_to_train(tmp_path: Path, run: Run) -> None:
    data = of_two_learners()
    data.save(tmp_path / "data")
    code, out, err = run("train", tmp_path / "data", "-l", "svm", "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert err == "error: there is no learner 'svm' in this MetaDataset; it has svc, exotic\n"


# ---------------------------------------------------------------------- collect


def test_collect_takes_options_instead_of_a_file(
    openml_server: OpenMLServer, tmp_path: Path, run: Run
) -> None:
    options = "--tasks 27 --learners decision_tree,svc --configs 2 --folds 2 --max-rows 100"
    code, out, err = run("collect", *options.split(), "--out", tmp_path / "out")
    assert code == 0, err
    collected = MetaDataset.load(tmp_path / "out")
    assert out == f"{collected!r}\n"
    assert collected.n_evaluations == 4
    assert collected.metric == "accuracy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "give --learners, or a file that declares the collection"),
        ("--learners svc", "give either tasks .* or suite"),
        ("--learners svc --suite 99 --tasks 1", "give either tasks .* or suite"),
        ("--learners svc --tasks one", "--tasks has 'one'; give OpenML task ids"),
        ("--learners svcc --tasks 1", "unknown learner 'svcc'; did you mean 'svc'?"),
        ("--learners svc --tasks 1 --metric acc", "metric 'acc' is not one of scikit-learn's"),
        ("--learners svc --tasks 1 --folds 1", "n_folds is 1; it must be at least 2"),
        ("--learners svr --tasks 1", "'svr' does regression, not classification"),
        ("--learners svc --tasks 1 --configs 0", "n_configs is 0"),
        ("plan.toml", "there is no collection file plan.toml"),
        ("plan.toml --seed 1", "plan.toml declares the collection; leave out the other options"),
    ],
)
def test_a_collection_that_cannot_be(
    options: str, message: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run("collect", *options.split(), "--out", "out")
    assert (code, out) == (2, "")
    assert_one_line(err, message)


def test_a_suite_on_a_server_that_is_down(
    openml_server: OpenMLServer, run: Run, monkeypatch: Any
) -> None:
    import openml

    url = f"http://127.0.0.1:{free_port()}/api/v1/xml"
    monkeypatch.setattr(openml.config, "server", url)
    code, out, err = run("collect", "--suite", "99", "--learners", "svc", "--out", "out")
    assert (code, out) == (2, "")
    assert_one_line(err, f"cannot reach {url} for suite 99")


# ---------------------------------------------------------------------- bad input


def assert_one_line(err: str, message: str) -> None:
    *notes, last = err.splitlines()
    assert all(note.startswith("  ") for note in notes), err  # what was said on the way
    assert re.search(f"^error: .*{message}", last), err


TABLES = {
    "iris": None,
    "rare": "a,y\n" + "".join(f"{i},{'uv'[i % 2]}\n" for i in range(20)) + "5,w\n6,w\n",
    "many": "a,y\n" + "".join(f"{i},c{i}\n" for i in range(100_000)),
    "real": "a,y\n" + "".join(f"{i},{i / 7}\n" for i in range(40)),
    "text": "a,y\n" + "".join(f"{i},{'no' if i % 3 else 'yes'}\n" for i in range(40)),
    "empty": "",
    "twice": "a,a,y\n1,2,3\n",
}
BAD = [
    ("iris", "-t specie", "no column 'specie'; did you mean 'species'"),
    ("iris", "-t species -l svcc", "unknown learner 'svcc'; did you mean 'svc'"),
    ("iris", "-t species -l svr", "'svr' does regression, not classification"),
    ("iris", "-t species --metric acuracy", "unknown metric 'acuracy'; did you mean 'accuracy'"),
    ("iris", "-t species --metric r2", "'r2' measures regression"),
    (
        "iris",
        "-t species -l mlp --model default --metric roc_auc",
        "'roc_auc' does not fit .* 'roc_auc_ovr'",
    ),
    ("iris", "-t species --metric neg_log_loss", "'neg_log_loss' does not fit"),
    ("text", "-t y --metric f1", "'f1' does not fit .*; use 'f1_macro'"),
    ("real", "-t y --model default --metric accuracy", "'accuracy' does not fit"),
    ("real", "-t y", "knows nothing of the learner 'svr'"),
    ("iris", "-t species --task regression", "'species' is not numeric"),
    ("iris", "-t species --timeout soon", "--timeout is 'soon'; write it as 90s, 10m or 1h30m"),
    ("iris", "-t species --timeout 0s", "--timeout is '0s'"),
    ("iris", "-t species --trials 0", "'--trials'"),
    ("iris", "-t species --trials many", "'--trials'"),
    ("iris", "-t species --cv 1", "'--cv'"),
    ("iris", "-t species --cv 51", "the class 'a' has 50 members, fewer than the 51 folds"),
    ("iris", "-t species --model nowhere", "nowhere is no MetaModel: it has no model.json"),
    ("iris", "-t species --out iris.csv/x", "Not a directory: iris.csv/x"),
    ("iris", "-t species --storage foo://bar", "storage 'foo://bar' cannot be opened"),
    ("iris", "-t species --storage sqlite:////no/x.db", "cannot be opened: unable to open"),
    ("iris", "-t species --colour red", "No such option: --colour"),
    ("iris", "", "Missing option '--target'"),
    ("rare", "-t y", "the class 'w' has 2 members, fewer than the 5 folds"),
    ("many", "-t y", "the class 'c0' has 1 member, fewer than the 5 folds"),
    ("empty", "-t y", "empty.csv is empty"),
    ("twice", "-t y", "two columns named 'a'"),
    ("nowhere", "-t y", "there is no file .*nowhere.csv"),
]


@pytest.mark.parametrize(("table", "options", "message"), BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    table: str, options: str, message: str, iris: Path, tiny: Path, run: Run, tmp_path: Path
) -> None:
    if TABLES.get(table) is not None:
        (tmp_path / f"{table}.csv").write_text(str(TABLES[table]))
    given = options.split()
    defaults = {"--model": str(tiny), "-l": "svc", "--out": "out"}
    rest = [word for name, v in defaults.items() if name not in given for word in (name, v)]
    code, out, err = run("tune", f"{table}.csv", *given, *rest)
    assert (code, out) == (2, "")
    assert_one_line(err, message)


def damage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def remove_pool(folder: Path) -> None:
    (folder / "pool.parquet").unlink()


def truncate_header(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text()[:100])


def be_foreign(folder: Path) -> None:
    (folder / "model.json").write_text('{"format": "somebody.Else"}')


@pytest.mark.parametrize("command", ["tune", "suggest"])
@pytest.mark.parametrize("harm", [damage_weights, remove_pool, truncate_header, be_foreign])
def test_a_damaged_model_is_named(
    harm: Callable[[Path], None],
    command: str,
    tiny_model: MetaModel,
    iris: Path,
    tmp_path: Path,
    run: Run,
) -> None:
    folder = tmp_path / "model"
    tiny_model.save(folder)
    harm(folder)
    code, out, err = run(command, iris, "-t", "species", "-l", "svc", "--model", folder)
    assert (code, out) == (2, "")
    assert_one_line(err, str(folder))


@pytest.mark.parametrize("command", ["suggest", "tune", "map"])
def test_a_model_of_another_learner_is_refused(
    command: str, iris: Path, tiny: Path, run: Run, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    code, out, err = run(command, iris, "-t", "species", "-l", "mlp", "--model", tiny)
    assert (code, out) == (2, "")
    assert_one_line(err, "knows nothing of the learner 'mlp'")
    assert set(tmp_path.iterdir()) == before


def test_a_model_of_some_of_a_learner_s_parameters_is_of_use_to_tune(
    iris: Path, run: Run, tmp_path: Path
) -> None:
    part = Space({"C": learners["svc"].space.distributions["C"]})
    knowing(part).update([({"C": 1.0}, 0.9), ({"C": 9.0}, 0.8)]).save(tmp_path / "part")
    given = (iris, "-t", "species", "-l", "svc", "--model", tmp_path / "part")
    code, _, err = run("suggest", *given)
    assert code == 2
    assert_one_line(err, "knows 'svc' only in part; use tune")
    assert run("tune", *given, "--cv", "2", "-n", "1")[0] == 0


def test_a_bug_is_not_dressed_up_as_bad_input(
    iris: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metahpo.tables.read_table", lambda *_: np.int64(1) + None)
    with pytest.raises(TypeError):
        run("describe", iris, "-t", "species")
