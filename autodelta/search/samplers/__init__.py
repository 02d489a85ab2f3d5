"""Samplers by name: each file of this folder holds one ``SAMPLER``; putting a file here registers it.

A sampler is an Optuna sampler, built anew at every ask from (run seed, trial number), so that a search that was
stopped and taken up again asks what the uninterrupted one would have asked. Where only recorded candidates can be had,
it ranks these by its own acquisition, instead of naming one that nobody has trained.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodelta.errors import one_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from autodelta.candidate import Candidate
    from autodelta.space import Space


@dataclass(frozen=True)
class Scene:
    """What a sampler may know beside the trials."""

    space: "Space"
    features: Mapping[str, float] | None = None  # of the task, by name; None: nothing is known of it
    model: Path | None = None  # the folder of a fitted meta-learner; None: the one that ships
    sha256: str | None = None  # of that model's files, where it must be this one
    per_second: bool = False  # what counts is what a trial promises for each second that it is foreseen to take


@dataclass(frozen=True)
class PoolEntry:
    """A recorded candidate as a sampler sees it: its parameters in a space, and what each of them may be."""

    params: Mapping[str, Any]
    distributions: "Mapping[str, BaseDistribution]"
    candidate: "Candidate | None" = None

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The parameters as Optuna's samplers see them: choices by their place in the list."""
        return {name: found.to_internal_repr(self.params[name]) for name, found in self.distributions.items()}


Rank = Callable[["Study", Sequence[PoolEntry], int], "NDArray[np.float64]"]


@dataclass(frozen=True)
class Sampler:
    """One way to choose candidates."""

    help: str  # one line for the command line
    # From a seed; cheap, as it is called at every ask. None: the study walks through the grid of a finite space.
    build: "Callable[[int, Scene], BaseSampler] | None"
    transfers: bool = False  # learns across tasks: it needs the task's features
    two_directions: bool = False  # also minimises the parameters; such a study cannot prune
    # How much it wants each entry of a pool, given the study's trials and a seed. None: it ranks nothing.
    rank: Rank | None = None


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
