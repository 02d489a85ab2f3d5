"""Whose tokens lie where: the rows of several candidates end to end in one flat tensor, each with its own length.

Nothing is padded for the sake of another candidate, so that a candidate's numbers are those that it would have alone.
The rows of one candidate alone keep their shape (rows, length, width): every sublayer takes either.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """The tokens of one candidate: so many rows of one length."""

    owner: int
    rows: int
    length: int


@dataclass(frozen=True)
class Layout:
    """The parts of a flat tensor (tokens, width), in their order; those of a run may attend in one product."""

    runs: tuple[tuple[Part, ...], ...]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for run in self.runs for part in run)

    @cached_property
    def owners(self) -> tuple[int, ...]:
        return tuple(part.owner for part in self.parts)

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens of each part."""
        return [part.rows * part.length for part in self.parts]

    def split(self, flat: Tensor) -> list[Tensor]:
        """Each part (rows, length, width); views, whose gradients come together in one tensor."""
        if len(self.parts) == 1:
            return [self._whole(flat)]
        pieces = zip(flat.split(self.sizes), self.parts, strict=True)
        return [piece.view(part.rows, part.length, flat.shape[-1]) for piece, part in pieces]

    def split_runs(self, flat: Tensor) -> list[Tensor]:
        """Each run (rows, length, width)."""
        if len(self.runs) == 1:
            return [self._whole(flat)]
        pieces = flat.split([sum(part.rows * part.length for part in run) for run in self.runs])
        return [piece.view(-1, run[0].length, flat.shape[-1]) for piece, run in zip(pieces, self.runs, strict=True)]

    def join_runs(self, runs: Sequence[Tensor]) -> Tensor:
        """What ``split_runs`` cut apart."""
        whole = joined(runs)
        return whole.flatten(0, 1) if whole.dim() == 3 and len(self.parts) > 1 else whole

    def _whole(self, flat: Tensor) -> Tensor:
        """Of one run; what was never joined is as it should be."""
        return flat if flat.dim() == 3 else flat.view(-1, self.runs[0][0].length, flat.shape[-1])

    def only(self, owners: Sequence[int]) -> "Layout":
        """The layout of these owners' parts alone."""
        kept = (tuple(part for part in run if part.owner in owners) for run in self.runs)
        return Layout(tuple(run for run in kept if run))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Tensors (rows, length, width) as one flat tensor (tokens, width); one alone stays as it is, at no cost."""
    return parts[0] if len(parts) == 1 else torch.cat([part.flatten(0, 1) for part in parts])


class Stream(NamedTuple):
    """Tokens of several candidates on their way through a stack."""

    hidden: Tensor  # flat
    layout: Layout

    @classmethod
    def of(cls, parts: Mapping[int, Tensor], runs: Sequence[Hashable]) -> "Stream":
        """Owners' tensors (rows, length, width); those whose ``runs`` are equal attend together."""
        together: dict[Hashable, list[int]] = {}
        for owner in parts:
            together.setdefault(runs[owner], []).append(owner)
        layout = Layout(
            tuple(
                tuple(Part(owner, parts[owner].shape[0], parts[owner].shape[1]) for owner in owners)
                for owners in together.values()
            )
        )
        return cls(joined([parts[owner] for owner in layout.owners]) if parts else torch.empty(0), layout)

    def parts(self) -> dict[int, Tensor]:
        """Every owner's tensor (rows, length, width)."""
        if not self.layout.parts:
            return {}
        return dict(zip(self.layout.owners, self.layout.split(self.hidden), strict=True))
