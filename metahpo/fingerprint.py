"""Recognise a dataset by its content, whatever it is called and however it is laid out.

A model that is tested on data it was trained on looks better than it is, and public datasets
travel under many names, as subsets of one another, with columns and classes renamed. A fingerprint
answers two questions without the data at hand: is it the same table, and do the rows of one stand
in the other.

A cell is reduced to a text first: a number (also one that is stored as text or a category) to six
significant digits of its single-precision value, missing to nothing, anything else to itself. A
row is the multiset of its cells, so that the order of the columns does not matter. The price: rows
of few columns with few values (seven yes/no questions) look alike in unrelated tables.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from metahpo.metafeatures.canonical import mix
from metahpo.metafeatures.column import as_labels, read_numbers
from metahpo.metafeatures.table import align
from metahpo.metafeatures.target import Target, prepare_target

# Two sketches of 512 put a standard error of 5 points or less on the overlap of a table of 5,000
# rows with a subset of 1,000; a sketch is 2.7 kB of JSON.
SKETCH_SIZE = 512

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Fingerprint:
    """What remains of a table to recognise it by.

    Parameters
    ----------
    digest : str
        SHA-256 of the whole content, target included. Equal for equal tables, whatever the order
        of rows and columns, the names of columns and classes, and the width of the dtypes.
    n_rows, n_columns, n_distinct : int
        Rows, feature columns, and distinct rows by feature values.
    sketch : tuple of int
        The 512 smallest 32-bit hashes of distinct rows by feature values, ascending; all of them
        if the table has no more.
    """

    digest: str
    n_rows: int
    n_columns: int
    n_distinct: int
    sketch: tuple[int, ...]

    def overlap(self, other: Fingerprint) -> float:
        """Estimate the share of the smaller table's distinct rows that stand in the other too.

        Below the largest hash that both sketches reach, each holds every row of its table; there
        rows are counted (bottom-k sketches, Cohen & Kaplan 2007).

        Returns
        -------
        float
            0 to 1; 0 where the numbers of columns differ; NaN where the smaller table has no row
            in the common range (it is smaller than the other by a factor of hundreds).
        """
        if self.n_columns != other.n_columns:
            return 0.0
        reach = min(self._reach(), other._reach())
        small, large = sorted((self, other), key=lambda table: table.n_distinct)
        rows = {row for row in small.sketch if row <= reach}
        return len(rows.intersection(large.sketch)) / len(rows) if rows else float("nan")

    def _reach(self) -> float:
        return float("inf") if self.n_distinct <= SKETCH_SIZE else self.sketch[-1]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; the sketch as base64 of little-endian 32-bit integers."""
        sketch = base64.b64encode(np.array(self.sketch, dtype="<u4").tobytes()).decode("ascii")
        return {
            "digest": self.digest,
            "rows": self.n_rows,
            "columns": self.n_columns,
            "distinct": self.n_distinct,
            "sketch": sketch,
        }

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> Fingerprint:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If a field is missing or the sketch is damaged.
        """
        try:
            sketch = np.frombuffer(base64.b64decode(obj["sketch"], validate=True), dtype="<u4")
            return cls(
                str(obj["digest"]),
                int(obj["rows"]),
                int(obj["columns"]),
                int(obj["distinct"]),
                tuple(sketch.tolist()),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a fingerprint: {error!r}") from error


def fingerprint(X: Any, y: Any) -> Fingerprint:
    """Take the fingerprint of a supervised dataset.

    Parameters
    ----------
    X : DataFrame, ndarray or scipy sparse matrix of shape (n_rows, n_columns)
    y : array-like of shape (n_rows,)
        Rows without a target are left out.

    Returns
    -------
    Fingerprint

    Raises
    ------
    ValueError
        If ``X`` is no table or does not match ``y``, or ``y`` cannot be a target.
    """
    target, present = prepare_target(y)
    with np.errstate(over="ignore"):  # what exceeds single precision is infinite there
        cells = _hash_cells(_as_frame(align(X, present)))  # (n_rows, n_columns)
        rows = mix(cells.sum(axis=1, dtype=np.uint64))
        labelled = mix(rows + _hash_target(target, rows))
    columns = mix(mix(cells).sum(axis=0, dtype=np.uint64))
    content = hashlib.sha256(str(cells.shape).encode())
    for keys in (columns, labelled):
        content.update(np.sort(keys).astype("<u8").tobytes())
    distinct = np.unique(rows >> np.uint64(32))
    n_rows, n_columns = cells.shape
    sketch = tuple(distinct[:SKETCH_SIZE].tolist())
    return Fingerprint(content.hexdigest(), n_rows, n_columns, len(distinct), sketch)


def _as_frame(X: Any) -> pd.DataFrame:
    is_sparse: bool = sparse.issparse(X)
    if is_sparse:
        X = X.toarray()
    return X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)


def _hash_cells(X: pd.DataFrame) -> Keys:
    cells = np.empty(X.shape, np.uint64, order="F")
    for position in range(X.shape[1]):
        column = X.iloc[:, position]
        numbers = read_numbers(column)
        values = as_labels(column) if numbers is None else pd.Series(numbers)
        codes, levels = pd.factorize(values)
        keys = _hash_texts([*map(_canonical_text, levels.tolist()), ""])
        cells[:, position] = keys[codes]  # -1, missing, is the last: the empty text
    return cells


def _canonical_text(value: object) -> str:
    try:
        number = float(np.float32(value)) + 0.0  # type: ignore[arg-type]  # + 0.0: -0 becomes 0
    except (TypeError, ValueError):
        return str(value)
    return f"{number:.5e}"


def _hash_texts(texts: list[str]) -> Keys:
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _hash_target(target: Target, rows: Keys) -> Keys:
    """Return a key for each row's target; a class is known by its rows, a number by its text."""
    if target.is_classification:
        sums = np.zeros(target.n_classes, np.uint64)
        np.add.at(sums, target.values, mix(rows))
        class_keys = mix(sums)
        return np.asarray(class_keys[target.values])
    return _hash_texts([_canonical_text(value) for value in target.values.tolist()])
