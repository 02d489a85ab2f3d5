"""Writes answers where a task has no labels: at each position the likeliest token, until the closing one.

The decoder goes through all that is written so far for each token: answers are short, a pass over few positions costs
about as much as one over a single one, and no delta needs a second form for it.
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
    ids = torch.full((rows, 1), forward.start, device=device)
    over = torch.zeros(rows, dtype=torch.bool, device=device)
    for _ in range(most):
        hidden = forward.decode(ids, memory)[:, -1]
        likeliest = forward.logits(hidden).argmax(-1).masked_fill(over, pad)
        ids = torch.cat([ids, likeliest[:, None]], dim=1)
        over |= likeliest.eq(end)
        if bool(over.all()):
            break
    return ids[:, 1:]
