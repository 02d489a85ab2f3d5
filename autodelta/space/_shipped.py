"""The search spaces that ship with autodelta, and how a name becomes a file."""

import os
from pathlib import Path

from autodelta.errors import UserError, one_of
from autodelta.frozen import Frozen
from autodelta.space._reading import read

FOLDER = "search_spaces"
SUFFIX = ".yaml"


class SpaceInfo(Frozen):
    """What a list of spaces says about one."""

    name: str
    description: str
    methods: tuple[str, ...]
    at_most: int  # methods at once
    path: Path


def names() -> tuple[str, ...]:
    """The names of the spaces that ship with autodelta."""
    return tuple(sorted(path.stem for path in _folder().glob(f"*{SUFFIX}")))


def find(name_or_path: str | Path) -> Path:
    """The file of a space that ships with autodelta, or of the user's own.

    Raises:
        UserError: there is no such space, or no such file.
    """
    if str(name_or_path) in names():
        return _folder() / f"{name_or_path}{SUFFIX}"
    path = Path(os.path.expanduser(name_or_path))  # Path's own raises where ~ names no user
    if path.is_file():
        return path
    if path.suffix in (SUFFIX, ".yml") or len(path.parts) != 1:
        raise UserError(f"no such file: {str(name_or_path)!r}; give a YAML file or one of: {', '.join(names())}")
    raise one_of("space", str(name_or_path), names())


def describe(name_or_path: str | Path) -> SpaceInfo:
    """What a space is about, without a backbone.

    Raises:
        UserError: the file has a mistake.
    """
    path = find(name_or_path)
    plan, _ = read(path)
    return SpaceInfo(
        name=path.stem, description=plan.description, methods=tuple(plan.methods), at_most=plan.cap, path=path
    )


def _folder() -> Path:
    """Inside the package in a wheel, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / FOLDER
    return inside if inside.is_dir() else package.parent / FOLDER
