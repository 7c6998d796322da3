"""An order of rows, columns and classes that depends on a table's content alone.

A meta-feature must not change when somebody shuffles the rows, moves a column or renames a class.
Sums survive that; a subsample, a fold, a tie between two splits do not. So the table is put into a
canonical order first, and everything costly is computed on (a prefix of) the ordered table.

Keys are found by colour refinement (Weisfeiler and Leman 1968) on the graph of rows, columns and
classes: a column's key hashes its cells together with their rows' keys, a row's key its cells
together with their columns' keys and its class's key, a class's key its rows' keys. One round is
enough for most tables; where columns hold the same values (full factorial designs), rounds go on
until they split no further group. Columns that still tie are interchangeable as far as such hashes
can see, but not each row by itself: so one of them is marked and the rounds go on, until all
columns that differ are told apart (individualisation, McKay 1981).

Notation: M (n_rows, n_columns) hashes of cells; all arithmetic is on uint64, modulo 2^64, where
addition does not depend on order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metahpo.metafeatures.table import Table, column_blocks
from metahpo.metafeatures.target import Target

Keys = NDArray[np.uint64]
Rows = NDArray[np.intp]
Cells = NDArray[np.uint64] | sparse.csc_array

# A bound on the cost for tables made of symmetries; the order is then only nearly canonical.
MAX_ROUNDS = 32
MISSING = np.uint64(0x9E3779B97F4A7C15)
# A class keeps this many rows in every prefix of the order that has room for them: one a fold.
MIN_ROWS_PER_CLASS = 3


@dataclass(frozen=True)
class CanonicalOrder:
    """Where the rows and columns of a table stand in its canonical order.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,)
        Every prefix is a random sample without replacement, stratified by class.
    numeric, categorical : ndarray of shape (n_numeric,), (n_categorical,)
    target : Target
        Of the table's rows (not ordered), classes numbered by falling size.
    n_distinct : int
        Number of distinct rows, the target included.
    """

    rows: Rows
    numeric: Rows
    categorical: Rows
    target: Target
    n_distinct: int


def canonical_order(table: Table, target: Target, seed: int) -> CanonicalOrder:
    """Order a table by content; ``seed`` picks which rows come first."""
    blocks = [_hash_numbers(table.numeric), _hash_categories(table)]
    row_keys, column_keys, class_keys = _refine(blocks, target)
    if target.is_classification:
        sizes = np.bincount(target.values)
        rank = np.empty(len(sizes), np.int64)
        rank[np.lexsort((class_keys, -sizes))] = np.arange(len(sizes))
        target = Target(target.task, rank[target.values])
    rows, n_distinct = _stratified(row_keys, target, seed)
    return CanonicalOrder(
        rows,
        np.argsort(column_keys[0], kind="stable"),
        np.argsort(column_keys[1], kind="stable"),
        target,
        n_distinct,
    )


def mix(keys: Keys) -> Keys:
    """Scramble each key (the finaliser of SplitMix64, Steele et al. 2014); 0 stays 0."""
    mixed = keys ^ (keys >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _hash_numbers(numeric: NDArray[np.float64] | sparse.csc_array) -> Cells:
    """Hash each number; zero hashes to 0, so that a sparse and a dense table agree."""
    if not isinstance(numeric, np.ndarray):
        keys = mix(_bits(numeric.data))
        return sparse.csc_array((keys, numeric.indices, numeric.indptr), shape=numeric.shape)
    cells = np.empty(numeric.shape, np.uint64, order="F")
    for block in column_blocks(numeric.shape):
        cells[:, block] = mix(_bits(numeric[:, block]))
    return cells


def _bits(values: NDArray[np.float64]) -> Keys:
    bits = (values + 0.0).view(np.uint64)  # + 0.0: the two zeros are one value
    bits[np.isnan(values)] = MISSING  # NaN has many bit patterns
    return bits


def _hash_categories(table: Table) -> Keys:
    cells = np.empty(table.codes.shape, np.uint64, order="F")
    for column, levels in enumerate(table.levels):
        cells[:, column] = np.append(levels, MISSING)[table.codes[:, column]]  # -1: the last
    return cells


def _refine(blocks: list[Cells], target: Target) -> tuple[Keys, list[Keys], Keys]:
    """Return the keys of the rows, of the columns of each block, and of the classes."""
    if target.is_classification:
        class_keys = mix(np.bincount(target.values).astype(np.uint64))
        row_keys = target_keys = class_keys[target.values]
    else:
        class_keys = np.empty(0, np.uint64)
        row_keys = target_keys = mix(_bits(target.values))
    marks = [np.zeros(cells.shape[1], np.uint64) for cells in blocks]
    splits = 0
    for round_ in range(MAX_ROUNDS):
        column_keys = [
            mix(_column_sums(cells, row_keys) + mark)
            for cells, mark in zip(blocks, marks, strict=True)
        ]
        row_keys = mix(target_keys + _row_sums(blocks, column_keys))
        if target.is_classification:
            class_keys = _class_keys(row_keys, target)
            target_keys = class_keys[target.values]
        keys = [*column_keys, class_keys]
        previous, splits = splits, sum(len(np.unique(part)) for part in keys)
        if splits == sum(map(len, keys)):
            break
        if splits == previous and not _mark(blocks, column_keys, marks, np.uint64(round_)):
            break
    return row_keys, column_keys, class_keys


def _mark(
    blocks: list[Cells], column_keys: list[Keys], marks: list[Keys], mark: np.uint64
) -> bool:
    """Mark one of the columns that tie, and its copies; False if all that tie are copies."""
    for cells, keys, block_marks in zip(blocks, column_keys, marks, strict=True):
        # Cells weighted by the position of their row: equal for copies only.
        content = _column_sums(cells, np.arange(cells.shape[0], dtype=np.uint64))
        order = np.lexsort((content, keys))
        tie = (np.diff(keys[order]) == 0) & (np.diff(content[order]) != 0)
        if tie.any():
            one = order[np.argmax(tie)]
            block_marks[(keys == keys[one]) & (content == content[one])] = mark
            return True
    return False


def _column_sums(cells: Cells, row_keys: Keys) -> Keys:
    weights = mix(row_keys) | np.uint64(1)  # odd: multiplication loses nothing
    return np.asarray(cells.T @ weights)


def _row_sums(blocks: list[Cells], column_keys: list[Keys]) -> Keys:
    sums = np.zeros(blocks[0].shape[0], np.uint64)
    for cells, keys in zip(blocks, column_keys, strict=True):
        weights = mix(keys) | np.uint64(1)
        if isinstance(cells, np.ndarray):
            for block in column_blocks(cells.shape):
                sums += cells[:, block] @ weights[block]
        else:
            sums += cells @ weights
    return sums


def _class_keys(row_keys: Keys, target: Target) -> Keys:
    sums = np.zeros(target.n_classes, np.uint64)
    np.add.at(sums, target.values, mix(row_keys))
    return mix(sums)


def _stratified(row_keys: Keys, target: Target, seed: int) -> tuple[Rows, int]:
    """Return the rows so ordered that every prefix is a stratified sample; and the distinct rows.

    Equal rows are told apart by their number of occurrence, or a prefix would hold all copies of a
    row or none of them.
    """
    classes = target.values if target.is_classification else np.zeros(len(row_keys), np.int64)
    order, _ = _ranks(row_keys, classes)
    starts = np.append(True, np.diff(row_keys[order]) != 0) | (
        np.diff(classes[order], prepend=-1) != 0
    )
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    occurrence = np.empty(len(order), np.uint64)
    occurrence[order] = np.arange(len(order)) - first
    salt = mix(np.array([(seed + 1) % 2**64], np.uint64))
    keys = mix(row_keys + mix(occurrence + salt))
    _, rank = _ranks(keys, classes)
    sizes = np.bincount(classes)
    due = np.where(rank < MIN_ROWS_PER_CLASS, 0.0, (rank + 0.5) / sizes[classes])
    return np.lexsort((classes, keys, due)), int(starts.sum())


def _ranks(keys: Keys, classes: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Return the order by (class, key), and each row's rank by key within its class."""
    order = np.lexsort((keys, classes))
    sizes = np.bincount(classes)
    first = np.cumsum(sizes) - sizes
    rank = np.empty(len(keys), np.intp)
    rank[order] = np.arange(len(keys)) - first[classes[order]]
    return order, rank
