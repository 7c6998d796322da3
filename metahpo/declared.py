"""What a person declares in a TOML file: read, and checked against types, in one line of error."""

from __future__ import annotations

import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

_T = TypeVar("_T")


def read_declaration(path: Path, what: str, check: Callable[[dict[str, Any]], _T]) -> _T:
    """Read a TOML file and make something of it.

    Parameters
    ----------
    path : Path
    what : str
        The kind of file, for the errors: ``benchmark file``.
    check : callable
        Makes it of the file's keys; raises ValueError where it cannot.

    Raises
    ------
    ValueError
        Naming the file, and what is wrong with it.
    """
    try:
        declared = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"there is no {what} {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; give a {what} (TOML)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    try:
        return check(declared)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_keys(declared: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Refuse a key that means nothing.

    Raises
    ------
    ValueError
        Naming it, the table `where` it stands, and the keys there are.
    """
    for key in declared:
        if key not in known:
            prefix = f"{where} has an " if where else ""
            raise ValueError(f"{prefix}unknown key {key!r}; known are {', '.join(known)}")


def typed(
    declared: Mapping[str, Any], hints: Mapping[str, Any], where: str = ""
) -> dict[str, Any]:
    """Return a table's values, lists as tuples, once each has the type that its key asks for.

    Parameters
    ----------
    declared : mapping
    hints : mapping of str to type
        Of every key there is: int, float, str, bool, dict, literals, unions and tuples of these.
    where : str
        The table, for the errors: ``[net]``.

    Raises
    ------
    ValueError
        Naming the key that is unknown or whose value does not fit, and what would.
    """
    check_keys(declared, hints, where)
    values = {}
    for key, given in declared.items():
        value = tuple(given) if isinstance(given, list) else given
        if not fits(value, hints[key]):
            prefix = f"{where} " if where else ""
            raise ValueError(f"{prefix}{key} is {given!r}; {needed(hints[key])} is needed")
        values[key] = value
    return values


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value read from TOML can be of a type; a whole number can be a float."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return value in arguments
    if get_origin(hint) in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        items = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(items) == len(value) and all(map(fits, value, items))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def needed(hint: Any) -> str:
    """Name a type as someone who writes TOML would."""
    arguments = [one for one in get_args(hint) if one is not type(None)]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(needed, arguments))
    if get_origin(hint) is tuple:
        size = "" if arguments[1:] == [...] else f"{len(arguments)} "
        return f"a list of {size}{_plural(arguments[0])}"
    return _SINGULARS[hint]


def _plural(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(_plural, get_args(hint)))
    return _PLURALS.get(hint) or needed(hint)


_SINGULARS = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "a table",
}
_PLURALS = {int: "integers", float: "numbers", str: "texts", dict: "tables"}
