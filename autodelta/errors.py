"""Errors that a user can mend: one line with the rule, the value and the choices; the command line exits with 2."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


LONGEST_LINE, LONGEST_VALUE = 300, 60  # characters
FILE_KINDS = {"tuple_type": "a list", "model_type": "keys and values", "dict_type": "keys and values"}  # of pydantic's


class UserError(ValueError):
    """A mistake in what the user asked for."""


def one_of(kind: str, value: str, choices: Iterable[str]) -> UserError:
    """The error for a name that is none of the choices, with the nearest one."""
    known = sorted(choices)
    near = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {value!r}; {hint}choose from: {', '.join(known)}")


def one_line(error: BaseException) -> str:
    """The first line of what an error says, cut where it is very long; its type where it says nothing."""
    said = str(error).strip().splitlines()
    return said[0][:LONGEST_LINE] if said else type(error).__name__


def first_problem(error: "ValidationError") -> str:
    """The first thing that a pydantic model finds wrong: where it stands, what it is, and what stands there."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in FILE_KINDS:
        message = f"must be {FILE_KINDS[first['type']]}"
    if first["type"] not in ("value_error", "missing", "extra_forbidden"):
        shown = repr(first["input"])
        message += f", not {shown if len(shown) <= LONGEST_VALUE else shown[:LONGEST_VALUE] + '...'}"
    return f"{place}: {message}" if place else message
