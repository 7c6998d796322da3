"""What a study's trials show of its space: inferred from trials made by a known one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo import Space, learners
from metahpo.observed import Shown, narrowed, nearest_configs, observed_space, pinned
from metahpo.space import Config

SVC = learners["svc"].space
LAYERS = Space(
    {
        "n": IntDistribution(1, 3),
        "size_2": IntDistribution(1, 64, log=True),
        "size_3": IntDistribution(1, 64, log=True),
        "rate": FloatDistribution(0.0, 1.0),
    },
    {"size_2": ("n", [2, 3]), "size_3": ("n", [3])},
)


def shown(space: Space, configs: Sequence[Config], *, finished: bool = True) -> list[Shown]:
    return [
        Shown(config, {name: space.distributions[name] for name in config}, finished)
        for config in configs
    ]


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a space that shares some names with "svc", under conditions of its own."""
    names = draw(st.permutations([*SVC.names, "u", "v"]))[: draw(st.integers(1, 7))]
    kinds: dict[str, Any] = {
        "float": FloatDistribution(0.5, 8.0, log=True),
        "int": IntDistribution(2, 5),
        "rare": CategoricalDistribution(["rbf", "linear", "value"]),
        "flag": CategoricalDistribution([None, False]),
    }
    distributions = {
        name: SVC.distributions[name]
        if name in SVC.names and draw(st.booleans())
        else kinds[draw(st.sampled_from(sorted(kinds)))]
        for name in names
    }
    conditions: dict[str, Any] = {}
    for i, name in enumerate(names):
        parents = [n for n in names[:i] if isinstance(distributions[n], CategoricalDistribution)]
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            conditions[name] = (parent, [draw(st.sampled_from(distributions[parent].choices))])
    return Space(distributions, conditions)


@settings(max_examples=60, deadline=None)
@given(space=spaces(), n=st.integers(0, 12), seed=st.integers(0, 99), finished=st.booleans())
def test_every_trial_is_a_configuration_of_the_observed_space(
    space: Space, n: int, seed: int, finished: bool
) -> None:
    configs = space.sample(n, seed=seed, method="random")
    observed = observed_space(SVC, shown(space, configs, finished=finished))
    assert nearest_configs(observed, configs) == configs
    for config in configs:
        for drawn in pinned(observed, config).sample(2, seed=seed):
            assert drawn.items() >= config.items()


def test_enough_trials_show_the_space_itself() -> None:
    for space in (SVC, LAYERS):
        observed = observed_space(SVC, shown(space, space.sample(64)))
        assert observed.distributions == space.distributions
        assert observed.conditions == space.conditions


def test_without_trials_it_is_as_expected() -> None:
    assert observed_space(SVC, []) is SVC
    assert observed_space(SVC, shown(SVC, [SVC.default])) is SVC


def test_what_a_finished_trial_passed_over_is_not_expected_any_more() -> None:
    config = {"C": 1.0, "kernel": "rbf"}
    running = observed_space(SVC, shown(SVC, [config], finished=False))
    assert running is SVC
    ended = observed_space(SVC, shown(SVC, [config]))
    # gamma is neither suggested by its rule nor without; degree and coef0 may be, elsewhere
    assert set(ended.names) == {"C", "kernel", "degree", "coef0"}


def test_a_child_that_is_suggested_without_its_parent_inherits_the_grandparent() -> None:
    config = {"C": 1.0, "kernel": "rbf", "gamma": 0.1}
    observed = observed_space(SVC, shown(SVC, [config], finished=False))
    assert "gamma_rule" not in observed.names
    assert observed.conditions["gamma"] == ("kernel", ("rbf", "poly", "sigmoid"))


def test_fixed_parameters_settle_conditions() -> None:
    observed = observed_space(SVC, [], fixed={"kernel": "rbf", "gamma_rule": "value"})
    assert set(observed.names) == {"C", "gamma", "class_weight"}
    assert observed.conditions == {}
    assert "gamma" not in observed_space(SVC, [], fixed={"gamma_rule": "scale"}).names
    assert "gamma" not in observed_space(SVC, [], fixed={"kernel": "linear"}).names


def test_zero_is_not_false() -> None:
    expected = Space({"flag": CategoricalDistribution([False, True])})
    flag = CategoricalDistribution([0, 1])
    space = observed_space(expected, [Shown({"flag": 1}, {"flag": flag}, finished=True)])
    assert nearest_configs(space, [{"flag": 1}]) == [{"flag": 1}]
    assert [type(choice) for choice in space.distributions["flag"].choices] == [int, int]


def test_ranges_are_joined() -> None:
    ranges = [FloatDistribution(1.0, 2.0), FloatDistribution(5.0, 9.0), FloatDistribution(1, 3)]
    trials = [Shown({"x": d.low}, {"x": d}, True) for d in ranges]
    assert observed_space(Space({}), trials).distributions == {"x": FloatDistribution(1.0, 9.0)}


def test_narrowing_drops_what_cannot_be_active() -> None:
    part = narrowed(SVC, {"kernel": CategoricalDistribution(["linear", "rbf"])})
    assert set(part.names) == {"C", "kernel", "class_weight", "gamma_rule", "gamma"}
    assert part.conditions["gamma_rule"] == ("kernel", ("rbf",))
    assert part.default == SVC.default


@pytest.mark.parametrize(
    ("params", "read"),
    [
        ({"n": 9, "rate": -1}, {"n": 3, "rate": 0.0}),
        ({"n": 1, "size_2": 5}, {"n": 1}),  # inactive
        ({"n": 2, "size_2": 5, "other": 1}, {"n": 2, "size_2": 5}),
        ({"size_2": 5, "rate": "high"}, {}),
    ],
)
def test_parameters_are_read_as_far_as_the_space_can_hold_them(
    params: Config, read: Config
) -> None:
    assert nearest_configs(LAYERS, [params]) == [read]
