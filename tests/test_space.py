from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial
from scipy.stats import chisquare

from metahpo import MetaDataset, MetaModel, MetaOptimizer, MetaSampler
from metahpo.space import Column, Config, Space

SVM = Space(
    {
        "C": FloatDistribution(1e-3, 1e3, log=True),
        "kernel": CategoricalDistribution(["rbf", "poly", "linear"]),
        "gamma_rule": CategoricalDistribution(["scale", "value"]),
        "gamma": FloatDistribution(1e-4, 1.0, log=True),
        "degree": IntDistribution(2, 5),
        "class_weight": CategoricalDistribution([None, "balanced"]),
    },
    {
        "gamma_rule": ("kernel", ["rbf", "poly"]),
        "gamma": ("gamma_rule", ["value"]),
        "degree": ("kernel", ["poly"]),
    },
)
RBF = {"C": 1.0, "kernel": "rbf", "gamma_rule": "value", "gamma": 0.1, "class_weight": None}


# ---------------------------------------------------------------------- any space at all


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def floats(draw: st.DrawFn) -> BaseDistribution:
    if draw(st.booleans()):
        low = draw(finite(1e-8, 1e3))
        # a single value, or a range that ten digits can tell apart
        ratio = draw(st.one_of(st.just(1.0), finite(1.0 + 1e-6, 1e9)))
        return FloatDistribution(low, low * ratio, log=True)
    if draw(st.booleans()):
        start, step = (
            draw(st.sampled_from(["-1", "0", "0.1"])),
            draw(st.sampled_from(["0.1", "0.25", "2"])),
        )
        stop = Decimal(start) + draw(st.integers(0, 40)) * Decimal(step)  # what Optuna computes
        return FloatDistribution(float(start), float(stop), step=float(step))
    low = draw(finite(-1e4, 1e4))
    return FloatDistribution(low, low + draw(finite(1e-3, 1e4)))


@st.composite
def ints(draw: st.DrawFn) -> BaseDistribution:
    if draw(st.booleans()):
        low = draw(st.integers(1, 50))
        return IntDistribution(low, low + draw(st.integers(0, 5000)), log=True)
    low, step = draw(st.integers(-100, 100)), draw(st.integers(1, 7))
    return IntDistribution(low, low + step * draw(st.integers(0, 30)), step=step)


CHOICES = [None, True, False, 2, -7, 0.5, "a", "b", "None", "2"]
choices = st.lists(st.sampled_from(CHOICES), min_size=1, max_size=5, unique_by=repr)
categoricals = choices.map(CategoricalDistribution)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Any mixture of parameters; each may hang on a categorical one that came before it."""
    distributions: dict[str, BaseDistribution] = {}
    conditions: dict[str, tuple[str, list[Any]]] = {}
    for i in range(draw(st.integers(1, 6))):
        parents = [n for n, d in distributions.items() if isinstance(d, CategoricalDistribution)]
        distributions[f"p{i}"] = draw(st.one_of(floats(), ints(), categoricals))
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            values = st.sampled_from(distributions[parent].choices)
            conditions[f"p{i}"] = parent, draw(st.lists(values, min_size=1, unique_by=repr))
    order = draw(st.permutations(list(distributions)))  # children may be named first
    return Space({name: distributions[name] for name in order}, conditions)


def exactly(configs: list[Config]) -> str:
    """Spell configurations out with their types: True == 1 == 1.0 to Python, not to us."""
    return repr(configs)


@settings(max_examples=100, deadline=None)
@given(space=spaces())
def test_the_size_is_how_many_configurations_there_are(space: Space) -> None:
    values: list[list[Any]] = []
    for d in space.distributions.values():
        if isinstance(d, CategoricalDistribution):
            values.append(list(d.choices))
        elif d.step is None and not d.single():
            assert space.size == math.inf
            return
        else:
            n = 1 if d.single() else 1 + round((d.high - d.low) / (d.step or 1))
            values.append(list(range(n)))
    assume(math.prod(map(len, values)) <= 3000)
    found = set()
    for chosen in itertools.product(*values):
        config = dict(zip(space.distributions, chosen, strict=True))
        found.add(repr([(name, config[name]) for name in space.active(config)]))
    assert space.size == len(found)


@settings(max_examples=150, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31), method=st.sampled_from(["sobol", "random"]))
def test_a_sample_is_valid_and_survives_every_form_it_can_take(
    space: Space, seed: int, method: Any
) -> None:
    configs = space.sample(9, seed, method)
    for config in configs:
        # Optuna itself takes every value, of the very type that the distribution has
        of = {name: space.distributions[name] for name in config}
        assert create_trial(params=config, distributions=of, value=0.0).params == config
        assert tuple(config) == space.active(config)
    assert exactly([space.validate(config) for config in configs]) == exactly(configs)
    assert exactly(space.decode(space.encode(configs))) == exactly(configs)
    assert exactly(space.from_frame(space.to_frame(configs))) == exactly(configs)
    assert exactly(space.nearest(space.to_frame(configs))) == exactly(configs)


@settings(max_examples=100, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31))
def test_a_code_lies_in_the_unit_cube_and_its_mask_tells_what_is_active(
    space: Space, seed: int
) -> None:
    configs = space.sample(7, seed, "random")
    code, mask = space.encode(configs), space.mask(configs)
    assert code.shape == mask.shape == (7, len(space.columns))
    assert ((code >= 0) & (code <= 1)).all()
    for row, config in enumerate(configs):
        for j, column in enumerate(space.columns):
            assert mask[row, j] == (column.name in config)
            if column.choice is not None:
                choice = space.distributions[column.name].choices[column.choice]
                chosen = column.name in config and repr(config[column.name]) == repr(choice)
                assert code[row, j] == chosen
            elif not mask[row, j]:
                assert code[row, j] == 0.5


@settings(max_examples=100, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31))
def test_any_point_of_the_cube_decodes_to_a_valid_configuration(space: Space, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-0.2, 1.2, (8, len(space.columns)))
    configs = space.decode(points)
    for config in configs:
        assert exactly([space.validate(config)]) == exactly([config])
    assert exactly(space.decode(space.encode(configs))) == exactly(configs)
    snapped, codes = space.snap(points), space.codes(configs)
    assert exactly(space.decode(snapped.array)) == exactly(configs)
    np.testing.assert_array_equal(snapped.active, codes.active)


@settings(max_examples=100, deadline=None)
@given(space=spaces())
def test_a_space_survives_json_and_pickle(space: Space) -> None:
    for copy in (
        Space.from_json(json.loads(json.dumps(space.to_json()))),
        pickle.loads(pickle.dumps(space)),
    ):
        assert copy == space
        assert hash(copy) == hash(space)
        assert copy.names == space.names
        assert copy.columns == space.columns
        assert exactly([copy.default]) == exactly([space.default])
        assert exactly(copy.sample(5)) == exactly(space.sample(5))


@settings(max_examples=60, deadline=None)
@given(
    space=spaces(),
    n=st.integers(0, 20),
    more=st.integers(0, 20),
    method=st.sampled_from(["sobol", "random"]),
)
def test_a_longer_sample_begins_with_the_shorter(
    space: Space, n: int, more: int, method: Any
) -> None:
    longer = space.sample(n + more, 3, method)
    assert len(longer) == n + more
    assert exactly(space.sample(n, 3, method)) == exactly(longer[:n])


@settings(max_examples=60, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31), drop=st.randoms(use_true_random=False))
def test_a_value_may_be_missing_without_a_reason(space: Space, seed: int, drop: Any) -> None:
    # tables of others' histories leave a cell empty without a condition that says why
    configs = [
        {name: value for name, value in config.items() if drop.random() < 0.7}
        for config in space.sample(6, seed, "random")
    ]
    kept = [
        {name: value for name, value in config.items() if name in space.active(config)}
        for config in configs
    ]
    assert exactly([space.validate(config, partial=True) for config in kept]) == exactly(kept)
    code, mask = space.encode(kept), space.mask(kept)
    assert not np.isnan(code).any()
    for row, config in enumerate(kept):
        for j, column in enumerate(space.columns):
            optional = column.choice is not None and None in (
                space.distributions[column.name].choices
            )
            if column.name in config or not optional:  # an empty cell can be the choice None
                assert mask[row, j] == (column.name in config)


# ---------------------------------------------------------------------- what values are drawn


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(1, 6),
        IntDistribution(-4, 8, step=4),
        FloatDistribution(0.0, 1.0, step=0.25),
        CategoricalDistribution(["a", "b", "c", None, 2, False, "g"]),
    ],
    ids=str,
)
def test_discrete_values_are_equally_likely(distribution: BaseDistribution) -> None:
    space = Space({"x": distribution})
    drawn = pd.Series([repr(c["x"]) for c in space.sample(4000, 1, "random")]).value_counts()
    assert chisquare(drawn).pvalue > 1e-3
    even = pd.Series([repr(c["x"]) for c in space.sample(4096, 1)]).value_counts()
    assert even.max() - even.min() <= 2  # a Sobol sequence is evener than chance
    assert len(drawn) == len(even) == len({repr(c["x"]) for c in space.sample(4096, 2)})


def test_log_scales_are_uniform_in_the_logarithm() -> None:
    space = Space(
        {
            "x": FloatDistribution(1e-4, 1e4, log=True),
            "n": IntDistribution(1, 4, log=True),
        }
    )
    drawn = space.to_frame(space.sample(4096, 5))
    assert np.log10(drawn["x"]).quantile([0.25, 0.5, 0.75]).tolist() == pytest.approx(
        [-2, 0, 2], abs=0.01
    )
    # the integer n has the share of [n - 1/2, n + 1/2] in [1/2, 9/2] on a log scale
    edges = np.log(np.arange(0.5, 5))
    share = np.diff(edges) / (edges[-1] - edges[0])
    assert drawn["n"].value_counts(normalize=True).sort_index().tolist() == pytest.approx(
        share.tolist(), abs=0.002
    )


def test_the_code_of_a_number_is_its_place_in_the_range() -> None:
    space = Space(
        {
            "C": FloatDistribution(1e-3, 1e3, log=True),
            "share": FloatDistribution(-1.0, 3.0),
            "n": IntDistribution(10, 20, step=5),
        }
    )
    code = space.encode([{"C": 1.0, "share": 0.0, "n": 15}, {"C": 1e-3, "share": 3.0, "n": 20}])
    assert code == pytest.approx(np.array([[0.5, 0.25, 0.5], [0.0, 1.0, 1.0]]))
    assert space.columns == (Column("C"), Column("share"), Column("n"))


# ---------------------------------------------------------------------- conditions


def test_parents_come_first_and_children_follow_their_parents_out() -> None:
    assert SVM.names.index("kernel") < SVM.names.index("gamma_rule") < SVM.names.index("gamma")
    assert SVM.active({"kernel": "linear"}) == ("C", "kernel", "class_weight")
    # gamma's rule is inactive under the linear kernel, whatever it says
    assert "gamma" not in SVM.active({"kernel": "linear", "gamma_rule": "value"})
    assert [column.name for column in SVM.columns].count("kernel") == 3
    assert SVM.slices["kernel"] == slice(1, 4)


def test_a_number_can_be_a_parent() -> None:
    space = Space(
        {"layers": IntDistribution(1, 3), "width": IntDistribution(1, 9)},
        {"width": ("layers", [2, 3])},
    )
    assert space.active({"layers": 1}) == ("layers",)
    configs = space.sample(64)
    assert all(("width" in config) == (config["layers"] > 1) for config in configs)
    assert space.decode(space.encode(configs)) == configs


def test_none_can_be_what_activates() -> None:
    space = Space(
        {"weights": CategoricalDistribution([None, "own"]), "x": IntDistribution(1, 2)},
        {"x": ("weights", [None])},
    )
    configs = [{"weights": None, "x": 2}, {"weights": "own"}]
    assert space.from_frame(space.to_frame(configs)) == configs
    assert space.from_frame(pd.DataFrame({"weights": [np.nan], "x": [1.0]})) == [
        {"weights": None, "x": 1}
    ]


# ---------------------------------------------------------------------- defaults


def test_the_default_is_the_middle_unless_given() -> None:
    assert SVM.default == pytest.approx(
        {"C": 1.0, "kernel": "rbf", "gamma_rule": "scale", "class_weight": None}
    )
    assert Space(SVM.distributions, SVM.conditions, RBF).default == RBF
    with pytest.raises(ValueError, match="default lacks the parameter 'gamma'"):
        Space(SVM.distributions, SVM.conditions, {**SVM.default, "gamma_rule": "value"})


def test_spaces_are_equal_when_they_hold_the_same() -> None:
    assert Space(SVM.distributions, SVM.conditions) == SVM
    assert Space(SVM.distributions, SVM.conditions, RBF) != SVM
    zero_or_one, off_or_on = (
        Space({"x": CategoricalDistribution(c)}) for c in ([0, 1], [False, True])
    )
    assert zero_or_one != off_or_on
    # order is part of a space: it is the order of the columns
    backwards = Space(dict(reversed(SVM.distributions.items())), SVM.conditions)
    assert backwards != SVM
    assert len({SVM, Space(SVM.distributions, SVM.conditions), backwards}) == 2


# ---------------------------------------------------------------------- what is wrong, by name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernal": "rbf"}, "trial has an unknown parameter 'kernal'; did you mean 'kernel'?"),
        ({"C": ...}, "trial lacks the parameter 'C'"),
        ({"degree": 3}, "trial sets 'degree', which is active only where kernel is 'poly'"),
        ({"C": 1e4}, r"trial sets C=10000.0, outside \[0.001, 1000.0\]"),
        ({"C": "1"}, "trial sets C='1'; a number is needed"),
        ({"C": True}, "trial sets C=True; a number is needed"),
        ({"C": None}, "trial sets C=None; a number is needed"),
        ({"C": np.nan}, r"trial sets C=nan, outside \[0.001, 1000.0\]"),
        ({"kernel": "RBF"}, "trial sets kernel='RBF'; the choices are 'rbf', 'poly', 'linear'"),
        ({"kernel": 1}, "trial sets kernel=1; the choices are"),
        (
            {"kernel": "poly", "degree": 2.5},
            "trial sets degree=2.5; a whole number is needed",
        ),
    ],
)
def test_a_wrong_configuration_is_told_why(changes: dict[str, Any], message: str) -> None:
    config = {name: value for name, value in (RBF | changes).items() if value is not ...}
    with pytest.raises(ValueError, match=message):
        SVM.validate(config, what="trial")


def test_values_off_the_steps_are_refused() -> None:
    space = Space({"n": IntDistribution(1, 9, step=4), "x": FloatDistribution(0.1, 0.9, step=0.2)})
    assert space.validate({"n": 5, "x": 0.1 + 0.2 + 0.2}) == {"n": 5, "x": pytest.approx(0.5)}
    with pytest.raises(ValueError, match="config sets n=4, which is not 1 plus a multiple of 4"):
        space.validate({"n": 4, "x": 0.1})
    with pytest.raises(ValueError, match=r"config sets x=0.2, which is not 0.1 plus"):
        space.validate({"n": 5, "x": 0.2})
    # arrays and tables place such values: a history may come from a finer grid
    assert space.decode(space.encode([{"n": 4, "x": 0.22}])) == [{"n": 5, "x": 0.3}]


def test_a_valid_configuration_comes_back_in_order_and_in_pythons_types() -> None:
    told = {"class_weight": None, "degree": np.int64(3), "kernel": np.str_("poly")}
    told |= {"C": np.float32(2), "gamma_rule": "scale"}
    valid = SVM.validate(told)
    assert list(valid) == ["C", "kernel", "class_weight", "gamma_rule", "degree"]
    assert exactly([valid]) == exactly(
        [{"C": 2.0, "kernel": "poly", "class_weight": None, "gamma_rule": "scale", "degree": 3}]
    )
    flags = Space({"flag": CategoricalDistribution([True, False])})
    assert flags.validate({"flag": np.False_})["flag"] is False
    with pytest.raises(ValueError, match="flag=0; the choices are True, False"):
        flags.validate({"flag": 0})


def test_partial_configurations_are_checked_as_far_as_they_go() -> None:
    assert SVM.validate({"kernel": "rbf"}, partial=True) == {"kernel": "rbf"}
    assert SVM.validate({}, partial=True) == {}
    with pytest.raises(ValueError, match="sets 'degree', which is active only where"):
        SVM.validate({"degree": 3}, partial=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"C": 5e3}, r"C=5000 is outside \[0.001, 1000.0\]"),
        ({"C": 0.0}, r"C=0 is outside"),
        ({"C": -1.0}, r"C=-1 is outside"),
        ({"C": np.inf}, r"C=inf is outside"),
        ({"C": "much"}, "C='much'; a number is needed"),
        ({"kernel": "sigmoid"}, "kernel='sigmoid' is not among the choices 'rbf', 'poly', 'lin"),
        ({"kernel": "rbf", "degree": 3}, "degree=3 is set where kernel makes it inactive"),
    ],
)
def test_a_table_that_the_space_cannot_hold_is_told_why(row: Config, message: str) -> None:
    for configs in ([row], pd.DataFrame([row])):
        for read in (SVM.encode, SVM.mask):
            with pytest.raises(ValueError, match=message):
                read(configs)
    with pytest.raises(ValueError, match=message):
        SVM.from_frame(pd.DataFrame([row]))


def test_unknown_names_are_an_error_in_a_configuration_and_ignored_in_a_table() -> None:
    with pytest.raises(ValueError, match="unknown parameter 'c'; did you mean 'C'"):
        SVM.encode([{"c": 1.0}])
    table = SVM.to_frame([RBF]).assign(task_id="t", score=0.9)
    assert SVM.from_frame(table) == [RBF]


def test_a_fraction_is_no_integer() -> None:
    with pytest.raises(ValueError, match=r"degree=2\.5; a whole number is needed"):
        SVM.from_frame(pd.DataFrame([{"kernel": "poly", "degree": 2.5}]))


@pytest.mark.parametrize(
    ("distributions", "conditions", "message"),
    [
        ({"a": IntDistribution(1, 2)}, {"a": ("b", [1])}, "condition on 'a' names 'b', which is"),
        ({"a": IntDistribution(1, 2)}, {"c": ("a", [1])}, "condition on 'c' names 'c', which is"),
        (
            {"a": IntDistribution(1, 2), "b": IntDistribution(1, 2)},
            {"a": ("b", [1]), "b": ("a", [1])},
            "circular among a, b",
        ),
        (
            {"a": IntDistribution(1, 2), "b": CategoricalDistribution(["x"])},
            {"a": ("b", ["y"])},
            "condition on 'a' sets b='y'; the choices are 'x'",
        ),
        ({"a": CategoricalDistribution([True, 1])}, {}, "'a' has the choices True and 1"),
    ],
)
def test_a_space_that_makes_no_sense_is_told_why(
    distributions: Any, conditions: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Space(distributions, conditions)


def test_only_optunas_distributions_make_a_space() -> None:
    with pytest.raises(TypeError, match="'a' has a tuple; use Optuna's FloatDistribution"):
        Space({"a": (0.1, 1.0)})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "obj", [{}, {"parameters": 3}, {"parameters": {"a": "{}"}, "conditions": {}}, [], None]
)
def test_what_is_not_a_space_in_json_is_a_value_error(obj: Any) -> None:
    with pytest.raises(ValueError, match="space"):
        Space.from_json(obj)


# ---------------------------------------------------------------------- tables


def test_a_table_may_come_in_any_dtype_and_index() -> None:
    configs = SVM.sample(20, 4)
    table = SVM.to_frame(configs)
    assert list(table.columns) == list(SVM.names)
    assert table["degree"].isna().to_numpy().tolist() == ["degree" not in c for c in configs]
    other = table.astype({"degree": "Int64", "kernel": "category", "gamma_rule": "string"})
    other.index = pd.Index(["same"] * 20)
    assert SVM.from_frame(other) == configs
    assert (SVM.encode(other) == SVM.encode(configs)).all()
    assert (SVM.mask(other) == SVM.mask(configs)).all()


def test_nothing_is_a_table_too() -> None:
    assert SVM.sample(0) == SVM.from_frame(SVM.to_frame([])) == SVM.decode(SVM.encode([])) == []
    assert SVM.encode([]).shape == (0, len(SVM.columns))
    assert Space({}).default == {}
    assert Space({}).from_frame(pd.DataFrame(index=range(2))) == [{}, {}]


def test_nearest_moves_to_the_range_and_fills_with_the_default() -> None:
    space = Space(
        {
            "C": FloatDistribution(0.1, 10.0, log=True),
            "kernel": CategoricalDistribution(["poly", "rbf"]),
            "degree": IntDistribution(2, 6, step=2),
            "class_weight": CategoricalDistribution(["balanced", None]),
        },
        {"degree": ("kernel", ["poly"])},
        {"C": 1.0, "kernel": "rbf", "class_weight": "balanced"},
    )
    table = pd.DataFrame(
        [
            {"C": 1e3, "kernel": "poly", "degree": 5.1, "class_weight": None, "extra": 1},
            {"C": np.nan, "kernel": "linear", "degree": 3, "class_weight": "balanced", "extra": 2},
        ]
    )
    assert space.nearest(table) == [
        {"C": 10.0, "kernel": "poly", "degree": 6, "class_weight": None},
        {"C": 1.0, "kernel": "rbf", "class_weight": "balanced"},
    ]
    # without the column, nothing is known of the class weights
    assert space.nearest(table[["C"]])[0] == {
        "C": 10.0,
        "kernel": "rbf",
        "class_weight": "balanced",
    }


# ---------------------------------------------------------------------- unions


def test_a_union_is_its_branches_under_one_root() -> None:
    tree = Space({"depth": IntDistribution(1, 30, log=True)}, default={"depth": 7})
    union = Space.union({"svm": SVM, "tree": tree}, "learner", default="tree")
    assert union.default == {"learner": "tree", "tree__depth": 7}
    assert len(union) == len(SVM) + len(tree) + 1
    for config in union.sample(100):
        branch = {"svm": SVM, "tree": tree}[config["learner"]]
        own = {n.split("__")[1]: v for n, v in config.items() if n != "learner"}
        assert branch.validate(own) == own
    assert "svm__gamma" not in union.active(
        {"learner": "svm", "svm__kernel": "linear", "svm__gamma_rule": "value"}
    )
    with pytest.raises(ValueError, match="default sets learner='forest'; the choices are 'svm'"):
        Space.union({"svm": SVM}, "learner", default="forest")


def test_a_prefix_goes_before_every_name() -> None:
    space = Space(SVM.distributions, SVM.conditions, RBF).prefixed("svc__")
    assert space.names == tuple(f"svc__{name}" for name in SVM.names)
    assert space.default == {f"svc__{name}": value for name, value in RBF.items()}
    assert space.active({"svc__kernel": "poly"})[-1] == "svc__degree"


# ---------------------------------------------------------------------- given as distributions


TAKERS: list[Callable[[Any], Any]] = [
    lambda space: MetaOptimizer(MetaModel.blank(), space=space),
    lambda space: MetaSampler(MetaModel.blank(), space=space),
    lambda space: MetaDataset.from_frames(
        pd.DataFrame({"task_id": "t", "x": [0.5], "score": 1.0}), space=space
    ),
]


@pytest.mark.parametrize("taker", TAKERS)
def test_distributions_alone_are_a_space(taker: Callable[[Any], Any]) -> None:
    distributions = {"x": FloatDistribution(0.0, 1.0)}
    assert taker(distributions).space == Space(distributions)
    with pytest.raises(TypeError, match=r"^space is of type list; give a metahpo\.Space, or a"):
        taker([FloatDistribution(0.0, 1.0)])
    with pytest.raises(TypeError, match=r"^parameter 'x' has a tuple; use Optuna"):
        taker({"x": (0.0, 1.0)})


def test_what_cannot_be_drawn() -> None:
    space = Space({"x": FloatDistribution(0.0, 1.0)})
    assert space.sample(0) == []
    with pytest.raises(ValueError, match=r"^n is -1; it must be 0 or more"):
        space.sample(-1)
    with pytest.raises(ValueError, match=r"^method is 'halton'; it must be 'sobol' or 'random'"):
        space.sample(2, method="halton")  # type: ignore[arg-type]
