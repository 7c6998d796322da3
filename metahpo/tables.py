"""A user's table: what to predict from, what to predict, and what had to be done to either."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.metafeatures import infer_task
from metahpo.metafeatures.column import DATE_KINDS, as_labels, kind_of, read_numbers
from metahpo.metafeatures.target import prepare_target
from metahpo.source import literal
from metahpo.table_files import FileTable, read_file

if TYPE_CHECKING:
    Column = pd.Series[Any]

TaskKind = Literal["classification", "regression"]
ColumnKind = Literal["number", "category", "text", "date"]

_CATEGORY_LEVELS = 40  # strings with more distinct values are text to skrub's TableVectorizer
_ODD = ("mixed", "mixed-integer", "bytes")  # pandas' words for what is best read as text
_NAMED = 5  # columns that a note names before it only counts


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """A table with a target, checked and cleaned.

    Attributes
    ----------
    name : str
        The file's name.
    X : DataFrame
        The columns to predict from: no empty, no constant one; dates as dates.
    y : Series
        The target, nowhere missing.
    task : {"classification", "regression"}
    target : str
        The target's name.
    dropped : tuple of str
        The other columns of the file.
    code : tuple of str
        Lines of Python that read the same file into the same ``X`` and ``y``.
    kinds : dict of str to str
        What each column of `X` is read as: "number", "category", "text" or "date".
    written : dict of str to str
        The format in which dates stand in the file, as of :func:`time.strftime`, by column; none
        for a file that holds dates as such.
    notes : tuple of str
        What was guessed, dropped and converted, in words.
    """

    name: str
    X: pd.DataFrame
    y: Column
    task: TaskKind
    target: str
    dropped: tuple[str, ...]
    code: tuple[str, ...]
    kinds: dict[str, ColumnKind]
    written: dict[str, str]
    notes: tuple[str, ...]


def read_table(
    path: str | Path, target: str, task: Literal["auto", "classification", "regression"] = "auto"
) -> LabelledTable:
    """Read a user's file into a table to learn from.

    Parameters
    ----------
    path : str or Path
        A CSV, Parquet or ARFF file; see :func:`metahpo.table_files.read_file`.
    target : str
        Name of the column to predict.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" guesses from the target's values.

    Raises
    ------
    ValueError
        If the file cannot be used, or the target is not a column, or there is nothing to learn;
        the message names the file or the column, and the reason.
    OSError
        If the file may not be read.
    """
    file = read_file(path)
    X, y = _split(file.frame, target)
    n_rows = len(y)
    X, y, rows = _with_target(X, y)
    n_missing = n_rows - len(rows)
    _refuse_infinite(target, y, rows)
    kind, guess = _task_of(y, task)
    X, kinds, written, changes = _usable(X, rows)
    dropped = tuple(str(name) for name in file.frame if name not in X and name != target)
    missing = f"{_count(n_missing, 'row')} without a value of {target!r} dropped"
    if n_missing and (words := _words_for_none(file, target)):
        missing += f"; {words} was taken for none"
    notes = (*file.notes, guess, missing if n_missing else "", *changes)
    return LabelledTable(
        name=Path(path).name,
        X=X,
        y=y,
        task=kind,
        target=target,
        dropped=dropped,
        code=(
            *file.code,
            *([f"data = data.dropna(subset=[{literal(target)}])"] if n_missing else []),
            f"X = data.drop(columns={literal([target, *dropped])})",
            f"y = data[{literal(target)}]",
        ),
        kinds=kinds,
        written=written,
        notes=tuple(filter(None, notes)),
    )


# ---------------------------------------------------------------------- target


def _split(frame: pd.DataFrame, target: str) -> tuple[pd.DataFrame, Column]:
    if target not in frame:
        names = [str(name) for name in frame.columns]
        lower = {name.lower(): name for name in names}
        close = difflib.get_close_matches(target.lower(), lower, n=1, cutoff=0.5)
        known = ", ".join(map(repr, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
        hint = f"did you mean {lower[close[0]]!r}?" if close else f"the columns are {known}"
        raise ValueError(f"there is no column {target!r}; {hint}")
    return frame.drop(columns=target), frame[target]


def _with_target(X: pd.DataFrame, y: Column) -> tuple[pd.DataFrame, Column, NDArray[np.intp]]:
    """Keep the rows that have a target, and tell where in the file they stand."""
    present = y.notna()
    if not present.any():
        raise ValueError(f"the target {y.name!r} has no value in any row")
    X, y = X[present].reset_index(drop=True), y[present].reset_index(drop=True)
    return X, _plain_target(y), np.flatnonzero(present)


def _words_for_none(file: FileTable, target: str) -> str:
    """Name what is written where a target is missing: of "NA" or "None", it may be a class."""
    if file.as_text is None:
        return ""
    written = file.as_text(target)[file.frame[target].isna()].str.strip()
    return " or ".join(map(repr, written[~written.isin(["", "?"])].unique()[:_NAMED].tolist()))


def _plain_target(y: Column) -> Column:
    """Give values of mixed types their text, and any others numpy's types."""
    if kind_of(y) in _ODD:
        return as_labels(y)
    return pd.Series(y.tolist(), index=y.index, name=y.name)


def _task_of(y: Column, task: str) -> tuple[TaskKind, str]:
    """Check the target, judge what it asks for, and say so."""
    if len(y) < 2:
        raise ValueError("there is only 1 row with a target; nothing can be learned from it")
    distinct = int(y.nunique())
    if distinct < 2:
        value = y.tolist()[0]  # as Python's, which prints without numpy's names of types
        raise ValueError(
            f"the target {y.name!r} is {value!r} in every row; there is nothing to predict"
        )
    kind = infer_task(y) if task == "auto" else task
    checked = prepare_target(y, kind)[0].task  # says what does not fit
    what = f"{y.name!r} has {distinct:,} distinct values in {len(y):,} rows"
    guess = f"guessed {checked}, since {what}; --task says otherwise" if task == "auto" else ""
    return checked, guess


# ---------------------------------------------------------------------- columns


def _usable(
    X: pd.DataFrame, rows: NDArray[np.intp]
) -> tuple[pd.DataFrame, dict[str, ColumnKind], dict[str, str], list[str]]:
    """Convert dates, drop what holds no information, and say both."""
    empty: list[str] = []
    constant: list[str] = []
    counting: list[str] = []
    converted: dict[str, Column] = {}
    written: dict[str, str] = {}
    for position, name in enumerate(X.columns):
        column, form = _plain(X[name])
        _refuse_infinite(name, column, rows)
        if position == 0 and name.startswith("Unnamed:") and _rises(column):
            counting.append(name)  # an index that was saved; it leaks how the file was sorted
        elif column.isna().all():
            empty.append(name)
        elif column.notna().all() and column.nunique() == 1:
            constant.append(name)
        else:
            converted[name] = column
            if form:
                written[name] = form
    if not converted:
        raise ValueError("no column is left to predict from: all others are empty or constant")
    kinds = {name: _kind(column) for name, column in converted.items()}
    notes = [
        _naming("dropped, since it only numbers the rows: ", counting),
        _naming(
            "rises from row to row; drop it from the file if it only numbers them: ",
            [name for name, column in converted.items() if _rises(column)],
        ),
        _naming("dropped, without any value: ", empty),
        _naming("dropped, the same in every row: ", constant),
        _naming(
            "read as dates (their parts become features): ",
            [name for name in kinds if kinds[name] == "date"],
        ),
        _naming(
            f"read as text (more than {_CATEGORY_LEVELS} distinct values, encoded by skrub): ",
            [
                f"{name} ({column.nunique():,})"
                for name, column in converted.items()
                if kinds[name] == "text"
            ],
        ),
    ]
    return pd.DataFrame(converted, index=X.index), kinds, written, list(filter(None, notes))


def _plain(column: Column) -> tuple[Column, str]:
    """Turn written dates into dates and what is neither number, text nor date into text.

    Returns
    -------
    column : Series
    written : str
        The dates' format; "" if there was none.
    """
    if _is_text(column):
        return _as_dates(column) or (column, "")
    return as_labels(column) if kind_of(column) in _ODD else column, ""


def _rises(column: Column) -> bool:
    """Whether a column holds whole numbers that rise from row to row."""
    whole = pd.api.types.is_integer_dtype(column.dtype)
    return bool(whole and (column.diff().dropna() > 0).all())


def _is_text(column: Column) -> bool:
    return kind_of(column) == "string" and not isinstance(column.dtype, pd.CategoricalDtype)


def _as_dates(column: Column) -> tuple[Column, str] | None:
    """Parse a column of which every value is a date in one format; None for any other."""
    from pandas.tseries.api import guess_datetime_format

    first = column.dropna().iloc[0]
    for dayfirst in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a format was guessed: it is tested
            written = guess_datetime_format(str(first), dayfirst=dayfirst)
        if written is None:
            return None
        dates = pd.to_datetime(column, format=written, errors="coerce", utc="%z" in written)
        if dates.notna().sum() == column.notna().sum():
            return dates, written
    return None


def _refuse_infinite(name: str, column: Column, rows: NDArray[np.intp]) -> None:
    """Name the first infinite value by its row in the file, of which `rows` are left."""
    if pd.api.types.is_float_dtype(column.dtype):
        infinite = np.isinf(column.to_numpy(dtype=float, na_value=np.nan))
        if infinite.any():
            raise ValueError(
                f"column {name!r} has {_count(int(infinite.sum()), 'infinite value')} (first in "
                f"row {rows[infinite.argmax()] + 1}); make them finite or leave them empty"
            )


def _kind(column: Column) -> ColumnKind:
    if kind_of(column) in DATE_KINDS:
        return "date"
    if read_numbers(column) is not None:
        return "number"
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    return "category" if categorical or column.nunique() <= _CATEGORY_LEVELS else "text"


# ---------------------------------------------------------------------- words


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _naming(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return what + ", ".join(map(str, names[:_NAMED])) + more
