"""All candidates of a finite space."""

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.space._domain import Domain

if TYPE_CHECKING:
    from autodelta.space._space import Space

MOST = 100_000  # cells that are worth listing


def cells(space: "Space") -> int | None:
    """How many cells a space has, before its constraints; None if there are endlessly many."""
    sizes = [_size(space.method(name).genes) for name in space.methods]
    settings = _size(space.settings.genes)
    if settings is None or None in sizes:
        return None
    subsets = (subset for number in range(1, space.at_most + 1) for subset in combinations(sizes, number))
    return settings * sum(prod(size or 0 for size in subset) for subset in subsets)


def listed(space: "Space") -> list[Candidate]:
    """Every candidate that keeps the constraints, each once; cells that come to the same candidate are one.

    Raises:
        UserError: there are endlessly many, or too many.
    """
    endless = [gene for gene, domain in space.genes.items() if domain.listed() is None]
    if endless:
        raise UserError(
            f"space {space.name!r} has endlessly many candidates: {endless[0]} is a range; "
            "give it choices, or a step without a log scale, to walk through the whole grid"
        )
    number = cells(space)
    if number is not None and number > MOST:
        raise UserError(f"space {space.name!r} has {number:,} cells; a grid may have at most {MOST:,}")
    return list(dict.fromkeys(candidate for candidate in _all(space) if space.problem(candidate.deltas) is None))


def _all(space: "Space") -> Iterator[Candidate]:
    deltas = {name: tuple(space.method(name).every()) for name in space.methods}
    settings = tuple(space.settings.every())
    for number in range(1, space.at_most + 1):
        for names in combinations(space.methods, number):
            for chosen in product(*(deltas[name] for name in names)):
                yield from (Candidate(deltas=chosen, training=training) for training in settings)


def _size(genes: Mapping[str, Domain]) -> int | None:
    values = [domain.listed() for domain in genes.values()]
    return None if None in values else prod(len(value or ()) for value in values)
