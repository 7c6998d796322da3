"""Optuna's own conformance suite for samplers, which Optuna 4.8 and later offer."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from metahpo import MetaModel, MetaSampler

suite = pytest.importorskip(
    "optuna.testing.pytest_samplers", reason="this Optuna has no suite for samplers"
)

optuna.logging.set_verbosity(optuna.logging.ERROR)


class TestMetaSampler(
    suite.BasicSamplerTestCase, suite.RelativeSamplerTestCase, suite.SingleOnlySamplerTestCase
):
    """The whole suite, but for pairs of distributions: each once instead of all with all."""

    @pytest.fixture
    def sampler(self, tiny_model: MetaModel) -> Callable[[], BaseSampler]:
        return lambda: MetaSampler(tiny_model)

    @pytest.mark.parametrize(
        ("x_distribution", "y_distribution"),
        [
            (FloatDistribution(-1.0, 1.0), IntDistribution(1, 100, log=True)),
            (FloatDistribution(1e-7, 1.0, log=True), IntDistribution(3, 9, step=2)),
            (FloatDistribution(-10, 10, step=0.5), IntDistribution(3, 10)),
        ],
    )
    def test_sample_relative_numerical(
        self,
        sampler: Callable[[], BaseSampler],
        x_distribution: BaseDistribution,
        y_distribution: BaseDistribution,
    ) -> None:
        super().test_sample_relative_numerical(sampler, x_distribution, y_distribution)

    @pytest.mark.parametrize("x_distribution", [FloatDistribution(-10, 10, step=0.5)])
    def test_sample_relative_mixed(
        self, sampler: Callable[[], BaseSampler], x_distribution: BaseDistribution
    ) -> None:
        super().test_sample_relative_mixed(sampler, x_distribution)

    @pytest.mark.parametrize(
        ("suggest_method_x", "suggest_method_y"),
        [
            (lambda t: t.suggest_float("x", 0, 10), lambda t: t.suggest_int("y", 1, 10, log=True)),
            (
                lambda t: t.suggest_categorical("x", [0, 1, 2]),
                lambda t: t.suggest_float("y", 0, 10, step=0.5),
            ),
            (
                lambda t: t.suggest_int("x", 0, 10),
                lambda t: t.suggest_float("y", 1e-7, 10, log=True),
            ),
        ],
    )
    def test_combination_of_different_distributions_objective(
        self,
        sampler: Callable[[], BaseSampler],
        suggest_method_x: Callable[[Trial], float],
        suggest_method_y: Callable[[Trial], float],
    ) -> None:
        super().test_combination_of_different_distributions_objective(
            sampler, suggest_method_x, suggest_method_y
        )
