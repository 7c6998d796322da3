"""The command line: ``metahpo tune | suggest | describe | collect | train | bench | …``.

Commands import what they need when they run, so that ``metahpo --help`` costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from metahpo.cli import bench, collect, demo, describe, fewshot, suggest, task_map, train, tune
from metahpo.cli.console import err

__all__ = ["app", "main"]

app = typer.Typer(
    name="metahpo",
    help="Hyperparameter tuning that starts from experience instead of from zero.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, module in {
    "tune": tune,
    "suggest": suggest,
    "describe": describe,
    "collect": collect,
    "train": train,
    "map": task_map,
    "demo": demo,
}.items():
    app.command(name)(module.command)
app.add_typer(bench.app, name="bench")
app.add_typer(fewshot.app)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from metahpo import __version__

        print(f"metahpo {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; every error that is the user's to mend is one line on standard error.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit code: 0, 2 for bad input, 130 after Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # a command that ends early (--help, Ctrl-C) returns its exit code, any other None
        return app(given, prog_name="metahpo", standalone_mode=False) or 0
    except typer.TyperException as error:
        _say(error.format_message())
    except Exception as error:
        if not _is_expected(error):
            raise
        _say(_words(error))
    return 2


def _is_expected(error: Exception) -> bool:
    from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

    from metahpo.openml import OpenMLError

    of_storage = (StorageInternalError, UpdateFinishedTrialError)
    return isinstance(error, (ValueError, OSError, OpenMLError, *of_storage))


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    if type(error).__module__.startswith("optuna.") and error.__cause__ is not None:
        # Optuna guesses at a reason; the database's own first line has it
        return f"the study's storage failed: {str(error.__cause__).splitlines()[0]}"
    return str(error) or type(error).__name__


def _say(message: str) -> None:
    err.print("[bold red]error:[/]", end=" ")
    err.print(" ".join(message.split()), markup=False)
