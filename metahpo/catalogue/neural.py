"""Multi-layer perceptrons: the ranges of auto-sklearn, with the library's 200 epochs.

scikit-learn's ``hidden_layer_sizes`` is a tuple; here it is searched as a number of equal layers
and their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metahpo.catalogue.learner import Learner
from metahpo.space import Config, Space

_SPACE = Space(
    {
        "layers": IntDistribution(1, 3),
        "width": IntDistribution(16, 256, log=True),
        "activation": CategoricalDistribution(["relu", "tanh"]),
        "alpha": FloatDistribution(1e-7, 1e-1, log=True),
        "learning_rate_init": FloatDistribution(1e-4, 1e-1, log=True),
        "early_stopping": CategoricalDistribution([False, True]),
    },
    default={
        "layers": 1,
        "width": 100,
        "activation": "relu",
        "alpha": 1e-4,
        "learning_rate_init": 1e-3,
        "early_stopping": False,
    },
)


@dataclass(frozen=True)
class PerceptronLearner(Learner):
    """A perceptron whose tuple of layer sizes is searched as depth and width."""

    def params_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Turn depth and width into ``hidden_layer_sizes``."""
        params = dict(config)
        params["hidden_layer_sizes"] = (params.pop("width"),) * params.pop("layers")
        return params

    def config_of(self, params: Mapping[str, Any]) -> Config:
        """Read depth and width from ``hidden_layer_sizes`` where its layers are equal."""
        values = dict(params)
        sizes = values.pop("hidden_layer_sizes", None)
        sizes = (sizes,) if isinstance(sizes, int) else sizes
        if sizes and len(set(sizes)) == 1:
            values |= {"layers": len(sizes), "width": sizes[0]}
        return super().config_of(values)


LEARNERS = (
    PerceptronLearner(
        name="mlp",
        family="mlp",
        task="classification",
        estimator="sklearn.neural_network:MLPClassifier",
        space=_SPACE,
        preprocessing="scaled",
    ),
    PerceptronLearner(
        name="mlp_regressor",
        family="mlp",
        task="regression",
        estimator="sklearn.neural_network:MLPRegressor",
        space=_SPACE,
        preprocessing="scaled",
        scale_target=True,
    ),
)
