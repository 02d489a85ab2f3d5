"""How much memory a trial takes at its peak."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

MOMENTS = 2  # AdamW keeps two numbers for each trained one; a gradient is a third


class Meter:
    """The peak of a trial: on a GPU what torch allocated; on a CPU what a step must hold at least.

    On a GPU, what else was there when the trial began (caches, other trials) is left out. On a CPU it is the backbone,
    the deltas, gradients and moments of what is trained, and the tensors that are kept for the
    backward pass, counted by their storages. They are looked at only in a pass of more tokens than any before.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._device = device
        self._peak = 0
        self.largest = 0  # tokens of the largest pass of this phase
        self._fixed: dict[int, int] = {}  # bytes of each storage that is there before a pass
        self._trained = 0
        self._others: int | None = None  # bytes on the GPU that are not the trial's
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(device)

    def begin(self, modules: Iterable[nn.Module], trained: Iterable[Tensor]) -> None:
        """A phase begins, in which these modules are held and these parameters are trained."""
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        self._fixed = dict(map(_storage, tensors))
        self._trained = sum(tensor.nbytes for tensor in trained)
        self.largest = 0
        if self._on_gpu and self._others is None:
            self._others = torch.cuda.memory_allocated(self._device) - sum(self._fixed.values())

    @property
    def peak(self) -> int:
        """Bytes, so far."""
        if self._on_gpu:
            self._peak = max(self._peak, torch.cuda.max_memory_allocated(self._device) - (self._others or 0))
        return self._peak

    @property
    def foreseen(self) -> int:
        """Bytes, also of the optimiser's state before its first step."""
        return self.peak + (MOMENTS * self._trained if self._on_gpu else 0)

    def restore(self, peak: int, largest: int) -> None:
        """Goes on from what was measured in this phase before."""
        self._peak, self.largest = peak, largest

    @contextmanager
    def forward(self, tokens: int) -> Iterator[None]:
        """Watches the forward pass of so many tokens."""
        if tokens <= self.largest:
            yield
            return
        if self._on_gpu:
            yield
            self.largest = tokens  # of a trial by itself, which from now on may go with others
            return
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage, size = _storage(tensor)
            if storage not in self._fixed:
                kept[storage] = size
            return tensor.detach()  # itself, it would hold the graph that holds it, if no backward pass follows

        with saved_tensors_hooks(note, lambda tensor: tensor):
            yield
        self.largest = tokens
        held = sum(self._fixed.values()) + (1 + MOMENTS) * self._trained + sum(kept.values())
        self._peak = max(self._peak, held)


def _storage(tensor: Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
