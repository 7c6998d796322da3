"""Results on disk: NAME.json with every number, NAME.md to read, NAME.png to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from metahpo.files import replace_file


def write_page(folder: Path, name: str, page: str) -> None:
    """Write NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / f"{name}.md") as temporary:
        temporary.write_text(page)


def write_numbers(folder: Path, name: str, facts: Mapping[str, Any], rows: pd.DataFrame) -> None:
    """Write NAME.json: the facts, then ``columns`` and ``rows`` of a table, one row a line.

    Numbers have six significant digits; what is none, or not finite, is null.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = rows.astype(object).to_numpy().tolist()
    lines = ",\n".join(json.dumps([_plain(cell) for cell in row]) for row in cells)
    head = json.dumps({**facts, "columns": list(rows.columns)}, indent=1).removesuffix("\n}")
    with replace_file(folder / f"{name}.json") as temporary:
        temporary.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n')


def _plain(cell: Any) -> Any:
    if not isinstance(cell, float):
        return cell
    return float(f"{cell:.6g}") if isfinite(cell) else None


def read_numbers(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read what :func:`write_numbers` wrote: the facts, and the table."""
    facts = json.loads(path.read_text())
    rows, columns = facts.pop("rows"), facts.pop("columns")
    return facts, pd.DataFrame(rows, columns=columns)
