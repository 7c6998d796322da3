"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TaskKind(StrEnum):
    """What a target asks for."""

    auto = "auto"
    classification = "classification"
    regression = "regression"


Table = Annotated[
    Path,
    typer.Argument(help="The table: CSV, Parquet or ARFF.", metavar="TABLE", show_default=False),
]
Target = Annotated[
    str, typer.Option("--target", "-t", help="The column to predict.", show_default=False)
]
LearnerName = Annotated[
    str,
    typer.Option("--learner", "-l", help="A learner, or auto to choose among all of them."),
]
Task = Annotated[
    TaskKind, typer.Option("--task", help="What the target asks for; auto guesses and says so.")
]
Model = Annotated[
    str,
    typer.Option("--model", help="A meta-model's folder, that of several learners, or default."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to write.", show_default=False)]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that work at a time.")]
