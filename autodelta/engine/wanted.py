"""What a loss asks of the decoder: its inputs, and which token counts at which position; laid out before any pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autodelta.engine import devices

PADDED = -100  # in the place of a target that does not count


class Wanted(NamedTuple):
    """The targets of all candidates of a pass, on its device, where nothing is looked for any more: a GPU would have to
    be waited for."""

    ids: list[Tensor]  # (batch, length) of each candidate: the decoder's inputs
    where: Tensor  # (targets,) of what counts, among the positions of all candidates
    tokens: Tensor  # (targets,)
    counts: list[int]  # targets of each candidate


def wanted(targets: Sequence[Tensor], *, start: int, pad: int, device: torch.device) -> Wanted:
    """From the targets (batch, length) of each candidate, -100 where padded.

    Args:
        targets: on the CPU.
        start: the decoder's first input.
        pad: its input after a target that is padded.
        device: of the pass.
    """
    flat = torch.cat([one.flatten() for one in targets])
    where = flat.ne(PADDED).nonzero().squeeze(1)
    return Wanted(
        ids=[devices.onto(_shifted(one, start, pad), device) for one in targets],
        where=devices.onto(where, device),
        tokens=devices.onto(flat[where], device),
        counts=[int(one.ne(PADDED).sum()) for one in targets],
    )


def _shifted(targets: Tensor, start: int, pad: int) -> Tensor:
    before = targets.new_full(targets.shape, start)
    before[:, 1:] = targets[:, :-1].masked_fill(targets[:, :-1].eq(PADDED), pad)
    return before
