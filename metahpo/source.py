"""Values and calls as Python source, laid out as a formatter would."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

WIDTH = 88  # columns, as most formatters have it
INDENT = "    "


def literal(value: Any, depth: int = 0) -> str:
    """Write a plain value (numbers, strings, None; lists, tuples, dicts of them) as Python.

    Parameters
    ----------
    value : object
    depth : int, default=0
        How deep the line that it begins on is indented.
    """
    if isinstance(value, str):
        return f'"{value}"' if repr(value) == f"'{value}'" else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, (list, tuple)):
        items = [literal(item, depth + 1) for item in value]
        return bracketed("[", items, "]", depth) if isinstance(value, list) else _tuple(items)
    if isinstance(value, dict):
        return bracketed(
            "{", [f"{literal(k)}: {literal(v)}" for k, v in value.items()], "}", depth
        )
    return repr(value)


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def bracketed(opening: str, items: Sequence[str], closing: str, depth: int = 0) -> str:
    """Join items between brackets: on one line if they fit, else each on a line of its own."""
    flat = f"{opening}{', '.join(items)}{closing}"
    if len(flat) + len(INDENT) * (depth + 1) <= WIDTH and "\n" not in flat:
        return flat
    lines = "".join(f"{INDENT * (depth + 1)}{item},\n" for item in items)
    return f"{opening}\n{lines}{INDENT * depth}{closing}"
