"""What a user's space and a model's have in common, and how configurations travel between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo.space import Space
from metahpo.transfer import Transfer

MODEL = Space(
    {
        "C": FloatDistribution(1e-2, 1e2, log=True),
        "kernel": CategoricalDistribution(["rbf", "poly", "linear"]),
        "gamma_rule": CategoricalDistribution(["scale", "value"]),
        "gamma": FloatDistribution(1e-4, 1.0, log=True),
        "degree": IntDistribution(2, 5),
        "coef0": FloatDistribution(-1.0, 1.0),
        "class_weight": CategoricalDistribution([None, "balanced"]),
    },
    {
        "gamma_rule": ("kernel", ["rbf", "poly"]),
        "gamma": ("gamma_rule", ["value"]),
        "degree": ("kernel", ["poly"]),
        "coef0": ("kernel", ["rbf", "poly"]),  # so that one parent has to serve two children
    },
    {"C": 1.0, "kernel": "rbf", "gamma_rule": "scale", "coef0": 0.0, "class_weight": None},
)


def read(transfer: Transfer, *configs: dict[str, Any]) -> list[dict[str, Any]]:
    """What the model reads of the user's configurations."""
    codes = transfer.to_model(transfer.user.codes(configs))
    active = [{name for name, at in MODEL.slices.items() if row[at.start]} for row in codes.active]
    return [
        {name: value for name, value in config.items() if name in own}
        for config, own in zip(MODEL.decode(codes.array), active, strict=True)
    ]


def test_the_models_own_space_is_carried_over_unchanged() -> None:
    copy = Space(MODEL.distributions, MODEL.conditions, MODEL.default)
    for user in (MODEL, copy):
        transfer = Transfer(user, MODEL)
        configs = MODEL.sample(50)
        assert read(transfer, *configs) == configs
        assert transfer.to_user(configs) == configs
        assert transfer.report.mapped == MODEL.names
        assert str(transfer.report) == f"mapped: {', '.join(MODEL.names)}"


def test_a_space_may_name_the_parameters_in_any_order_and_with_others_between() -> None:
    names = ["degree", "new", *(n for n in MODEL.names if n != "degree")]
    known = {**MODEL.distributions, "new": FloatDistribution(0, 1)}
    transfer = Transfer(Space({n: known[n] for n in names}, MODEL.conditions), MODEL)
    config = MODEL.default | {"kernel": "poly", "degree": 4}
    assert read(transfer, config | {"new": 0.3}) == [config]
    assert transfer.report.unknown == ("new",)
    assert transfer.to_user([config]) == [config | {"new": 0.5}]


def test_a_narrower_range_is_honoured_and_a_wider_one_is_read_at_its_end() -> None:
    user = Space({"C": FloatDistribution(1.0, 10.0), "degree": IntDistribution(1, 9)})
    transfer = Transfer(user, MODEL, {"kernel": "poly"})
    assert transfer.report.clipped == {"degree": "seen from 2 to 5"}
    assert [
        c["degree"] for c in read(transfer, {"C": 2.0, "degree": 9}, {"C": 2.0, "degree": 1})
    ] == [5, 2]
    known = MODEL.default | {"kernel": "poly", "degree": 3}
    for C, nearest in ((0.01, 1.0), (5.0, 5.0), (100.0, 10.0)):
        assert transfer.to_user([known | {"C": C}]) == [{"C": nearest, "degree": 3}]


def test_what_the_pipeline_sets_is_conditioned_on() -> None:
    user = Space({"C": FloatDistribution(0.1, 1.0)})
    fixed = {"kernel": "poly", "degree": np.int64(3), "class_weight": "balanced", "tol": 1e-3}
    transfer = Transfer(user, MODEL, fixed)
    assert transfer.report.fixed == {
        "kernel": "poly",
        "class_weight": "balanced",
        "gamma_rule": "scale",  # the model's default, as nobody says otherwise
        "degree": 3,
        "coef0": 0.0,
    }
    assert read(transfer, {"C": 0.5}) == [
        {"C": 0.5, "kernel": "poly", "degree": 3, "class_weight": "balanced"}
        | {"gamma_rule": "scale", "coef0": 0.0}
    ]


def test_a_fixed_value_that_the_model_has_not_seen_is_said() -> None:
    user = Space({"C": FloatDistribution(0.1, 1.0)})
    report = Transfer(user, MODEL, {"kernel": "precomputed", "coef0": 7.0}).report
    assert report.clipped == {
        "kernel": "never seen: 'precomputed'",
        "coef0": "seen from -1 to 1",
    }
    assert report.fixed["kernel"] == "rbf"
    assert report.fixed["coef0"] == 1.0
    assert "clipped: kernel (never seen: 'precomputed'), coef0 (seen from -1 to 1)" in str(report)


def test_none_can_be_fixed_and_can_be_chosen() -> None:
    user = Space({"C": FloatDistribution(0.1, 1.0)})
    assert Transfer(user, MODEL, {"class_weight": None}).report.fixed["class_weight"] is None
    either = Space(
        {"class_weight": CategoricalDistribution(["balanced", None])},
        default={"class_weight": "balanced"},
    )
    transfer = Transfer(either, MODEL)
    assert [c["class_weight"] for c in read(transfer, {"class_weight": None})] == [None]
    assert transfer.to_user([MODEL.default]) == [{"class_weight": None}]


def test_untuned_parents_take_a_value_under_which_the_tuned_children_are_active() -> None:
    gamma = Transfer(Space({"gamma": FloatDistribution(1e-3, 1.0, log=True)}), MODEL)
    assert gamma.report.fixed["gamma_rule"] == "value"
    assert gamma.report.fixed["kernel"] == "rbf"  # the default serves
    both = Space({"coef0": FloatDistribution(0.0, 1.0), "degree": IntDistribution(2, 3)})
    assert Transfer(both, MODEL).report.fixed["kernel"] == "poly"  # only poly serves both
    # so do the given ones: SVC(gamma=0.1)
    given = Transfer(Space({"C": FloatDistribution(1, 2)}), MODEL, {"gamma": 0.1})
    assert given.report.fixed["gamma_rule"] == "value"
    # but what is given stands, also where it makes a tuned child irrelevant
    linear = Transfer(both, MODEL, {"kernel": "linear"})
    assert linear.report.fixed == {"C": 1.0, "kernel": "linear", "class_weight": None}
    assert read(linear, {"coef0": 0.5, "degree": 2}) == [linear.report.fixed]


def test_what_hangs_on_something_inactive_is_not_fixed() -> None:
    linear = Transfer(
        Space({"C": FloatDistribution(1, 2)}), MODEL, {"kernel": "linear", "gamma": 1}
    )
    assert linear.report.fixed == {"kernel": "linear", "class_weight": None}


def test_numbers_below_zero_are_read_as_the_least_of_a_logarithm() -> None:
    depth = Space({"depth": IntDistribution(1, 64, log=True)})
    transfer = Transfer(Space({"depth": IntDistribution(-1, 64)}), depth)
    codes = transfer.to_model(transfer.user.codes([{"depth": d} for d in (-1, 0, 1, 64)]))
    assert depth.decode(codes.array) == [{"depth": d} for d in (1, 1, 1, 64)]


def test_choices_never_seen_are_read_as_missing() -> None:
    kernel = CategoricalDistribution(["rbf", "cosine"])
    transfer = Transfer(Space({"kernel": kernel}), MODEL)
    assert transfer.report.clipped == {"kernel": "never seen: 'cosine'"}
    assert "kernel" not in read(transfer, {"kernel": "cosine"})[0]
    assert read(transfer, {"kernel": "rbf"})[0]["kernel"] == "rbf"
    # nothing in common: new to the model
    strange = Transfer(Space({"kernel": CategoricalDistribution(["cosine"])}), MODEL)
    assert strange.report.unknown == ("kernel",)
    assert strange.report.mapped == ()


def test_zero_is_not_false() -> None:
    model = Space({"flag": CategoricalDistribution([False, True])})
    user = Space({"flag": CategoricalDistribution([0, 1])})
    assert Transfer(user, model).report.unknown == ("flag",)
    assert Transfer(Space({"x": IntDistribution(0, 1)}), model, {"flag": 1}).report.clipped == {
        "flag": "never seen: 1"
    }


def test_numbers_may_be_given_as_choices() -> None:
    user = Space({"C": CategoricalDistribution([0.1, 10, 1000])})
    transfer = Transfer(user, MODEL)
    assert transfer.report.mapped == ("C",)
    assert transfer.report.clipped == {"C": "seen from 0.01 to 100"}
    assert [c["C"] for c in read(transfer, {"C": 10}, {"C": 1000})] == [10.0, 100.0]
    # the nearest choice, on the model's log scale
    known = [MODEL.default | {"C": C} for C in (0.01, 0.9, 1.1, 20.0, 90.0)]
    assert [c["C"] for c in transfer.to_user(known)] == [0.1, 0.1, 10, 10, 1000]
    mixed = Space({"C": CategoricalDistribution([1.0, "auto"])})
    assert Transfer(mixed, MODEL).report.unknown == ("C",)


def test_nothing_in_common_leaves_the_models_default() -> None:
    user = Space({"alpha": FloatDistribution(0, 1), "beta": IntDistribution(1, 3)})
    transfer = Transfer(user, MODEL)
    assert transfer.report.mapped == ()
    assert transfer.report.unknown == ("alpha", "beta")
    assert read(transfer, {"alpha": 0.1, "beta": 2}) == [MODEL.default]
    assert transfer.to_user(MODEL.sample(3)) == [user.default] * 3


def test_configurations_may_be_incomplete() -> None:
    rows = [{"C": 0.5, "kernel": "rbf"}, {"kernel": "poly"}, {"C": 2.0}]
    user = Space({"C": MODEL.distributions["C"], "kernel": MODEL.distributions["kernel"]})
    first, second, third = read(Transfer(user, MODEL), *rows)
    assert first["C"] == 0.5
    assert "C" not in second
    # without a kernel, nothing that depends on the kernel is active
    assert third == {"C": 2.0, "class_weight": None}


@given(st.integers(0, 2**32 - 1))
def test_codes_are_read_as_the_configurations_are_that_they_stand_for(seed: int) -> None:
    user = Space(
        {
            "kernel": CategoricalDistribution(["linear", "cosine", "poly", "rbf"]),
            "C": FloatDistribution(1e-3, 10.0),
            "degree": CategoricalDistribution([1, 3, 4.0]),
            "coef0": IntDistribution(-2, 2),
            "class_weight": CategoricalDistribution(["balanced", None]),
            "new": FloatDistribution(0.0, 1.0),
        },
        {"degree": ("kernel", ["poly", "cosine"])},
    )
    configs = user.sample(20, seed, method="random")
    held = MODEL.clip(user.to_frame(configs).assign(gamma_rule="scale", gamma=np.nan))
    expected = MODEL.codes(held)
    found = Transfer(user, MODEL, {"gamma_rule": "scale"}).to_model(user.codes(configs))
    np.testing.assert_array_equal(found.active, expected.active)
    np.testing.assert_allclose(found.array, expected.array, atol=1e-9)
