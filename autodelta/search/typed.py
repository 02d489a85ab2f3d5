"""What a program asks for, of the kinds that the annotations say: a mistake is one line, as on the command line."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from autodelta.errors import UserError, first_problem

Given = TypeVar("Given")
STRICT = ConfigDict(strict=True)  # else a text of digits would be a number, which no annotation says
Whole = Annotated[int, BeforeValidator(lambda value: _plain(value))]  # NumPy's, too, as a loop over seeds has them
Folder = Annotated[Path, Field(strict=False)]  # or a text that names it
Named = Annotated[str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value)]


def typed(kind: type[Given], **given: Any) -> Given:
    """A pydantic dataclass of what was given.

    Raises:
        UserError: something is not of its kind, as a number where a text belongs.
        TypeError: there is nothing of such a name.
    """
    unknown = sorted(given.keys() - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise TypeError(f"a search is not asked for {unknown[0]!r}")
    try:
        return kind(**given)
    except ValidationError as error:
        raise UserError(first_problem(error)) from None


def _plain(value: Any) -> Any:
    return int(value) if hasattr(value, "__index__") and not isinstance(value, bool) else value
