"""Relevance: how much a new task is like each training task, judged by meta-features.

A learned diagonal metric on rank-Gaussianised meta-features; the nearer a training task, the
larger its weight (softmax of the negative squared distance). The metric minimises the error with
which a task's response is predicted by the others' weighted mean, and is stopped early on tasks
held out; where no metric predicts better than equal weights, the weights stay equal.

References
----------
Weinberger and Tesauro, "Metric learning for kernel regression", AISTATS 2007.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax, ndtri

Array = NDArray[np.float64]

_UNIFORM = 0.2  # share of the weight that is spread equally, whatever the meta-features say
_FOLDS = 5
_STEPS = 150
_LEARNED_FROM = 500  # tasks at most: more hardly tell more, and time is quadratic in them
_WORTH = 0.99  # held-out error, relative to equal weights, below which a metric is used
_RESPONSES = 8  # principal components of the tasks' responses that are predicted
_NAMED = 5  # meta-features that an error names


@dataclass(frozen=True)
class Relevance:
    """Weights of the training tasks for a new one."""

    reference: Array
    """(T, p): the training tasks' meta-features."""
    names: tuple[str, ...]
    """The p meta-features."""
    scale: Array
    """(p,): how much each counts; all zero where meta-features do not help."""

    def log_weights(self, meta_features: Mapping[str, float] | None) -> Array:
        """Return the log weight of every training task: shape (T,), summing to one.

        Parameters
        ----------
        meta_features : mapping of str to float or None
            Names that are unknown are ignored; names that are missing, None and NaN count as
            ordinary. None gives equal weights.

        Raises
        ------
        TypeError, ValueError
            As :meth:`check`.
        """
        self.check(meta_features)
        n_tasks = len(self.reference)
        equal = np.full(n_tasks, -np.log(max(n_tasks, 1)))
        if meta_features is None or not self.scale.any():
            return equal
        near = log_softmax(-(self.distances(meta_features) ** 2))
        mixed: Array = np.logaddexp(near + np.log1p(-_UNIFORM), equal + np.log(_UNIFORM))
        return mixed

    def distances(self, meta_features: Mapping[str, float] | None) -> Array:
        """Return the learned distance of a new task to every training task: shape (T,)."""
        raw = given_values(meta_features, self.names)[None]
        new, known = ranked(raw, self.reference), ranked(self.reference, self.reference)
        distance: Array = np.sqrt((((new - known) * self.scale) ** 2).sum(1))
        return distance

    def check(self, meta_features: Mapping[str, float] | None) -> None:
        """Refuse what cannot be read, and what says nothing where meta-features count.

        Raises
        ------
        TypeError
            If it is no mapping.
        ValueError
            If a known name has a value that is no number, or if no name is known.
        """
        given_values(meta_features, self.names)
        if meta_features is None or not len(meta_features) or not self.scale.any():
            return  # an empty mapping claims to say nothing
        if any(name in meta_features for name in self.names):
            return
        from metahpo.metafeatures import MetaFeatures

        # of a model with meta-features of its own, a search on a table can give no others
        if not isinstance(meta_features, MetaFeatures):
            more = ", …" if len(self.names) > _NAMED else ""
            known = ", ".join(self.names[:_NAMED]) + more
            raise ValueError(
                f"meta_features has no name that the model knows ({known}); "
                "give metahpo.describe(X, y), or None"
            )


def given_values(meta_features: Mapping[str, float] | None, names: Sequence[str]) -> Array:
    """Return a dataset's meta-features by name: shape (p,), NaN for what is not given.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        Naming the value that is no number.
    """
    if meta_features is None:
        return np.full(len(names), np.nan)
    if not isinstance(meta_features, Mapping | pd.Series):  # such as a row of a MetaDataset's
        raise TypeError(
            f"meta_features is of type {type(meta_features).__name__}; give a mapping of names to "
            "numbers, as from metahpo.describe(X, y)"
        )
    values: list[Any] = [meta_features.get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if not (value is None or isinstance(value, Real | np.bool_)):
            raise ValueError(f"meta_features sets {name}={value!r}; a number is needed")
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def fit_relevance(
    meta_features: pd.DataFrame | None, responses: Array, *, seed: int = 0
) -> Relevance:
    """Learn which meta-features tell similar tasks from others.

    Parameters
    ----------
    meta_features : DataFrame or None, shape (T, p)
    responses : ndarray, shape (T, n)
        The tasks' z on common configurations.
    seed : int, default=0
        Of the split of the tasks.
    """
    n_tasks = len(responses)
    given = pd.DataFrame(index=range(n_tasks)) if meta_features is None else meta_features
    varied = given.loc[:, given.nunique() > 1]
    if not varied.shape[1] or n_tasks < 2 * _FOLDS:
        return Relevance(np.empty((n_tasks, 0)), (), np.empty(0))
    reference = varied.to_numpy(dtype=float)
    X = ranked(reference, reference)
    Y = principal_components(responses, _RESPONSES)
    Y = Y / np.sqrt((Y**2).sum(1).mean() + 1e-12)
    order = np.random.default_rng(seed).permutation(n_tasks)
    few = order < _LEARNED_FROM
    X, Y, fold = X[few], Y[few], order[few] % _FOLDS
    errors = np.mean([_path(X, Y, fold != k)[1] for k in range(_FOLDS)], axis=0)  # (steps,)
    steps = int(errors.argmin())
    scale = np.zeros(X.shape[1])
    if errors[steps] < _WORTH:
        scale = _path(X, Y, np.ones(len(X), dtype=bool), steps=steps + 1)[0]
    return Relevance(reference, tuple(map(str, varied.columns)), scale)


def ranked(raw: Array, reference: Array) -> Array:
    """Replace each value by the normal quantile of its rank in the reference; NaN by zero.

    Parameters
    ----------
    raw : ndarray, shape (n, p)
    reference : ndarray, shape (T, p)
    """
    ranked = np.zeros(raw.shape)
    for j, column in enumerate(reference.T):
        known = np.sort(column[~np.isnan(column)])
        middle = (
            np.searchsorted(known, raw[:, j]) + np.searchsorted(known, raw[:, j], "right")
        ) / 2
        ranked[:, j] = ndtri((middle + 0.5) / (len(known) + 1))
    return np.where(np.isnan(raw), 0.0, ranked)


def principal_components(responses: Array, n: int) -> Array:
    """Return the first principal components of the tasks' responses.

    Parameters
    ----------
    responses : ndarray, shape (T, m)
        The tasks' z on common configurations.
    n : int

    Returns
    -------
    ndarray, shape (T, n)
        Zero beyond the rank.
    """
    U, s, _ = np.linalg.svd(responses - responses.mean(0), full_matrices=False)
    scores = U[:, :n] * s[:n]
    return np.pad(scores, ((0, 0), (0, n - scores.shape[1])))


def _path(
    X: Array, Y: Array, train: NDArray[np.bool_], steps: int = _STEPS
) -> tuple[Array, Array]:
    """Descend on the training tasks; return the metric and the held-out error at each step."""
    import torch

    known, target = torch.as_tensor(X[train]), torch.as_tensor(Y[train])
    held_X, held_Y = torch.as_tensor(X[~train]), torch.as_tensor(Y[~train])
    scale = torch.full((X.shape[1],), 0.5 / X.shape[1] ** 0.5, dtype=torch.float64)
    scale.requires_grad_()
    optimizer = torch.optim.Adam([scale], lr=0.02)
    itself = torch.eye(len(known), dtype=torch.bool)
    equal = (held_Y - target.mean(0)).square().sum()
    errors = np.ones(steps)

    def squared(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        # not the squares of all differences: (A, B, p) is large where there are many tasks
        A, B = A * scale, B * scale
        return A.square().sum(1)[:, None] + B.square().sum(1) - 2 * A @ B.T  # (A, B)

    for step in range(steps):
        logits = (-squared(known, known)).masked_fill(itself, -torch.inf)
        loss = (target - logits.softmax(1) @ target).square().sum(1).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss + 0.02 * scale.abs().sum())
        optimizer.step()
        if len(held_X):
            with torch.no_grad():
                weights = (-squared(held_X, known)).softmax(1)
                errors[step] = (held_Y - weights @ target).square().sum() / equal
    return scale.detach().numpy().copy(), errors
