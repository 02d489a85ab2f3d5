"""The device to work on, and how many workers it is good for. torch is loaded when it is asked."""

import os
from typing import TYPE_CHECKING

from autodelta.errors import UserError, one_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEVICES = ("cpu", "cuda")
MOST_PER_CPU = 8  # processes with a backbone each, which may share a GPU; with many more the machine has no memory left


def chosen(asked: str | None) -> str:
    """The device that was asked for, or the best there is: cpu or cuda.

    Raises:
        UserError: it is none of the two, or there is no GPU.
    """
    import torch

    if asked is not None and asked not in DEVICES:
        raise one_of("device", asked, DEVICES)
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("the device 'cuda' was asked for, but torch finds no GPU; choose --device cpu")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def workers(device: str) -> int:
    """One for each GPU, or for each physical core that this process may use."""
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    import psutil

    return max(1, min(psutil.cpu_count(logical=False) or _cpus(), _cpus()))


def check_room(processes: int, option: str) -> None:
    """Raises UserError where so many processes, asked for by an option, can only be a slip."""
    most = MOST_PER_CPU * _cpus()
    if processes > most:
        raise UserError(f"{option} is at most {most} here, {MOST_PER_CPU} for each CPU: {processes}")


def _cpus() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fit(devices: float, share: float) -> int:
    """How many workers fit that take such a share of a device: each of them has its share of one device alone."""
    return int(devices + 1e-6) * int(1 / share + 1e-6)


def own(device: str, number: int) -> str:
    """The device of one worker of several: ``cuda`` becomes one GPU after the other."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{number % torch.cuda.device_count()}"


def onto(tensor: "Tensor", device: "torch.device") -> "Tensor":
    """The tensor on a device. What lies in the machine's own memory goes to a GPU from pinned memory, as a piece of the
    work there: an ordinary copy would make the program wait until all that was launched before is done."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def called(device: str) -> str:
    """What a record calls a device: ``cpu``, or the name of the GPU."""
    if not device.startswith("cuda"):
        return device
    import torch

    return str(torch.cuda.get_device_name(device))
