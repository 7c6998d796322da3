"""Information-theoretic meta-features, in bits (Michie et al. 1994; definitions as in pymfe).

Numeric columns are cut into int(n_rows^(1/3)) bins of equal frequency, as pymfe does by default; a
numeric target likewise. A missing value is a level of its own.

pymfe adds ε = 1e-8 to every cell of a contingency table before it takes logarithms. We keep that,
so that the numbers agree: a joint entropy is larger by about 2.7e-7 bits for each empty cell.

Notation: p (n_levels, n_classes) joint frequencies of one column and the target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metahpo.metafeatures.statistical import Columns
from metahpo.metafeatures.summary import ratio, summarise
from metahpo.metafeatures.table import Table
from metahpo.metafeatures.target import Target

EPSILON = 1e-8
# Bits a column; a sum of less is made of ε and rounding, and nothing is divided by it.
MIN_INFORMATION = 1e-6
# pymfe joins the edges of bins that are nearer than this (in the column's own unit).
SAME_EDGE = 1e-8

FloatArray = NDArray[np.float64]
Codes = NDArray[np.int64]


def information(table: Table, columns: Columns, target: Target) -> dict[str, float]:
    """Return the information-theoretic meta-features of a (sampled) table.

    ``class_ent_share`` is the class entropy over its maximum, ``class_conc.*`` Goodman/Kruskal's
    τ of the columns given the target, ``eq_num_attr`` how many columns of average mutual
    information would determine the target, ``ns_ratio`` what the columns say beside the target
    over what they say of it.

    For regression the class entropies are NaN; the rest refers to the binned target.
    """
    classes = target.values if target.is_classification else _bin_target(target.values)
    codes = [*_bin(columns), *(column + 1 for column in table.codes.T.astype(np.int64))]
    class_entropy = _entropy(np.bincount(classes) / len(classes))
    found = np.array([_attribute(column, classes) for column in codes]).reshape(-1, 3)
    entropy, joint, concentration = found.T
    mutual = entropy + class_entropy - joint
    shared = float(mutual.sum())
    informative = shared > len(mutual) * MIN_INFORMATION
    n_classes = len(np.unique(classes))
    return {
        "class_ent": class_entropy if target.is_classification else np.nan,
        "class_ent_share": (
            ratio(class_entropy, np.log2(n_classes)) if target.is_classification else np.nan
        ),
        **summarise("attr_ent", entropy),
        **summarise("joint_ent", joint),
        **summarise("mut_inf", mutual),
        **summarise("class_conc", concentration),
        "eq_num_attr": len(mutual) * class_entropy / shared if informative else np.nan,
        "ns_ratio": (entropy.sum() - shared) / shared if informative else np.nan,
    }


def _bin(columns: Columns) -> list[Codes]:
    """Return the bin of each value of each numeric column; a missing value has the last."""
    n_rows = len(columns.values)
    n_bins = int(n_rows ** (1 / 3))
    edges = columns.quantiles(np.linspace(0, 1, n_bins + 1)[1:])  # (n_bins, n_numeric)
    apart = np.vstack([np.full((1, edges.shape[1]), True), np.diff(edges, axis=0) > SAME_EDGE])
    codes = []
    for position in range(edges.shape[1]):
        column = columns.values[:, position]
        code = np.searchsorted(edges[apart[:, position], position], column, side="left")
        code[np.isnan(column)] = n_bins
        codes.append(code)
    return codes


def _bin_target(values: FloatArray) -> Codes:
    table = Table(values[:, None], np.empty((len(values), 0), np.int32), ())
    return _bin(Columns.of(table))[0]


def _entropy(frequencies: FloatArray) -> float:
    present = frequencies[frequencies > 0]
    return max(0.0, float(-(present * np.log2(present)).sum()))  # rounding may say -3e-16


def _attribute(codes: Codes, classes: Codes) -> tuple[float, float, float]:
    """Return a column's entropy, its joint entropy with the target, and its concentration.

    The concentration coefficient is Goodman and Kruskal's τ of the column given the target, NaN
    for a column of one level. Empty cells of the table are summed without being stored: a column
    of 100,000 levels and a target of 100 classes have ten million.
    """
    width = int(classes.max()) + 1
    cells, counts = np.unique(codes * width + classes, return_counts=True)
    p = np.asarray(counts / len(codes), dtype=np.float64)
    by_level = _sums(cells // width, p)
    by_class = _sums(cells % width, p)
    n_levels, n_classes = len(by_level), len(by_class)
    empty = n_levels * n_classes - len(cells)
    smoothed = p + EPSILON
    joint = -(smoothed * np.log2(smoothed)).sum() - empty * EPSILON * np.log2(EPSILON)
    return _entropy(by_level), float(joint), _concentration(cells % width, p, by_level, by_class)


def _sums(groups: Codes, values: FloatArray) -> FloatArray:
    """Add positive values up by group; groups that do not occur are left out."""
    sums = np.asarray(np.bincount(groups, weights=values), dtype=np.float64)
    return sums[sums > 0]


def _concentration(
    classes: Codes, p: FloatArray, by_level: FloatArray, by_class: FloatArray
) -> float:
    n_levels, n_classes = len(by_level), len(by_class)
    if n_levels < 2:
        return float("nan")
    squares = _sums(classes, p**2) + 2 * EPSILON * by_class + n_levels * EPSILON**2
    explained = (squares / (by_class + n_levels * EPSILON)).sum()
    chance = ((by_level + n_classes * EPSILON) ** 2).sum()
    return float((explained - chance) / (1 - chance))
