"""The softmax of attention scores, as torch has it wherever it is fast at it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

REGISTER = 32  # bfloat16 numbers, with AVX-512
CACHED = 1 << 17  # float32 numbers that stay near a core


def softmax(scores: Tensor) -> Tensor:
    """Over the keys; in float32, as transformers has it, where torch is slow in bfloat16: on a CPU it takes the end of
    a row that fills no register entry by entry, which makes rows of 17 to 63 up to five times slower, and longer ones
    up to twice."""
    keys = scores.shape[-1]
    if scores.dtype == torch.bfloat16 and scores.is_cpu and keys > REGISTER / 2 and keys % REGISTER:
        return _Softmax.apply(scores)  # type: ignore[no-untyped-call,no-any-return]
    return functional.softmax(scores, dim=-1)


class _Softmax(torch.autograd.Function):
    """Softmax in float32 of bfloat16 scores; what is kept of it for the gradient is as wide as they are."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        y, keys = torch.empty_like(scores, memory_format=torch.contiguous_format), scores.shape[-1]
        at_once = max(1, CACHED // keys)
        for part, to in zip(scores.reshape(-1, keys).split(at_once), y.view(-1, keys).split(at_once), strict=True):
            to.copy_(functional.softmax(part, dim=-1, dtype=torch.float32))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,), (g,) = ctx.saved_tensors, gradients
        if y.shape[-1] < 2 * REGISTER:  # the end of a row costs here, too
            y, g = y.float(), g.float()
        return torch._softmax_backward_data(g, y, -1, ctx.saved_tensors[0].dtype)
