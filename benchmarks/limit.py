"""What a device could do at most: products that must be made, as torch counts them, and the rate of a large product."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

OPERATIONS = 12  # of AdamW, a parameter


def operations(action: Callable[[], object]) -> int:
    """Floating-point operations of all products of an action."""
    with FlopCounterMode(display=False) as counter:
        action()
    return int(counter.get_total_flops())


def rate(device: torch.device, dtype: torch.dtype, *, size: int, seconds: float = 1.0) -> float:
    """Operations a second of a large product of random numbers, over about so many seconds."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def spent(times: int) -> float:
        waited(device)
        began = time.perf_counter()
        for _ in range(times):
            left @ right
        waited(device)
        return time.perf_counter() - began

    spent(3)
    times = max(1, round(seconds / (spent(3) / 3)))
    return 2.0 * size**3 * times / spent(times)


def waited(device: torch.device) -> None:
    """After all that was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
