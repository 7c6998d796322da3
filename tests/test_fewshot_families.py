"""Task files, and the regression families and tables that they declare."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import OpenMLServer
from hypothesis import given, settings
from hypothesis import strategies as st

from metahpo.engine import InnerRule, StepCount
from metahpo.fewshot.families import PiecewiseLinear, Polynomials, Sinusoids
from metahpo.fewshot.tabular import LabelledRows, Tabular, TabularTasks
from metahpo.fewshot.taskfile import declared_task, load_task_file

FAMILIES = (
    Sinusoids(),
    Sinusoids(frequency=(1.5, 2.0), amplitude=(5.0, 8.0)),
    PiecewiseLinear(pieces=4),
    Polynomials(degree=5),
    Polynomials(degree=0),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
class TestEveryFamily:
    def test_hands_out_episodes_with_one_number_in_and_one_out(self, family: Any) -> None:
        episodes = family.tasks("train", shots=3, queries=7).sample(4, generator())
        assert episodes.support_x.shape == episodes.support_y.shape == (4, 3, 1)
        assert episodes.query_x.shape == episodes.query_y.shape == (4, 7, 1)
        low, high = family.domain
        assert low <= episodes.query_x.min()
        assert episodes.query_x.max() <= high

    def test_is_fixed_by_the_generator_alone(self, family: Any) -> None:
        tasks = family.tasks("test", shots=5, queries=5)
        first, again, other = (tasks.sample(3, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first.query_y, again.query_y)
        assert not torch.equal(first.query_y, other.query_y)

    def test_support_and_query_come_from_the_same_function(self, family: Any) -> None:
        functions = family.draw(3, generator())
        x = torch.linspace(*family.domain, 50).expand(3, 50)
        assert torch.equal(functions(x), functions(x))

    def test_the_oracle_where_there_is_one_makes_no_error(self, family: Any) -> None:
        if not family.has_oracle:
            with pytest.raises(NotImplementedError, match="no linear fit"):
                family.fit(torch.zeros(1, 2), torch.zeros(1, 2))
            return
        episodes = family.tasks("test", shots=12, queries=30).sample(50, generator())
        error = (family.oracle(episodes) - episodes.query_y).square().mean()
        spread = episodes.query_y.var()
        assert error < 1e-3 * max(spread, 1.0)


def test_sinusoids_are_those_of_the_paper() -> None:
    x = torch.linspace(-5, 5, 400).expand(500, 400)
    y = Sinusoids().draw(500, generator())(x).numpy()
    design = np.stack([np.sin(x[0].numpy()), np.cos(x[0].numpy())], 1)
    (a, b), *_ = np.linalg.lstsq(design, y.T, rcond=None)
    amplitude, phase = np.hypot(a, b), (np.arctan2(-b, a) + 0.01) % (2 * math.pi) - 0.01
    assert 0.1 - 1e-4 <= amplitude.min() < 0.2
    assert 4.9 < amplitude.max() <= 5.0 + 1e-4
    assert -1e-3 <= phase.min() < 0.05
    assert math.pi - 0.05 < phase.max() <= math.pi + 1e-3


@given(degree=st.integers(0, 6), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_polynomials_have_their_degree(degree: int, seed: int) -> None:
    x = torch.linspace(-5, 5, 60).expand(2, 60)
    y = Polynomials(degree=degree).draw(2, generator(seed))(x).numpy()
    for task in y:
        fitted = np.polynomial.Legendre.fit(x[0].numpy(), task, degree, domain=[-5, 5])
        assert np.abs(fitted(x[0].numpy()) - task).max() < 1e-4
        assert np.abs(fitted.coef).max() <= 2 + 1e-4


@given(pieces=st.integers(1, 6), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_piecewise_linear_functions_bend_at_most_between_their_pieces(
    pieces: int, seed: int
) -> None:
    x = torch.linspace(-5, 5, 2001).expand(1, 2001)
    y = PiecewiseLinear(pieces=pieces).draw(1, generator(seed))(x)[0].double()
    assert y.abs().max() <= 3 + 1e-5
    bends = (y.diff().diff().abs() > 1e-4).nonzero().flatten()
    separate = 1 + int((bends.diff() > 1).sum()) if len(bends) else 0
    assert separate <= pieces - 1


def test_noise_is_on_the_support_alone() -> None:
    family = Polynomials(degree=0, noise=0.5)
    episodes = family.tasks("test", shots=200, queries=50).sample(100, generator())
    assert torch.all(episodes.query_y.std(1) < 1e-6)
    assert abs(float(episodes.support_y.std(1).mean()) - 0.5) < 0.02


# ---------------------------------------------------------------------- tables


def table(name: str, columns: int, rows: int = 40) -> LabelledRows:
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    return LabelledRows(name, x, np.arange(rows) % 3)


def test_tabular_tasks_show_some_columns_and_fill_up_narrow_tables() -> None:
    tasks = TabularTasks([table("a", 2), table("b", 9)], features=4, ways=2, shots=3, queries=5)
    episodes = tasks.sample(60, generator())
    assert episodes.support_x.shape == (60, 6, 4)
    assert episodes.query_y.shape == (60, 10)
    filled = (episodes.query_x[..., 2:] == 0).all(dim=(1, 2))
    assert 0 < int(filled.sum()) < 60
    assert not (episodes.query_x[..., :2] == 0).all(dim=(1, 2)).any()
    assert set(episodes.query_y.unique().tolist()) == {0, 1}


def test_a_table_that_is_too_small_is_named() -> None:
    with pytest.raises(ValueError, match="the table 'small': 2-way tasks need"):
        TabularTasks([table("small", 3, rows=9)], features=3, ways=2, shots=3, queries=5)


def test_tables_come_from_openml(openml_server: OpenMLServer) -> None:
    source = Tabular(train=(3492,), val=(900056,), test=(900035,), features=5)
    episodes = source.tasks("train", shots=4, queries=6).sample(3, generator())
    assert episodes.support_x.shape == (3, 8, 5)
    assert episodes.support_x.isfinite().all()
    with pytest.raises(ValueError, match="is a regression task; it has no classes"):
        Tabular(train=(900102,), val=(1,), test=(2,)).tasks("train", shots=1, queries=1)


# ---------------------------------------------------------------------- files


def test_a_file_becomes_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "task.toml"
    file.write_text(
        """
        seeds = 2
        [source]
        kind = "sinusoid"
        amplitude = [1, 2]
        [net]
        hidden = [8]
        [learner]
        method = "anil"
        rate = 0.1
        maximum = 4
        price = 0.5
        [training]
        shots = 3
        iterations = 10
        [shifted.faster]
        frequency = [2.0, 3.0]
        [shifted.bent]
        kind = "piecewise_linear"
        [second]
        noise = 1
        """
    )
    plan = load_task_file(file)
    assert plan.source == Sinusoids(amplitude=(1, 2))
    assert plan.shifted == {
        "faster": Sinusoids(amplitude=(1, 2), frequency=(2.0, 3.0)),
        "bent": PiecewiseLinear(),
    }
    assert plan.second == Sinusoids(amplitude=(1, 2), noise=1)
    assert plan.method.rule == InnerRule(rate=0.1, adapted=plan.method.rule.adapted)
    assert plan.method.steps == StepCount(maximum=4, price=0.5)
    assert (plan.seeds, plan.training.shots, plan.outer.iterations) == (2, 3, 10)
    assert plan.metric == "MSE"


WAVES = {"source": {"kind": "sinusoid"}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, r"the table \[source\] is missing"),
    ({"sources": {}}, "unknown key 'sources'; known are seeds, source"),
    ({"source": {"kind": "cosine"}}, r"\[source\] has kind 'cosine'; choose one of sinusoid"),
    ({"source": {}}, r"\[source\] has kind ''"),
    ({"source": {"kind": "omniglot"}}, r"\[source\] lacks the key 'folder'"),
    ({"source": {"kind": "sinusoid", "phase": [1]}}, r"phase is \[1\]; a list of 2 numbers"),
    ({"source": {"kind": "sinusoid", "phase": [2, 1]}}, "the lower end comes first"),
    ({"source": {"kind": "sinusoid", "noise": -1}}, r"\[source\] noise is -1"),
    ({"source": {"kind": "sinusoid", "degree": 2}}, r"\[source\] has an unknown key 'degree'"),
    ({"source": {"kind": "tabular", "train": [1], "val": [1], "test": [2]}}, "in several splits"),
    ({**WAVES, "seeds": 0}, "seeds is 0; it must be at least 1"),
    ({**WAVES, "seeds": True}, "seeds is True; an integer is needed"),
    ({**WAVES, "net": {"kind": "conv4"}}, r"\[net\] kind 'conv4' takes images"),
    ({**WAVES, "net": 3}, r"net is 3; a table \[net\] is needed"),
    ({**WAVES, "learner": {"method": "sgd"}}, r"\[learner\] has method 'sgd'; choose one of maml"),
    ({**WAVES, "learner": {"rates": "many"}}, r"\[learner\] rates is 'many'; one of 'scalar'"),
    ({**WAVES, "learner": {"rate": -1}}, r"\[learner\] rate is -1"),
    ({**WAVES, "learner": {"steps": 0}}, "steps is 0; a positive integer is needed"),
    ({**WAVES, "learner": {"steps": 2, "price": 0.1}}, r"\[learner\] has steps and price"),
    ({**WAVES, "training": {"iterations": 1.5}}, "iterations is 1.5; an integer is needed"),
    ({**WAVES, "training": {"shots": 0}}, r"\[training\] shots is 0"),
    ({**WAVES, "evaluation": {"shots": []}}, r"\[evaluation\] shots is \[\]"),
    ({**WAVES, "evaluation": {"baselines": ["luck"]}}, "a list of one of 'joint', 'scratch'"),
    ({**WAVES, "shifted": {"x": {"noise": "no"}}}, r"\[shifted.x\] noise is 'no'; a number"),
    ({**WAVES, "second": {"kind": "cosine"}}, r"\[second\] has kind 'cosine'"),
]


@pytest.mark.parametrize(("declared", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_declaration_names_the_key(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        declared_task(declared)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no task file"):
        load_task_file(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("seeds = ")
    with pytest.raises(ValueError, match=r"bad\.toml is not TOML"):
        load_task_file(tmp_path / "bad.toml")


@pytest.mark.parametrize("file", sorted(Path(__file__).parents[1].glob("tasks/fewshot/*.toml")))
def test_the_declared_tasks_are_valid(file: Path) -> None:
    if file.stem == "families":
        from metahpo.fewshot.experience import load_families

        families = load_families(file)
        assert len(families.earlier) >= 10  # fewer teach no distance between families
        assert not {repr(p.source) for p in families.earlier.values()} & {
            repr(p.source) for p in families.held_out.values()
        }
    else:
        assert load_task_file(file, folder="data" if "omniglot" in file.stem else None).outer
