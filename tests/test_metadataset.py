from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo import MetaDataset, Space, describe

SVM = Space(
    {
        "C": FloatDistribution(1e-3, 1e3, log=True),
        "kernel": CategoricalDistribution(["rbf", "poly"]),
        "degree": IntDistribution(2, 5),
        "weight": CategoricalDistribution([None, "balanced"]),
        "shrinking": CategoricalDistribution([True, False]),
    },
    {"degree": ("kernel", ["poly"])},
    {"C": 1.0, "kernel": "rbf", "weight": None, "shrinking": True},
)
TREE = Space({"depth": IntDistribution(1, 30, log=True)}, default={"depth": 7})
UNION = Space.union({"svm": SVM, "tree": TREE}, "learner")


def frame(space: Space, n: int, *, tasks: int = 2, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    trials = space.to_frame(space.sample(n, seed=seed, method="random"))
    return trials.assign(
        task_id=[f"t{i % tasks}" for i in range(n)],
        score=np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
    )


def dataset(space: Space = SVM, n: int = 40, **changes: Any) -> MetaDataset:
    features = pd.DataFrame({"rows": [10, 20], "skew": [0.5, np.nan]}, index=["t0", "t1"])
    info = pd.DataFrame({"name": ["iris", "wine"]}, index=["t0", "t1"])
    arguments: dict[str, Any] = {"space": space, "metric": "accuracy", "info": info, **changes}
    return MetaDataset.from_frames(frame(space, n), features, **arguments)


def assert_same(left: MetaDataset, right: MetaDataset) -> None:
    assert (left.direction, left.metric, left.space) == (
        right.direction,
        right.metric,
        right.space,
    )
    assert dict(left.defaults) == dict(right.defaults)
    assert left.task_ids == right.task_ids
    assert left.space.from_frame(left.trials) == right.space.from_frame(right.trials)
    for name in ("task_id", "score"):
        pd.testing.assert_series_equal(
            left.trials[name], right.trials[name], check_dtype=False, check_categorical=False
        )
    for name in ("tasks", "info"):
        mine, other = getattr(left, name), getattr(right, name)
        assert (mine is None) == (other is None)
        if mine is not None:
            pd.testing.assert_frame_equal(mine, other, check_index_type=False, check_dtype=False)


@settings(max_examples=15, deadline=None)
@given(
    space=st.sampled_from([SVM, TREE, UNION]),
    n=st.integers(1, 60),
    seed=st.integers(0, 2**16),
    minimize=st.booleans(),
)
def test_saved_and_loaded_it_is_the_same(
    space: Space, n: int, seed: int, minimize: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    trials = frame(space, n, tasks=3, seed=seed)
    before = MetaDataset.from_frames(
        trials, space=space, direction="minimize" if minimize else "maximize", metric="rmse"
    )
    configs = space.from_frame(trials)
    before.save(folder)
    after = MetaDataset.load(folder)

    assert_same(before, after)
    # nothing is lost or shuffled between the rows that went in and those that come out
    order = trials["task_id"].map({t: i for i, t in enumerate(trials["task_id"].unique())})
    rows = np.argsort(order.to_numpy(), kind="stable")
    assert after.space.from_frame(after.trials) == [configs[i] for i in rows]
    np.testing.assert_array_equal(
        after.trials["score"].to_numpy(), trials["score"].to_numpy()[rows]
    )


def test_everything_that_is_optional_travels_too(tmp_path: Path) -> None:
    trials = frame(UNION, 30).assign(
        fit_seconds=0.25, status=["ok", "failed", "timeout"] * 10, error=["no", None, "late"] * 10
    )
    features = pd.DataFrame({"rows": [10, 20]}, index=["t0", "t1"])
    before = MetaDataset.from_frames(
        trials,
        features,
        space=UNION,
        info=pd.DataFrame({"name": ["iris", "wine"]}, index=["t0", "t1"]),
        defaults={"svm": SVM.default, "tree": TREE.default},
    )
    before.save(tmp_path)
    after = MetaDataset.load(tmp_path)

    assert_same(before, after)
    assert list(after.trials["status"][:3]) == ["ok", "timeout", "failed"]
    assert after.trials["fit_seconds"].eq(0.25).all()
    assert list(after.trials["error"].notna()[:3]) == [True, True, False]
    assert json.loads((tmp_path / "dataset.json").read_text())["n_evaluations"] == 30


def test_saving_again_replaces(tmp_path: Path) -> None:
    dataset(n=50).save(tmp_path)
    smaller = MetaDataset.from_frames(frame(SVM, 10), space=SVM)
    smaller.save(tmp_path)
    assert_same(MetaDataset.load(tmp_path), smaller)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset.json", "trials.parquet"]


def test_looking_at_it() -> None:
    md = dataset(n=41)
    assert md.task_ids == ("t0", "t1")
    assert (len(md), md.n_evaluations) == (2, 41)
    assert "41 evaluations of 5 parameters on 2 tasks" in repr(md)
    assert list(md.trials["task_id"]) == ["t0"] * 21 + ["t1"] * 20


def test_task_ids_may_be_numbers() -> None:
    trials = frame(SVM, 20).assign(task_id=[3, 11] * 10)
    features = pd.DataFrame({"rows": [1.0, 2.0, 3.0]}, index=[11, 3, 99])
    md = MetaDataset.from_frames(trials, features, space=SVM)
    assert md.task_ids == ("3", "11")
    assert md.tasks is not None
    assert md.tasks["rows"].to_dict() == {"3": 2.0, "11": 1.0}  # 99 has no trials


def test_a_condition_may_rest_on_none_among_numbers(tmp_path: Path) -> None:
    """A table of numbers has no None, only empty cells."""
    space = Space(
        {"depth": CategoricalDistribution([None, 3, 5]), "leaf": IntDistribution(1, 9)},
        {"leaf": ("depth", [None])},
    )
    md = MetaDataset.from_frames(frame(space, 20), space=space)
    md.save(tmp_path / "md")
    back = MetaDataset.load(tmp_path / "md")
    assert space.from_frame(back.trials) == space.from_frame(md.trials)
    assert {config["depth"] for config in space.from_frame(back.trials)} == {None, 3, 5}
    trials = back.trials
    trials.loc[trials["depth"] == 3, "leaf"] = 2
    with pytest.raises(ValueError, match="where depth makes it inactive"):
        MetaDataset.from_frames(trials, space=space)


def test_a_subset_of_tasks() -> None:
    md = dataset()
    part = md.subset(["t1"])
    assert part.task_ids == ("t1",)
    assert part.tasks is not None
    assert list(part.tasks.index) == ["t1"]
    pd.testing.assert_frame_equal(
        part.trials, md.trials[md.trials["task_id"] == "t1"].reset_index(drop=True)
    )
    with pytest.raises(ValueError, match="no task 'tx'"):
        md.subset(["t0", "tx"])


def test_one_learner_of_a_union() -> None:
    md = dataset(UNION, 60, defaults={"svm": SVM.default, "tree": TREE.default})
    configs = UNION.from_frame(md.trials)
    for name, space in {"svm": SVM, "tree": TREE}.items():
        part = md.for_learner(name)
        assert part.space == space  # conditions and the default included
        own = [
            {k.removeprefix(f"{name}__"): v for k, v in config.items() if k != "learner"}
            for config in configs
            if config["learner"] == name
        ]
        assert part.space.from_frame(part.trials) == own
        # what it returns is itself a valid MetaDataset of that space
        again = MetaDataset.from_frames(
            part.trials, part.tasks, space=space, metric="accuracy", info=part.info
        )
        assert_same(again, part)
    with pytest.raises(ValueError, match="no learner 'svc' in this MetaDataset; it has svm, tree"):
        md.for_learner("svc")
    with pytest.raises(ValueError, match="no root parameter 'learner'"):
        dataset().for_learner("svm")


def test_tasks_need_not_share_configurations() -> None:
    ragged = pd.concat(
        [
            frame(SVM, 10, tasks=1).assign(task_id="few"),
            frame(SVM, 10_000, tasks=1, seed=1).assign(task_id="many"),
        ]
    )
    md = MetaDataset.from_frames(ragged, space=SVM)
    assert md.trials["task_id"].value_counts().to_dict() == {"few": 10, "many": 10_000}


def broken(**columns: Any) -> pd.DataFrame:
    """Two good trials, rows 7 and 8, with something spoilt."""
    good = pd.DataFrame(
        {
            "task_id": ["a", "b"],
            "C": [1.0, 10.0],
            "kernel": ["rbf", "poly"],
            "degree": [None, 3],
            "weight": [None, "balanced"],
            "shrinking": [True, False],
            "score": [0.5, None],
        },
        index=[7, 8],
    )
    return good.assign(**columns)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (broken(gamma=1.0), "column 'gamma', which is neither a parameter"),
        (broken().drop(columns="score"), "no column 'score'"),
        (broken().drop(columns="task_id"), "no column 'task_id'"),
        (broken(task_id=["a", None]), "row 8 has no task_id"),
        (broken(C=[1.0, 1e6]), r"C=1000000\.0 in row 8; the range is 0\.001 to 1000\.0"),
        (broken(C=["one", 1.0]), "C='one' in row 7; a finite number"),
        (broken(kernel=["rbf", "linear"], degree=None), "kernel='linear' in row 8; choose among"),
        (broken(degree=[None, 2.5]), r"degree=2\.5 in row 8; whole numbers from 2 to 5"),
        (broken(degree=[2, 3]), r"degree=2(\.0)? in row 7, where kernel makes it inactive"),
        (broken(shrinking=[1, 0]), "shrinking=1 in row 7; choose among True, False"),
        (broken(score=["good", 0.5]), "score='good' in row 7; a finite number"),
        (broken(score=[np.inf, 0.5]), "score=inf in row 7; a finite number"),
        (broken(status=["ok", "meh"]), "status='meh' in row 8"),
    ],
)
def test_trials_that_do_not_fit(trials: pd.DataFrame, message: str) -> None:
    MetaDataset.from_frames(broken(), space=SVM)  # is fine
    with pytest.raises(ValueError, match=message):
        MetaDataset.from_frames(trials, space=SVM)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (pd.DataFrame({"rows": [1.0]}, index=["a"]), "tasks has no row for task 'b'"),
        (pd.DataFrame({"rows": ["1", "x"]}, index=["a", "b"]), "meta-feature 'rows'"),
        (pd.DataFrame({"rows": [1, 2, 3]}, index=["a", "b", "b"]), "several rows for task 'b'"),
    ],
)
def test_meta_features_that_do_not_fit(tasks: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetaDataset.from_frames(broken(), tasks, space=SVM)


def test_meta_features_are_a_table() -> None:
    with pytest.raises(TypeError, match=r"^tasks is of type dict; give a DataFrame indexed by"):
        MetaDataset.from_frames(broken(), {"a": {"rows": 1.0}}, space=SVM)  # type: ignore[arg-type]


def test_a_direction_that_is_none() -> None:
    with pytest.raises(ValueError, match="direction is 'up'"):
        MetaDataset.from_frames(broken(), space=SVM, direction="up")  # type: ignore[arg-type]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no MetaDataset: it has no dataset\.json"):
        MetaDataset.load(tmp_path / "nowhere")
    (tmp_path / "dataset.json").write_text('{"name": "somebody else\'s"}')
    with pytest.raises(ValueError, match=r"dataset\.json does not belong to a MetaDataset"):
        MetaDataset.load(tmp_path)


def test_choices_of_several_types_survive(tmp_path: Path) -> None:
    space = Space({"features": CategoricalDistribution(["sqrt", 0.5, None, True, 3])})
    before = MetaDataset.from_frames(frame(space, 30), space=space)
    before.save(tmp_path)
    assert_same(MetaDataset.load(tmp_path), before)


def test_values_off_the_steps_are_told() -> None:
    space = Space({"n": IntDistribution(1, 9, step=4), "x": FloatDistribution(0, 1, step=0.25)})
    trials = frame(space, 4)
    assert len(MetaDataset.from_frames(trials, space=space).trials) == 4
    with pytest.raises(
        ValueError, match=r"n=4.* in row 2; whole numbers from 1 to 9 .* steps of 4"
    ):
        MetaDataset.from_frames(trials.assign(n=[1, 5, 4, 9]), space=space)
    with pytest.raises(ValueError, match=r"x=0\.3 in row 0; the range .* in steps of 0.25"):
        MetaDataset.from_frames(trials.assign(x=[0.3, 0, 1, 1]), space=space)


@pytest.mark.parametrize("name", ["trials.parquet", "tasks.parquet", "info.parquet"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_table(name: str, damage: str, tmp_path: Path) -> None:
    dataset().save(tmp_path)
    file = tmp_path / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{name} is (missing|damaged)"):
        MetaDataset.load(tmp_path)


def edit_header(folder: Path, **changes: Any) -> None:
    header = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**header, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "schema version 99; this metahpo reads up to 1"),
        ({"schema_version": "new"}, "schema version new"),
        ({"format": "something"}, "does not belong"),
        ({"space": {"parameters": {}}}, "no valid MetaDataset"),
        ({"space": TREE.to_json()}, "no valid MetaDataset: trials have a column 'C'"),
        ({"direction": "up"}, "no valid MetaDataset: direction"),
        ({"sha256": {}}, "its checksums are not those of a MetaDataset"),
    ],
)
def test_a_header_that_does_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    dataset().save(tmp_path)
    edit_header(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        MetaDataset.load(tmp_path)


def test_a_truncated_header(tmp_path: Path) -> None:
    dataset().save(tmp_path)
    text = (tmp_path / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"dataset\.json is damaged"):
        MetaDataset.load(tmp_path)


def test_a_missing_value_is_an_inactive_parameter() -> None:
    for trials in (broken(C=[None, 1.0]), broken(C=[np.nan, 1.0]), broken().drop(columns="C")):
        md = MetaDataset.from_frames(trials, space=SVM)
        assert "C" not in md.space.from_frame(md.trials)[0]


def test_many_parameters() -> None:
    wide = Space.union({f"m{i}": SVM for i in range(40)}, "learner")
    md = MetaDataset.from_frames(frame(wide, 500), space=wide)
    assert len(md.space) == 201
    assert (
        md.space.from_frame(md.trials.iloc[:250]) == wide.sample(500, seed=0, method="random")[::2]
    )


def test_real_histories(shared: Path, tmp_path: Path) -> None:
    """81,000 evaluations of XGBoost by others, with conditions, go in and come back."""
    source = shared / "data" / "histories" / "rbv2_xgboost_clean"
    declared = json.loads(source.with_suffix(".json").read_text())
    kinds = {"uniform_float": FloatDistribution, "uniform_int": IntDistribution}
    space = Space(
        {
            name: CategoricalDistribution(hp["choices"])
            if hp["type"] == "categorical"
            else kinds[hp["type"]](hp["lower"], hp["upper"], log=hp["log"])
            for name, hp in declared["hps"].items()
        },
        {
            f"hp_{condition['child']}": (
                f"hp_{condition['parent']}",
                condition["values"] if condition["type"] == "IN" else [condition["value"]],
            )
            for condition in declared["conditions"]
        },
    )
    table = pd.read_parquet(source.with_suffix(".parquet"))
    trials = table[["task_id", *space.names]].assign(score=table["acc"])

    MetaDataset.from_frames(trials, space=space, metric="acc").save(tmp_path)
    md = MetaDataset.load(tmp_path)

    assert (len(md), md.n_evaluations) == (81, 81_000)
    expected = trials[trials["task_id"] == 11].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        md.subset(["11"]).trials[["score", *space.names]],
        expected[["score", *space.names]],
        check_dtype=False,
        check_categorical=False,
    )


def test_meta_features_made_in_the_way_that_loses_their_values() -> None:
    described = describe([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1])
    trials = frame(TREE, 6, tasks=1)
    names_alone = pd.DataFrame({"t0": described}).T
    with pytest.raises(ValueError, match=r"not their values; make it as pd\.Data.*\['t0', \.\.\."):
        MetaDataset.from_frames(trials, names_alone, space=TREE)
    whole = pd.DataFrame([described], index=["t0"])
    tasks = MetaDataset.from_frames(trials, whole, space=TREE).tasks
    assert tasks is not None
    assert tasks.loc["t0", "nr_inst"] == 4
    strange = pd.DataFrame({"size": ["nr_inst"], "kind": ["large"]}, index=["t0"])
    with pytest.raises(ValueError, match="the meta-feature 'size' of tasks is not numeric"):
        MetaDataset.from_frames(trials, strange, space=TREE)
