"""The tuners that are compared, each as an Optuna study.

Every method sees the same space and starts where a practitioner would: the cold ones from the
library's default configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from metahpo.catalogue import Learner
from metahpo.space import Config, Space

if TYPE_CHECKING:
    import optuna

    from metahpo.metafeatures import MetaFeatures


@dataclass(frozen=True)
class Method:
    """A tuner.

    Attributes
    ----------
    label : str
        What a table calls it.
    title : str
        What a picture's legend calls it.
    make_sampler : callable
        From a learner, a dataset's meta-features and a seed to an Optuna sampler.
    from_default : bool
        Whether the first trial is the library's default configuration.
    """

    label: str
    title: str
    make_sampler: Callable[[Learner, MetaFeatures, int], optuna.samplers.BaseSampler]
    from_default: bool


def _metahpo(learner: Learner, meta_features: MetaFeatures, seed: int) -> Any:
    from metahpo.sampler import MetaSampler

    return MetaSampler(learner=learner.name, meta_features=meta_features, seed=seed)


def _tpe(learner: Learner, meta_features: MetaFeatures, seed: int) -> Any:
    import optuna

    return optuna.samplers.TPESampler(seed=seed)


def _gp(learner: Learner, meta_features: MetaFeatures, seed: int) -> Any:
    import optuna

    return optuna.samplers.GPSampler(seed=seed)


def _random(learner: Learner, meta_features: MetaFeatures, seed: int) -> Any:
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


methods: Mapping[str, Method] = MappingProxyType(
    {
        "metahpo": Method("metahpo", "metahpo", _metahpo, from_default=False),
        "tpe_default": Method("TPE", "Optuna TPE, from the default", _tpe, from_default=True),
        "gp_default": Method("GP", "Optuna GP, from the default", _gp, from_default=True),
        "random": Method("random", "random search", _random, from_default=False),
    }
)


def new_study(method: Method, learner: Learner, meta_features: MetaFeatures, seed: int) -> Any:
    """Open an in-memory study that maximises, with the method's sampler and first trial."""
    import optuna

    sampler = method.make_sampler(learner, meta_features, seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    if method.from_default:
        study.enqueue_trial(learner.space.default)
    return study


def suggest(trial: optuna.Trial, space: Space) -> Config:
    """Let a trial suggest the parameters of a space that are active, parents first."""
    config: Config = {}
    for name in space.names:
        if name not in space.active({**config, name: None}):
            continue
        d = space.distributions[name]
        if isinstance(d, CategoricalDistribution):
            config[name] = trial.suggest_categorical(name, d.choices)
        elif isinstance(d, FloatDistribution):
            config[name] = trial.suggest_float(name, d.low, d.high, log=d.log, step=d.step)
        else:
            config[name] = trial.suggest_int(name, d.low, d.high, log=d.log, step=d.step)
    return config
