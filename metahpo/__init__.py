"""Hyperparameter tuning that starts from experience instead of from zero.

The public names are loaded on first use, so that ``import metahpo`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metahpo.catalogue import Learner, learners
    from metahpo.metadataset import MetaDataset
    from metahpo.metafeatures import MetaFeatures, describe
    from metahpo.metamodel import MetaModel
    from metahpo.optimizer import MetaOptimizer
    from metahpo.sampler import MetaSampler
    from metahpo.search import MetaSearchCV
    from metahpo.space import Space

__version__ = "0.1.0"

_HOME = {
    "Learner": "catalogue",
    "MetaDataset": "metadataset",
    "MetaFeatures": "metafeatures",
    "MetaModel": "metamodel",
    "MetaOptimizer": "optimizer",
    "MetaSampler": "sampler",
    "MetaSearchCV": "search",
    "Space": "space",
    "describe": "metafeatures",
    "learners": "catalogue",
}

__all__ = [
    "Learner",
    "MetaDataset",
    "MetaFeatures",
    "MetaModel",
    "MetaOptimizer",
    "MetaSampler",
    "MetaSearchCV",
    "Space",
    "describe",
    "learners",
]


def __getattr__(name: str) -> Any:
    """Import the home of a public name when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'metahpo' has no attribute {name!r}")
    value = getattr(import_module(f"metahpo.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
