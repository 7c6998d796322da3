"""What the evidence commands share: tasks held out, studies on them, and a page of findings.

Tables, folds and the libraries' defaults are those of ``tasks/histories.toml``; a command keeps to
the first fold, so that it trains one model a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metahpo.bench import provenance
from metahpo.bench.histories import HistoryContest, history_contests
from metahpo.bench.plan import load_plan
from metahpo.bench.report import words
from metahpo.bench.report.summary import to_markdown
from metahpo.bench.ring import Unit, play
from metahpo.fewshot.results import write_numbers, write_page

Array = NDArray[np.float64]

ALL = 10**9  # tasks of a table at most
_PLAN = Path(__file__).parents[1] / "tasks" / "histories.toml"


def command_line(doc: str) -> argparse.ArgumentParser:
    """Return a command line with what every command takes."""
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="folder for the findings, as .md and .json")
    return parser


def histories_command_line(doc: str, n_tasks: int) -> argparse.ArgumentParser:
    """Return a command line with what every command on histories takes."""
    parser = command_line(doc)
    parser.add_argument(
        "--table", nargs="+", default=["pimp_adaboost"], help="tables of the folder"
    )
    parser.add_argument("--histories", type=Path, help="their folder, unless ../shared has it")
    parser.add_argument("--tasks", type=int, default=n_tasks, help="tasks held out, a table")
    parser.add_argument("--jobs", type=int, default=1, help="studies at a time")
    return parser


def held_out(given: argparse.Namespace, table: str) -> list[HistoryContest]:
    """Return the tasks of a table's first fold on which is measured."""
    return contests(given, table, folds=(0,))[: given.tasks]


def contests(
    given: argparse.Namespace, table: str, folds: tuple[int, ...]
) -> list[HistoryContest]:
    """Return the tasks of some folds of a table, in the order in which they were dealt.

    A table or folder that is not there ends the command, with one line that says so.
    """
    changes: dict[str, Any] = {"tables": (table,), "folds": folds, "held_out": ALL}
    if given.histories is not None:
        changes["histories"] = str(given.histories.absolute())
    try:
        return history_contests(load_plan(_PLAN, changes), models=Path())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def played(unit: Unit) -> pd.DataFrame:
    """Play a unit to the end, as :func:`metahpo.bench.ring.play` does.

    Raises
    ------
    RuntimeError
        If the method crashed: evidence is not made of that.
    """
    rows = play(unit)
    crashed = rows.loc[rows["status"] == "crashed", "error"]
    if len(crashed):
        raise RuntimeError(f"{unit.entrant.name} on {unit.contest.task}: {crashed.iloc[0]}")
    return rows


def regret(rows: pd.DataFrame) -> Array:
    """Return the normalised regret of a unit after each trial: shape (trials,).

    (optimum - best so far) / (optimum - worst), so 1 as long as there is no score.
    """
    missed = rows["optimum"] - rows["best"].fillna(rows["worst"])
    width = rows["optimum"] - rows["worst"]
    return (missed / width.where(width != 0, 1.0)).to_numpy(dtype=float)


def begun(given: argparse.Namespace) -> dict[str, Any]:
    """Return what the findings will say about how they were made."""
    session = provenance.session(" ".join(["python", *sys.argv]), getattr(given, "jobs", 1))
    settings = {
        name: value for name, value in vars(given).items() if name not in ("out", "histories")
    }
    seeds = list(range(getattr(given, "seeds", 1)))
    return {"settings": settings, "seeds": seeds, "sessions": [session]}


def watched(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Collect lines, and show each on the error stream as it comes."""
    seen = []
    for row in rows:
        print("  ".join(f"{name} {_cell(value)}" for name, value in row.items()), file=sys.stderr)
        seen.append(row)
    return seen


def publish(
    name: str,
    doc: str,
    rows: Sequence[dict[str, Any]],
    facts: dict[str, Any],
    out: Path | None,
) -> None:
    """Print the findings as a table, and write NAME.md and NAME.json.

    Parameters
    ----------
    name : str
    doc : str
        The command's docstring: a title, what is measured, how it is called.
    rows : sequence of dict
        One a line of the table, by column; None and NaN leave a cell empty.
    facts : dict
        As :func:`begun` returned them.
    out : Path or None
        The folder; None to print only.
    """
    table = pd.DataFrame(rows)
    facts["sessions"][0]["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    cells = [[_cell(value) for value in row] for row in table.astype(object).to_numpy()]
    laid_out = to_markdown(([str(name) for name in table], cells))
    print(laid_out)
    if out is None:
        return
    title, *paragraphs = doc.strip().split("\n\n")
    said = [text for text in paragraphs if not text.startswith("    ")]
    made = [
        f"- {what}: {f'`{value}`' if what == 'command' else value}"
        for what, value in words.provenance([facts])
        if what != "time"  # it counts a benchmark's runs
    ]
    page = [f"# {title.rstrip('.')}", *said, laid_out, "\n".join(made)]
    write_page(out, name, "\n\n".join(page) + "\n")
    write_numbers(out, name, facts, table)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
