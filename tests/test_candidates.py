from __future__ import annotations

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import chisquare

from metahpo.candidates import around
from metahpo.space import Config, Space

SPACE = Space(
    {
        "C": FloatDistribution(1e-3, 1e3, log=True),
        "kernel": CategoricalDistribution(["rbf", "poly", "linear"]),
        "degree": IntDistribution(2, 5),
        "shift": FloatDistribution(0.0, 1.0),
    },
    {"degree": ("kernel", ["poly"]), "shift": ("kernel", ["poly"])},
)
BEST = {"C": 1.0, "kernel": "linear"}


def near(incumbents: list[Config], n: int, seed: int) -> list[Config]:
    rows = around(SPACE, SPACE.codes(incumbents), n, np.random.default_rng(seed))
    return SPACE.decode(rows)


def test_candidates_are_valid_near_and_never_the_incumbent_in_everything() -> None:
    drawn = near([BEST], 2000, 0)
    assert len(drawn) == 2000
    assert [SPACE.validate(config) for config in drawn] == drawn
    steps = np.abs(np.log10([config["C"] for config in drawn])) / 6
    moved = steps > 0
    assert 0.3 < moved.mean() < 0.7
    assert np.median(steps[moved]) < 0.15  # most steps are short, some are long
    assert steps.max() > 0.4
    assert sum(config["kernel"] == "linear" for config in drawn) > 1000


def test_what_a_new_parent_activates_is_drawn_over_its_whole_range() -> None:
    poly = [c for c in near([BEST], 4000, 1) if "shift" in c]
    shifts = np.histogram([config["shift"] for config in poly], bins=5, range=(0, 1))[0]
    # a step from the drawn value is clipped at the ends; between them all are equally likely
    assert chisquare(shifts[1:-1]).pvalue > 1e-3
    assert shifts.min() > len(poly) / 10
    assert {config["degree"] for config in poly} == {2, 3, 4, 5}


def test_choices_are_redrawn_evenly_and_incumbents_may_be_incomplete() -> None:
    drawn = near([{"C": 1.0}, BEST], 4000, 2)
    assert [SPACE.validate(config) for config in drawn] == drawn
    kernels = [config["kernel"] for config in drawn]
    # linear keeps its lead from the incumbent; the others share alike
    assert chisquare([kernels.count("rbf"), kernels.count("poly")]).pvalue > 1e-3


def test_the_generator_decides() -> None:
    first, again = (near([BEST], 20, 3) for _ in range(2))
    assert first == again
