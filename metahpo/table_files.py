"""Tables in files: CSV, Parquet and ARFF, read into DataFrames."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metahpo.source import literal

_HEAD = 1 << 16  # bytes of a text file that its encoding and its delimiter are read off
_DELIMITERS = ",;\t|"
_MISSING = ["?"]  # UCI's and Weka's sign, beside those that pandas knows
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True, eq=False)
class FileTable:
    """A table as its file holds it.

    Attributes
    ----------
    frame : DataFrame
        At least one row; the columns' names are unique strings.
    code : tuple of str
        Lines of Python that read the file in the same way into a variable ``data``.
    notes : tuple of str
        What a person should know about how it was read.
    as_text : callable, optional
        Returns a column as it is written, words for missing values included; of a text file.
    """

    frame: pd.DataFrame
    code: tuple[str, ...]
    notes: tuple[str, ...] = ()
    as_text: Callable[[str], pd.Series[Any]] | None = None


def read_file(path: str | Path) -> FileTable:
    """Read a table from a file.

    Parameters
    ----------
    path : str or Path
        A CSV file (.csv, .tsv, .txt, .data; comma, semicolon, tab or bar between the fields, names
        in the first line), a Parquet file (.parquet, .pq) or an ARFF file (.arff).

    Raises
    ------
    ValueError
        If there is no such file, or it is not what its ending says, or it is empty, or two of
        its columns have the same name.
    OSError
        If it may not be read.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a CSV, Parquet or ARFF file")
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} has an unknown ending; known are {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    table = reader(path)
    if not len(table.frame):
        raise ValueError(f"{path} has no rows")
    return table


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            first = names.index(name)
            raise ValueError(
                f"{path} has two columns named {name!r} (number {first + 1} and number "
                f"{position + 1}); rename one"
            )


# ---------------------------------------------------------------------- CSV


def _read_csv(path: Path) -> FileTable:
    encoding = _encoding(path)
    delimiter, names = _header(path, encoding)
    _refuse_repeated(path, [name for name in names if name])  # pandas numbers the nameless
    notes = [] if encoding == "utf-8-sig" else [f"it is not UTF-8; read as {encoding}"]
    options: dict[str, Any] = {"sep": delimiter, "encoding": encoding, "na_values": _MISSING}
    try:
        frame = _parse_csv(path, options)
        if delimiter == ";" and _has_decimal_commas(frame):
            options["decimal"] = ","
            frame = _parse_csv(path, options)
            notes.append("numbers with a decimal comma were read as numbers")
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise ValueError(f"{path} is not a proper CSV file: {reason}") from error
    if not frame.index.equals(pd.RangeIndex(len(frame))):  # pandas takes the first for an index
        raise ValueError(f"{path} has rows with more fields than the first line has names")
    plain = {"sep": ",", "encoding": "utf-8-sig"}
    told = {name: value for name, value in options.items() if plain.get(name) != value}
    arguments = "".join(f", {name}={literal(value)}" for name, value in told.items())
    code = ("import pandas as pd", f"data = pd.read_csv({literal(str(path))}{arguments})")
    del options["na_values"]

    def as_text(name: str) -> pd.Series[Any]:
        plain = {**options, "dtype": str, "keep_default_na": False, "usecols": [name]}
        return _parse_csv(path, plain)[name]

    return FileTable(frame, code, tuple(notes), as_text)


def _parse_csv(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    # low_memory lets a column's type depend on where the chunks end
    frame: pd.DataFrame = pd.read_csv(path, low_memory=False, **options)
    return frame


def _encoding(path: Path) -> str:
    """Tell UTF-8, with or without a byte-order mark, from Windows' western European code page.

    UTF-16, which Excel calls "Unicode text", begins with a mark of its own.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if b"\0" in head:
            raise ValueError(f"{path} is not a text file")
    try:
        with path.open(encoding="utf-8") as text:
            while text.read(_HEAD):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _header(path: Path, encoding: str) -> tuple[str, list[str]]:
    """Find the delimiter and the names between it in the first line.

    Of the signs that divide the first line, it is the one by which the most of the following
    lines have as many fields; of equals, the one by which they have more.
    """
    with path.open(encoding=encoding, newline="") as file:
        head = file.readline() + file.read(_HEAD)  # of a wide table, the names may be longer
        lines = head.splitlines(keepends=True)[: -1 if file.read(1) else None]
    if not head.strip():
        raise ValueError(f"{path} is empty")
    names, merits = {}, {}
    for sign in _DELIMITERS:
        rows = [row for row in csv.reader(lines, delimiter=sign) if row]
        alike = sum(len(row) == len(rows[0]) for row in rows)
        names[sign], merits[sign] = rows[0], (len(rows[0]) > 1, alike, len(rows[0]))
    best = max(_DELIMITERS, key=lambda sign: merits[sign])
    if len(names[best]) == 1:
        raise ValueError(
            f"{path} has a single column, {names[best][0]!r}; fields are to be separated by "
            "comma, semicolon, tab or bar"
        )
    return best, names[best]


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    for _, column in frame.select_dtypes(["object", "string"]).items():
        values = column.dropna().astype(str).head(1000)
        commas = values.map(lambda value: bool(_DECIMAL_COMMA.fullmatch(value)))
        whole = values.map(lambda value: bool(_WHOLE.fullmatch(value)))
        if commas.any() and (commas | whole).all():
            return True
    return False


# ---------------------------------------------------------------------- Parquet and ARFF


def _read_parquet(path: Path) -> FileTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _refuse_repeated(path, pq.read_schema(path).names)
        frame = pd.read_parquet(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is not a readable Parquet file: {_one_line(error)}") from error
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    code = ("import pandas as pd", f"data = pd.read_parquet({literal(str(path))})")
    return FileTable(frame.reset_index(drop=True), code)


def _read_arff(path: Path) -> FileTable:
    import arff

    try:
        with path.open(encoding="utf-8") as file:
            content = arff.load(file)
    except (arff.ArffException, ValueError) as error:  # its parser lets some of Python's through
        raise ValueError(f"{path} is not a readable ARFF file: {_one_line(error)}") from error
    frame = pd.DataFrame(content["data"], columns=[name for name, _ in content["attributes"]])
    code = (
        "import arff  # from the package liac-arff",
        "import pandas as pd",
        f'with open({literal(str(path))}, encoding="utf-8") as file:',
        "    content = arff.load(file)",
        'data = pd.DataFrame(content["data"], columns=[a[0] for a in content["attributes"]])',
    )
    return FileTable(frame, code)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_READERS: dict[str, Callable[[Path], FileTable]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".data": _read_csv,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arff": _read_arff,
}
