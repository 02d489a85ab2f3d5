"""A neighbour of a candidate: one gene changed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.space._trials import FixedTrial

if TYPE_CHECKING:
    import numpy as np

    from autodelta.space._space import Space

TRIES = 1000


def mutated(space: "Space", candidate: Candidate, rng: "np.random.Generator") -> Candidate:
    """A feasible candidate of the space that differs in one gene, chosen at random among those it can change.

    Raises:
        UserError: the candidate lies outside of the space, or the space has no neighbour of it.
    """
    params = space.to_params(candidate)
    genes = list(params)
    for _ in range(TRIES if genes else 0):
        gene = genes[int(rng.integers(len(genes)))]
        if gene in space.methods:
            methods = _toggled(space, candidate.methods, gene, rng)
            found = space.draw(FixedTrial(params | space.keys(methods), rng=rng))
        else:
            methods = list(candidate.methods)
            found = space.draw(FixedTrial(params, rng=rng, redraw=gene))
        changed = found != candidate and set(found.methods) == set(methods)
        if changed and space.problem(found.deltas) is None:
            return found
    raise UserError(f"space {space.name!r} has no neighbour of the candidate {candidate.key}")


def _toggled(space: "Space", on: Sequence[str], method: str, rng: "np.random.Generator") -> list[str]:
    """The methods with this one off, or on; another takes its place, or leaves, where the number may not change."""
    if method in on:
        rest = [name for name in on if name != method]
        others = [name for name in space.methods if name not in on]
        return rest or [others[int(rng.integers(len(others)))]]
    if len(on) < space.at_most:
        return [*on, method]
    leaves = int(rng.integers(len(on)))
    return [*(name for number, name in enumerate(on) if number != leaves), method]
