"""Where commands write: results to standard output, what happens meanwhile to standard error."""

from __future__ import annotations

from rich.console import Console

# Lines are not wrapped or coloured by content, so that a message is one line also in a pipe.
out = Console(soft_wrap=True, highlight=False)
err = Console(soft_wrap=True, highlight=False, stderr=True)


def note(text: str) -> None:
    """Say on standard error what a person should know."""
    err.print(f"  {text}", style="dim", markup=False)
