"""Which differences between methods are more than luck: ranks, wins and tests over tasks.

The task is what is drawn at random, so every number here is over tasks, each with its mean over
learners, folds and seeds. The tests are those of Demšar, "Statistical comparisons of classifiers
over multiple data sets" (JMLR 2006), and, for the pairs, Benavoli, Corani and Mangili, "Should we
really use post-hoc tests based on mean-ranks?" (JMLR 2016): Friedman's test over all methods, then
Wilcoxon's signed-rank test for pairs with Holm's correction. SciPy and statsmodels do them.

Notation
--------
======= ================ ===============================================================
name    shape            meaning
======= ================ ===============================================================
regret  (tasks, methods) normalised regret at one budget
======= ================ ===============================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALPHA = 0.05
_RESAMPLES = 2000
_DECIMALS = 9  # regrets that agree so far are ties: the order of summation makes the rest


@dataclass(frozen=True)
class Versus:
    """A method against a baseline: on how many tasks its regret is lower, equal, higher.

    Attributes
    ----------
    wins, ties, losses : int
    p : float
        Wilcoxon's signed-rank test, two-sided, corrected by Holm for the number of methods.
    """

    wins: int
    ties: int
    losses: int
    p: float


@dataclass(frozen=True)
class CriticalDifference:
    """The methods by mean rank, and which of them the tasks do not tell apart.

    Attributes
    ----------
    ranks : mapping of str to float
        Mean rank, best first.
    p : float
        Friedman's test that all methods are equal; NaN for two methods, which it does not take.
    cliques : tuple of tuple of str
        Neighbours in rank of which no pair differs significantly; the largest such groups.
    n_tasks : int
    """

    ranks: dict[str, float]
    p: float
    cliques: tuple[tuple[str, ...], ...]
    n_tasks: int


def ranks(regret: Array) -> Array:
    """Rank the methods on every task: 1 is best, ties share their mean.

    Parameters
    ----------
    regret : ndarray, shape (tasks, methods) or (tasks, methods, budgets)
    """
    from scipy.stats import rankdata

    ranked: Array = rankdata(regret.round(_DECIMALS), axis=1)
    return ranked


def bootstrap_band(values: Array, *, seed: int = 0) -> tuple[Array, Array]:
    """Return the ends of the 95 % percentile bootstrap interval of the mean over tasks.

    Tasks are drawn with replacement, each with all its learners, folds and seeds.

    Parameters
    ----------
    values : ndarray, shape (tasks, budgets)
    seed : int, default=0

    Returns
    -------
    tuple of ndarray, shape (budgets,)
        Low and high; both the mean itself where there is one task only.
    """
    from scipy.stats import bootstrap

    if len(values) < 2:
        return values.mean(axis=0), values.mean(axis=0)
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=1 - ALPHA,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


def against(regret: Array, methods: tuple[str, ...], baseline: str) -> dict[str, Versus]:
    """Hold every other method against the baseline."""
    others = [method for method in methods if method != baseline]
    base = regret[:, methods.index(baseline)]
    gains = {m: (base - regret[:, methods.index(m)]).round(_DECIMALS) for m in others}
    ps = _holm([_wilcoxon(gain) for gain in gains.values()])
    return {
        method: Versus(int((gain > 0).sum()), int((gain == 0).sum()), int((gain < 0).sum()), p)
        for (method, gain), p in zip(gains.items(), ps, strict=True)
    }


def critical_difference(regret: Array, methods: tuple[str, ...]) -> CriticalDifference:
    """Rank the methods and find the groups that cannot be told apart at the 5 % level."""
    mean_ranks = ranks(regret).mean(axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    p = _friedman(regret.round(_DECIMALS))
    pairs = list(combinations(range(len(methods)), 2))
    ps = _holm([_wilcoxon((regret[:, a] - regret[:, b]).round(_DECIMALS)) for a, b in pairs])
    differ = np.zeros((len(methods), len(methods)), dtype=bool)
    if not p > ALPHA:  # pairs are only looked at where the methods are not all alike
        for (a, b), pair_p in zip(pairs, ps, strict=True):
            differ[a, b] = differ[b, a] = pair_p <= ALPHA
    return CriticalDifference(
        ranks={methods[i]: float(mean_ranks[i]) for i in order},
        p=p,
        cliques=tuple(tuple(methods[i] for i in group) for group in _groups(order, differ)),
        n_tasks=len(regret),
    )


def _groups(order: NDArray[np.intp], differ: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Return the largest stretches of `order`, of two or more, without a pair that differs."""
    found: list[NDArray[np.intp]] = []
    reached = 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not differ[np.ix_(order[start:stop], order[[stop]])].any():
            stop += 1
        if stop > max(reached, start + 1):
            found.append(order[start:stop])
            reached = stop
    return found


def _wilcoxon(gain: Array) -> float:
    from scipy.stats import wilcoxon

    if len(gain) < 2 or not gain.any():
        return 1.0
    return float(wilcoxon(gain, zero_method="zsplit").pvalue)  # ties split, as Demšar has it


def _holm(ps: list[float]) -> list[float]:
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(ps, method="holm")[1]] if ps else []


def _friedman(regret: Array) -> float:
    from scipy.stats import friedmanchisquare

    if regret.shape[1] < 3:
        return float("nan")
    if len(regret) < 2 or not np.ptp(regret, axis=1).any():
        return 1.0
    return float(friedmanchisquare(*regret.T).pvalue)
