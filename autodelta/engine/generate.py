"""Writes answers where a task has no labels: at each position the likeliest token, until the closing one.

Each block of the decoder keeps the keys and values of what is written, so that a token costs one position; rows that
are over leave.
"""

import torch
from torch import Tensor

from autodelta.engine.forward import Forward, Memory


@torch.no_grad()
def written(forward: Forward, memory: Memory, *, most: int, end: int, pad: int) -> Tensor:
    """Token ids (rows, at most ``most``) for the rows of a memory, without the start; ``pad`` after each one's ``end``.

    A row that is not over by then has no ``end``.
    """
    rows, device = len(memory.hidden), memory.hidden.device
    ids = torch.full((rows, 1 + most), pad, device=device)
    ids[:, 0] = forward.start
    left = torch.arange(rows, device=device)  # rows that are not over
    caches = forward.caches(memory)
    for length in range(1, most + 1):
        hidden = forward.further(ids[left, length - 1 : length], caches)[:, -1]
        likeliest = forward.logits(hidden).argmax(-1)
        ids[left, length] = likeliest
        going = likeliest.ne(end).nonzero().flatten()
        if len(going) < len(left):
            left, caches = left[going], [one.only(going) for one in caches]
        if not len(left):
            return ids[:, 1 : length + 1]
    return ids[:, 1:]
