"""Samplers by name: each file of this folder holds one ``SAMPLER``; putting a file here registers it.

A sampler is an Optuna sampler, built anew at every ask from (run seed, trial number), so that a search that was
stopped and taken up again asks what the uninterrupted one would have asked.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from autodelta.errors import one_of

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Sampler:
    """One way to choose candidates."""

    help: str  # one line for the command line
    # From a seed; cheap, as it is called at every ask. None: the study walks through the grid of a finite space.
    build: "Callable[[int], BaseSampler] | None"
    two_directions: bool = False  # also minimises the parameters; such a study cannot prune


@cache
def names() -> tuple[str, ...]:
    """Every sampler's name."""
    return tuple(sorted(entry.name for entry in pkgutil.iter_modules(__path__)))


def sampler(name: str) -> Sampler:
    """The sampler of that name.

    Raises:
        UserError: there is none.
    """
    if name not in names():
        raise one_of("sampler", name, names())
    found = importlib.import_module(f"{__name__}.{name}").SAMPLER
    if not isinstance(found, Sampler):
        raise TypeError(f"{__name__}.{name}.SAMPLER is no Sampler but {type(found).__name__}")
    return found
