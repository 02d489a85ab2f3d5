"""Writes answers where a task has no labels: at each position the likeliest token, until the closing one.

The decoder goes through all that is written so far for each token, of the rows that are not over yet: answers are
short, a pass over few positions costs about as much as one over a single one, and no delta needs a second form for it.
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
    for length in range(1, most + 1):
        hidden = forward.decode(ids[left, :length], memory)[:, -1]
        likeliest = forward.logits(hidden).argmax(-1)
        ids[left, length] = likeliest
        going = likeliest.ne(end).nonzero().flatten()
        if len(going) < len(left):
            left, memory = left[going], memory.only(going)
        if not len(left):
            return ids[:, 1 : length + 1]
    return ids[:, 1:]
