"""MetaSearchCV: tuning from experience as a scikit-learn search."""

from metahpo.search.search import MetaSearchCV

__all__ = ["MetaSearchCV"]
