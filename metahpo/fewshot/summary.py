"""What a meta-test came to, in Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metahpo.fewshot.evaluation import JOINT, META, ORACLE, SCRATCH, SECOND

_KEY = ["family", "learner", "transductive", "shots", "step"]
Column = tuple[bool, int]
"""Whether it is transductive, and the shots."""

_STEPS = (0, 1, 2, 3, 4, 5, 6, 8, 10)


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds of :func:`~metahpo.fewshot.evaluation.evaluate_task`'s table.

    Returns
    -------
    DataFrame
        Indexed by family, learner, transductive, shots and step: ``mean`` over the seeds' means,
        ``ci95``, half the width of one seed's 95% confidence interval over episodes (their mean
        over seeds), ``seeds_sd``, the standard deviation of the seeds' means (NaN for a single
        seed), and ``seeds``.
    """
    sd = rows["sd"].fillna(np.inf)  # some episode's loss is infinite
    half = 1.96 * sd / np.sqrt(rows["n"])
    groups = rows.assign(ci95=half).groupby(_KEY, dropna=False, sort=False)
    return pd.DataFrame(
        {
            "mean": groups["mean"].mean(),
            "ci95": groups["ci95"].mean(),
            "seeds_sd": groups["mean"].std(ddof=1),
            "seeds": groups["mean"].size(),
        }
    )


def at_chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds where each takes the number of steps it chose itself; step is -1."""
    return pooled(rows[rows["chosen"]].assign(step=-1))


@dataclass(frozen=True)
class Scale:
    """How a metric is written: accuracy in percent, an error with three significant digits."""

    metric: str

    @property
    def title(self) -> str:
        """The metric in words."""
        return "MSE (lower is better)" if self.metric == "MSE" else "accuracy in %"

    def text(self, row: pd.Series[Any]) -> str:
        """Write mean ±CI, and the seeds' standard deviation where there are several."""
        seeds = "" if np.isnan(row["seeds_sd"]) else f" ({self.number(row['seeds_sd'])})"
        return f"{self.number(row['mean'])} ±{self.number(row['ci95'])}{seeds}"

    def number(self, value: float) -> str:
        """Write one number."""
        return f"{100 * value:.2f}" if self.metric == "accuracy" else f"{value:#.3g}"


def to_markdown(
    title: str,
    metric: str,
    rows: pd.DataFrame,
    trainings: Mapping[str, Mapping[str, Any]],
    session: Mapping[str, Any],
) -> str:
    """Write the page of a meta-test.

    Parameters
    ----------
    title : str
    metric : {"accuracy", "MSE"}
    rows : DataFrame
        From :func:`~metahpo.fewshot.evaluation.evaluate_task`.
    trainings : mapping of str to dict
        What ``training.json`` says of every learner.
    session : mapping
        Command, versions and machine.
    """
    scale = Scale(metric)
    seeds, episodes = rows["seed"].nunique(), int(rows["n"].max())
    spread = f" (standard deviation of the means of {seeds} seeds)" if seeds > 1 else ", one seed"
    parts = [
        f"# {title}",
        f"{scale.title}; mean ±95% confidence interval over {episodes} episodes{spread}. K: the "
        "number of steps that training fixed.",
        section("After each number of inner steps", _by_steps(rows, scale)),
        section("Against the baselines", _baselines(rows, scale)),
        section("On families it was not trained on, K steps", _shifted(rows, scale)),
        section("What training on a second family leaves, K steps", _retention(rows, scale)),
        section("Meta-training", _trainings(trainings)),
        made_by(session),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _by_steps(rows: pd.DataFrame, scale: Scale) -> list[list[str]]:
    own = rows[(rows["family"] == "own") & (rows["learner"] == META)]
    table, chosen = pooled(own), at_chosen(own)
    steps = [k for k in _STEPS if k <= own["step"].max()]
    lines = [["shots", *map(str, steps), "K"]]
    for column in _columns(own):
        cells = [_cell(table, scale, "own", META, column, k) for k in steps]
        lines.append([_words(column, own), *cells, _cell(chosen, scale, "own", META, column)])
    return lines


def _baselines(rows: pd.DataFrame, scale: Scale) -> list[list[str]]:
    own = rows[rows["family"] == "own"]
    names = [name for name in (JOINT, SCRATCH, ORACLE) if (own["learner"] == name).any()]
    if not names:
        return []
    chosen = at_chosen(own)
    lines = [["shots", "meta, K steps", *map(_baseline_title, names)]]
    for column in _columns(own):
        cells = [_best(own, scale, name, column) for name in names]
        first = _cell(chosen, scale, "own", META, column)
        lines.append([_words(column, own), first, *cells])
    return lines


def _best(own: pd.DataFrame, scale: Scale, name: str, column: Column) -> str:
    """Write a baseline at the step that does best, which flatters it."""
    transductive, shots = column
    part = own[(own["learner"] == name) & (own["shots"] == shots)]
    part = part[part["transductive"] == transductive]
    if part.empty:
        return ""
    table = pooled(part).reset_index()
    best = int(table["mean"].argmin() if scale.metric == "MSE" else table["mean"].argmax())
    after = "" if name == ORACLE else f", {table['step'].iloc[best]} steps"
    return scale.text(table.iloc[best]) + after


def _baseline_title(name: str) -> str:
    return "oracle" if name == ORACLE else f"{name} (best step on these episodes)"


def _shifted(rows: pd.DataFrame, scale: Scale) -> list[list[str]]:
    part = rows[(rows["learner"] == META) & (rows["family"] != "second")]
    if set(part["family"]) == {"own"}:
        return []
    return _families(
        at_chosen(part), [(family, META) for family in part["family"].unique()], scale
    )


def _retention(rows: pd.DataFrame, scale: Scale) -> list[list[str]]:
    if not (rows["learner"] == SECOND).any():
        return []
    pairs = [("own", META), ("own", SECOND), ("second", META), ("second", SECOND)]
    return _families(at_chosen(rows), pairs, scale)


def _families(
    chosen: pd.DataFrame, pairs: Sequence[tuple[str, str]], scale: Scale
) -> list[list[str]]:
    """Lay out families and learners as rows, shots as columns."""
    columns = [*dict.fromkeys((t, n) for _, _, t, n, _ in chosen.index)]
    both = len({transductive for transductive, _ in columns}) > 1
    heads = [f"{n} shots{', transductive' if both and t else ''}" for t, n in columns]
    lines = [["family", "learner", *heads]]
    for family, learner in pairs:
        cells = [_cell(chosen, scale, family, learner, column) for column in columns]
        lines.append([family, learner, *cells])
    return lines


def _trainings(trainings: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    lines = [["learner", "K", "iterations", "seconds", "iterations a second"]]
    for name, facts in trainings.items():
        rate = facts["iterations"] / max(facts["seconds"], 1e-9)
        numbers = [facts["steps"], facts["iterations"], f"{facts['seconds']:.0f}", f"{rate:.1f}"]
        lines.append([name, *map(str, numbers)])
    return lines


def _columns(rows: pd.DataFrame) -> list[Column]:
    pairs = zip(rows["transductive"].map(bool), rows["shots"].map(int), strict=True)
    return [*dict.fromkeys(pairs)]


def _cell(
    table: pd.DataFrame, scale: Scale, family: str, learner: str, column: Column, step: int = -1
) -> str:
    key: Any = (family, learner, *column, step)
    return scale.text(table.loc[key]) if key in table.index else ""


def _words(column: Column, rows: pd.DataFrame) -> str:
    transductive, shots = column
    if rows["transductive"].nunique() == 1:
        return str(shots)
    return f"{shots}, {'transductive' if transductive else 'not transductive'}"


def section(title: str, lines: list[list[str]]) -> str:
    """Write a table under a heading; nothing for no lines."""
    return f"## {title}\n\n{markdown_table(lines)}" if lines else ""


def markdown_table(lines: Iterable[Sequence[str]]) -> str:
    """Lay out rows as a Markdown table, the first as its head, numbers to the right."""
    head, *body = lines
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def made_by(session: Mapping[str, Any]) -> str:
    """Say in a sentence which command made a page, and where."""
    machine, versions = session["machine"], session["versions"]
    return (
        f"Made by `{session['command']}` on {machine['cores']} cores ({machine['cpu']}), "
        f"Python {versions['python']}, torch {versions['torch']}, metahpo {session['metahpo']}."
    )
