from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from metahpo.tables import LabelledTable, read_table

N = 60


def mixed() -> pd.DataFrame:
    """A table of every kind of column that a CSV file can hold, and some that are useless."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, N) + 0.5,
            "city": rng.choice(["Rome", "Oslo", "Lima"], N),
            "review": [f"order {i} was {rng.choice(['fine', 'late'])}" for i in range(N)],
            "since": pd.date_range("2020-01-01", periods=N).strftime("%d/%m/%Y"),
            "member": rng.choice([True, False], N),
            "version": 3,
            "comment": np.nan,
            "left": rng.choice(["no", "yes"], N),
        }
    )
    frame.loc[3:6, "age"] = np.nan
    frame.loc[[1, 7], "city"] = None
    frame.loc[[2, 9], "since"] = None
    frame.loc[[11, 12, 13], "left"] = None
    return frame


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "table.csv"
    mixed().to_csv(file, index=False)
    return file


# ---------------------------------------------------------------------- formats


def to_arff(frame: pd.DataFrame, path: Path) -> None:
    lines = ["@relation table"]
    for name in frame:
        column = frame[name].dropna()
        numeric = pd.api.types.is_numeric_dtype(column) and column.dtype != bool
        levels = ",".join(f"'{level}'" for level in sorted(map(str, column.unique())))
        lines.append(f"@attribute {name} {'numeric' if numeric else '{' + levels + '}'}")
    lines.append("@data")
    for row in frame.itertuples(index=False):
        cells = ("?" if pd.isna(v) else f"'{v}'" if not np.isreal(v) else str(v) for v in row)
        lines.append(",".join(cells))
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t;.csv", "t|.txt", "t.parquet", "t.arff"])
def test_the_same_table_comes_of_every_format(name: str, tmp_path: Path) -> None:
    frame = mixed()[["age", "city", "left"]]
    path = tmp_path / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".arff":
        to_arff(frame, path)
    else:
        separator = {"t.tsv": "\t", "t;.csv": ";", "t|.txt": "|"}.get(name, ",")
        frame.to_csv(path, index=False, sep=separator)
    table = read_table(path, "left")
    known = frame.dropna(subset=["left"]).reset_index(drop=True)
    assert_series_equal(table.X["age"], known["age"])
    assert table.X["city"].astype(object).where(table.X["city"].notna(), None).tolist() == [
        None if pd.isna(city) else city for city in known["city"]
    ]
    assert table.y.astype(str).tolist() == known["left"].tolist()
    assert table.kinds == {"age": "number", "city": "category"}
    assert table.name == name


def test_decimal_commas_are_numbers_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    mixed().to_csv(path, index=False, sep=";", decimal=",")
    table = read_table(path, "left")
    assert table.X["age"].sum() == mixed().dropna(subset=["left"])["age"].sum()
    assert "numbers with a decimal comma were read as numbers" in table.notes


def test_a_list_in_a_field_is_not_a_decimal_comma(tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("a;tags;y\n" + "".join(f"{i};1,2,{i};{i % 2}\n" for i in range(20)))
    assert read_table(path, "y").kinds == {"a": "number", "tags": "category"}


def test_windows_text_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    rows = "".join(f"{i},{'Köln' if i % 3 else 'Genève'},{i % 2}\n" for i in range(20))
    path.write_text(f"größe,city,y\n{rows}", encoding="cp1252")
    table = read_table(path, "y")
    assert list(table.X) == ["größe", "city"]
    assert set(table.X["city"]) == {"Köln", "Genève"}
    assert "it is not UTF-8; read as cp1252" in table.notes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_unicode_text_of_excel_is_read_and_that_is_said(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "excel.txt"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    rows = "".join(f"{i}\t{'Köln' if i % 3 else 'Genève'}\t{i % 2}\n" for i in range(20))
    path.write_text(f"{mark}größe\tcity\ty\n{rows}", encoding=encoding)
    table = read_table(path, "y")
    assert list(table.X) == ["größe", "city"]
    assert set(table.X["city"]) == {"Köln", "Genève"}
    assert "it is not UTF-8; read as utf-16" in table.notes
    told: dict[str, Any] = {}
    exec("\n".join(table.code), told)
    assert_frame_equal(told["X"], table.X)


def test_a_line_of_names_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    wide = pd.DataFrame(np.arange(30_000).reshape(3, -1)).add_prefix("column ")
    wide.assign(y=[0, 1, 0]).to_csv(path, index=False, sep=";")
    assert read_table(path, "y").X.shape == (3, 10_000)


def test_a_byte_order_mark_belongs_to_no_name(tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)), encoding="utf-8-sig")
    assert list(read_table(path, "y").X) == ["a"]


def test_a_question_mark_is_a_missing_value(tmp_path: Path) -> None:
    path = tmp_path / "uci.csv"
    path.write_text("a,y\n" + "".join(f"{'?' if i == 3 else i},{i % 2}\n" for i in range(20)))
    column = read_table(path, "y").X["a"]
    assert column.isna().tolist() == [i == 3 for i in range(20)]
    assert column.dtype == float


names = st.text(string.ascii_letters + string.digits + " ,;\t|\"'é_", min_size=1, max_size=8)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    columns=st.lists(names.map(lambda name: f"c{name}"), min_size=2, max_size=5, unique=True),
    numbers=st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=6, unique=True),
    separator=st.sampled_from(",;\t|"),
)
def test_names_and_numbers_survive_a_csv_file(
    columns: list[str], numbers: list[float], separator: str, tmp_path: Path
) -> None:
    """Delimiters and quotes in names do not mislead the search for the delimiter."""
    path = tmp_path / "any.csv"
    frame = pd.DataFrame({name: np.roll(numbers, i) for i, name in enumerate(columns)})
    frame.to_csv(path, index=False, sep=separator)
    table = read_table(path, columns[-1], "regression")
    assert_frame_equal(table.X, frame[columns[:-1]].astype(table.X.dtypes), rtol=1e-15)
    assert table.y.tolist() == pytest.approx(frame[columns[-1]].tolist(), rel=1e-15)


# ---------------------------------------------------------------------- what is said


def test_a_class_that_was_taken_for_a_missing_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    regions = ("EU", "NA", "", "AS")
    path.write_text("a,y\n" + "".join(f"{i % 7},{regions[i % 4]}\n" for i in range(20)))
    notes = read_table(path, "y").notes
    assert "10 rows without a value of 'y' dropped; 'NA' was taken for none" in notes


def test_a_column_that_may_number_the_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "numbered.csv"
    rows = pd.DataFrame(
        {"a": np.arange(20) % 7, "id": np.arange(20) * 2, "y": np.arange(20) // 10}
    )
    rows.to_csv(path, index=False)
    table = read_table(path, "y")
    assert list(table.X) == ["a", "id"]
    assert (
        "rises from row to row; drop it from the file if it only numbers them: id" in table.notes
    )


def test_what_was_dropped_converted_and_guessed_is_said(path: Path) -> None:
    table = read_table(path, "left")
    assert table.kinds == {
        "age": "number",
        "city": "category",
        "review": "text",
        "since": "date",
        "member": "category",
    }
    assert list(table.X) == list(table.kinds)
    assert table.dropped == ("version", "comment")
    assert len(table.X) == len(table.y) == N - 3
    assert table.notes == (
        "guessed classification, since 'left' has 2 distinct values in 57 rows; "
        "--task says otherwise",
        "3 rows without a value of 'left' dropped",
        "dropped, without any value: comment",
        "dropped, the same in every row: version",
        "read as dates (their parts become features): since",
        "read as text (more than 40 distinct values, encoded by skrub): review (57)",
    )


def test_dates_are_dates_with_the_day_where_it_must_be(path: Path) -> None:
    since = read_table(path, "left").X["since"]
    written = pd.to_datetime(mixed()["since"], format="%d/%m/%Y")
    expected = written[mixed()["left"].notna()].reset_index(drop=True)
    assert since.dropna().tolist() == expected.dropna().tolist()
    assert since.isna().tolist() == expected.isna().tolist()


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-02", "2020-01-03", "soon"],
        ["May", "June", "July"],
        ["12 kg", "13 kg", "14 kg"],
        ["1-2", "3-4", "5-6"],
    ],
)
def test_other_text_is_no_date(values: list[str], tmp_path: Path) -> None:
    path = tmp_path / "text.csv"
    pd.DataFrame({"a": values * 5, "y": [0, 1, 1] * 5}).to_csv(path, index=False)
    assert read_table(path, "y").kinds == {"a": "category"}


def test_a_saved_index_is_dropped_and_that_is_said(path: Path) -> None:
    mixed().to_csv(path)
    table = read_table(path, "left")
    assert "age" in table.X
    assert "Unnamed: 0" not in table.X
    assert "dropped, since it only numbers the rows: Unnamed: 0" in table.notes


def test_a_column_of_one_value_and_gaps_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    rows = "".join(f"{'yes' if i % 3 else ''},{i % 2}\n" for i in range(20))
    path.write_text(f"agreed,y\n{rows}")
    assert list(read_table(path, "y").X) == ["agreed"]


def test_the_code_reads_the_same_table(path: Path) -> None:
    table = read_table(path, "left")
    scope: dict[str, Any] = {}
    exec("\n".join(table.code), scope)
    same = scope["X"].reset_index(drop=True)
    same["since"] = pd.to_datetime(same["since"], format="%d/%m/%Y")
    assert_frame_equal(same, table.X)
    assert_series_equal(scope["y"].reset_index(drop=True), table.y)


@pytest.mark.parametrize("kind", ["parquet", "arff"])
def test_the_code_reads_other_formats(kind: str, tmp_path: Path) -> None:
    frame = mixed()[["age", "city", "left"]].dropna()
    path = tmp_path / f"table.{kind}"
    frame.to_parquet(path) if kind == "parquet" else to_arff(frame, path)
    table = read_table(path, "left")
    scope: dict[str, Any] = {}
    exec("\n".join(table.code), scope)
    assert scope["X"].reset_index(drop=True).equals(table.X)
    assert scope["y"].tolist() == table.y.tolist()


# ---------------------------------------------------------------------- the target


@pytest.mark.parametrize(
    ("values", "task", "kind"),
    [
        (pd.array([1, 2, None] * 10, dtype="Int64"), "classification", "i"),
        (pd.array([True, False, None] * 10, dtype="boolean"), "classification", "b"),
        (pd.array([1.5, 2.25, 3.125] * 10, dtype="Float64"), "regression", "f"),
        (pd.Categorical(["a", "b", None] * 10), "classification", "O"),
    ],
)
def test_the_target_has_a_type_that_estimators_take(
    values: Any, task: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "types.parquet"
    pd.DataFrame({"a": range(30), "y": values}).to_parquet(path)
    table = read_table(path, "y")
    assert table.task == task
    assert np.asarray(table.y).dtype.kind == kind
    assert table.y.notna().all()


def test_the_task_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "stars.csv"
    pd.DataFrame({"a": range(40, 0, -1), "stars": [1, 2, 3, 4] * 10}).to_csv(path, index=False)
    assert read_table(path, "stars").task == "classification"
    table = read_table(path, "stars", "regression")
    assert table.task == "regression"
    assert table.notes == ()


# ---------------------------------------------------------------------- bad input

BAD = {
    "nothing": ("", "table.csv is empty"),
    "blank lines": ("\n\n", "table.csv is empty"),
    "a header alone": ("a,b,y\n", "table.csv has no rows"),
    "one column": ("a b y\n1 2 3\n", "has a single column, 'a b y'"),
    "a ragged row": ("a,b,y\n1,2,3\n1,2,3,4,5\n", "Expected 3 fields in line 3, saw 5"),
    "rows too long": ("a,y\n1,2,0\n3,4,1\n", "more fields than the first line has names"),
    "no text": ("a\0b,y\n1,2\n", "is not a text file"),
    "names twice": ("a,b,a,y\n1,2,3,0\n", "two columns named 'a' .number 1 and number 3."),
    "the target's name twice": ("y,b,y\n1,2,3\n", "two columns named 'y'"),
    "no target": ("a,b,Target\n1,2,3\n", "no column 'y'; the columns are 'a', 'b', 'Target'"),
    "target misspelt": ("a,yy\n1,2\n", "no column 'y'; did you mean 'yy'?"),
    "target misspelt in case": ("a,Y\n1,2\n", "no column 'y'; did you mean 'Y'?"),
    "no target's value": ("a,y\n1,\n2,\n", "'y' has no value in any row"),
    "one row": ("a,y\n1,0\n", "only 1 row"),
    "one row with a target": ("a,y\n1,0\n2,\n", "only 1 row"),
    "one class": ("a,y\n1,k\n2,k\n", "'y' is 'k' in every row"),
    "one number": ("a,y\n1,0\n2,0\n", "'y' is 0 in every row"),
    "an infinite value": ("a,y\n1,0\ninf,1\n3,0\n", "'a' has 1 infinite value .first in row 2."),
    "infinite values after rows without a target": (
        "a,y\n1,0\n2,\n3,\ninf,1\n-inf,0\n",
        "'a' has 2 infinite values .first in row 4.",
    ),
    "an infinite target": (
        "a,y\n1,0.5\n2,\n2,inf\n3,1\n",
        "column 'y' has 1 infinite value .first in row 3.",
    ),
    "nothing to predict from": ("a,b,y\n1,,0\n1,,1\n", "no column is left to predict from"),
    "only the target": (";y\n;0\n;1\n", "no column is left to predict from"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_tables_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    text, message = BAD[what]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path, "y")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"nonsense", "is not a readable Parquet file"),
        ("t.arff", b"@relation\nnonsense", "is not a readable ARFF file"),
        ("t.xlsx", b"PK", "unknown ending; known are .csv, .tsv"),
    ],
)
def test_files_that_are_not_what_they_say(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(tmp_path / name, "y")
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*nope.csv"):
        read_table(tmp_path / "nope.csv", "y")
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path, "y")


def test_a_target_that_does_not_fit_the_task(path: Path) -> None:
    with pytest.raises(ValueError, match="'left' is not numeric"):
        read_table(path, "left", "regression")


def test_a_hundred_thousand_categories_are_text(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    n = 100_000
    pd.DataFrame({"id": [f"k{i}" for i in range(n)], "y": np.arange(n) % 2}).to_parquet(path)
    table: LabelledTable = read_table(path, "y")
    assert table.kinds == {"id": "text"}
    assert table.notes[-1].endswith("id (100,000)")
