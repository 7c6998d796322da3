"""Learner: an estimator of scikit-learn's kind with its space, its default and its preprocessing.

A parameter whose default is not a number of its range ("scale" for SVC's gamma, "sqrt" for a
forest's max_features, None for max_depth) is searched as two: ``<name>_rule`` chooses between the
symbols and "value", and ``<name>`` is active under "value".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution

from metahpo.catalogue.preprocessing import Preprocessing, preprocessor
from metahpo.space import Config, Space

Task = Literal["classification", "regression"]
ROOT = "learner"  # the root parameter of a union space
VALUE = "value"  # the choice of a rule under which the parameter itself is searched


@dataclass(frozen=True)
class Learner:
    """One learner of the catalogue.

    Parameters
    ----------
    name : str
        Its key in ``learners``.
    family : str
        The name shared with the counterpart for the other task.
    task : {"classification", "regression"}
    estimator : str
        Where the class lives, as ``"package.module:Class"``.
    space : Space
        What is searched. Its default configuration is the library's own default.
    preprocessing : {"scaled", "ordinal", "imputed", "native"}
        What the estimator needs in front of it; see :mod:`metahpo.catalogue.preprocessing`.
    symbols : mapping of str to sequence, optional
        For each parameter searched by rule: its values that are not numbers of its range.
    fixed : mapping, optional
        Settings that are not searched and differ from the library's default, such as a larger
        ``max_iter``.
    base : str, optional
        For a meta-estimator: the class of its ``estimator``.
    parallel : bool, default=False
        Whether fitting one estimator can use several cores (``n_jobs``).
    scale_target : bool, default=False
        Whether the target is standardised while fitting (regression, where the learner's
        defaults presume a target of unit scale).
    encode_labels : bool, default=False
        Whether the labels are encoded as integers while fitting (XGBoost takes no others).

    References
    ----------
    The ranges follow auto-sklearn (Feurer et al. 2015; 2022), van Rijn and Hutter, "Hyperparameter
    importance across datasets" (KDD 2018), and rbv2 (Binder, Pfisterer and Bischl 2020); each
    learner's file says where it departs from them.
    """

    name: str
    family: str
    task: Task
    estimator: str
    space: Space
    preprocessing: Preprocessing
    symbols: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    parallel: bool = False
    scale_target: bool = False
    encode_labels: bool = False

    @property
    def installed(self) -> bool:
        """Whether the package that holds the estimator is installed."""
        return find_spec(self.estimator.split(".")[0].split(":")[0]) is not None

    @cached_property
    def estimator_class(self) -> Any:
        """The estimator's class, imported when first asked for."""
        return _load(self.estimator)

    @cached_property
    def base_class(self) -> Any:
        """The class of a meta-estimator's ``estimator``; None for any other learner."""
        return None if self.base is None else _load(self.base)

    def params_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a configuration into parameters of the estimator's class."""
        params = dict(config)
        for name, symbols in self.symbols.items():
            rule = params.pop(f"{name}_rule", VALUE)
            if rule != VALUE:
                params[name] = {_label(symbol): symbol for symbol in symbols}[rule]
        return params

    def config_of(self, params: Mapping[str, Any]) -> Config:
        """Turn parameters of the estimator's class into the configuration that says the same.

        Parameters that the space does not hold are left out; values outside its ranges are kept
        as they are, for the caller to judge.
        """
        values = dict(params)
        for name, symbols in self.symbols.items():
            if name not in values:
                continue
            match = [s for s in symbols if type(s) is type(values[name]) and s == values[name]]
            values[f"{name}_rule"] = _label(match[0]) if match else VALUE
        return {name: values[name] for name in self.space.active(values) if name in values}

    def make(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        random_state: int | None = 0,
        n_jobs: int | None = 1,
    ) -> Any:
        """Build the pipeline: the preprocessing that the estimator needs, then the estimator.

        Parameters
        ----------
        config : mapping, optional
            A configuration of ``space``; its default if not given.
        random_state : int or None, default=0
            Of the estimator where it takes one, and of the preprocessing of text.
        n_jobs : int or None, default=1
            Cores for one fit, where the learner can use several.

        Returns
        -------
        sklearn.pipeline.Pipeline
            With the steps "preprocess" and "estimator". It takes DataFrames of any dtypes with
            missing values, and arrays of numbers.

        Raises
        ------
        ValueError
            If `config` is not a configuration of the space.
        """
        from sklearn.pipeline import Pipeline

        valid = self.space.validate(self.space.default if config is None else config)
        estimator = self._bare(random_state, n_jobs).set_params(**self.params_of(valid))
        if self.scale_target:
            from sklearn.compose import TransformedTargetRegressor
            from sklearn.preprocessing import StandardScaler

            estimator = TransformedTargetRegressor(estimator, transformer=StandardScaler())
        if self.encode_labels:
            from metahpo.catalogue.labels import LabelEncodedClassifier

            estimator = LabelEncodedClassifier(estimator)
        preprocess = preprocessor(self.preprocessing, random_state)
        return Pipeline([("preprocess", preprocess), ("estimator", estimator)])

    def _bare(self, random_state: int | None, n_jobs: int | None) -> Any:
        estimator = self.estimator_class(**self.fixed)
        if self.base_class is not None:
            estimator.set_params(estimator=self.base_class())
        if self.parallel:
            estimator.set_params(n_jobs=n_jobs)
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=random_state)
        return estimator


@dataclass(frozen=True)
class UnionLearner(Learner):
    """All learners of a task as one, with the learner itself as the root parameter."""

    branches: Mapping[str, Learner] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, branches: Mapping[str, Learner], first: str) -> UnionLearner:
        """Join `branches`; the default configuration is that of the branch `first`."""
        spaces = {branch: learner.space for branch, learner in branches.items()}
        return cls(
            name=name,
            family="auto",
            task=branches[first].task,
            estimator=branches[first].estimator,
            space=Space.union(spaces, ROOT, default=first),
            preprocessing=branches[first].preprocessing,
            branches=branches,
        )

    def space_of(self, names: Sequence[str]) -> Space:
        """Return the part of the space in which some of the learners are chosen, at least one."""
        if len(names) == len(self.branches):
            return self.space
        first = self.space.default[ROOT]
        spaces = {name: self.branches[name].space for name in names}
        return Space.union(spaces, ROOT, default=first if first in spaces else names[0])

    def make(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        random_state: int | None = 0,
        n_jobs: int | None = 1,
    ) -> Any:
        """Build the pipeline of the learner that `config` chooses."""
        valid = self.space.validate(self.space.default if config is None else config)
        learner, rest = self.split(valid)
        return learner.make(rest, random_state=random_state, n_jobs=n_jobs)

    def split(self, config: Mapping[str, Any]) -> tuple[Learner, Config]:
        """Split a configuration into the chosen learner and that learner's own configuration."""
        chosen = config[ROOT]
        prefix = f"{chosen}__"
        own = {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix)}
        return self.branches[chosen], own


def by_rule(
    name: str, symbols: tuple[Any, ...], distribution: BaseDistribution
) -> dict[str, BaseDistribution]:
    """Return the two distributions of a parameter that is either a symbol or a number."""
    labels = [_label(symbol) for symbol in symbols]
    return {f"{name}_rule": CategoricalDistribution([*labels, VALUE]), name: distribution}


def _label(symbol: Any) -> str:
    return symbol if isinstance(symbol, str) else str(symbol).lower()


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)
