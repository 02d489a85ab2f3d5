"""What the modules of every delta method are made of: slots, the state that slots share, and seeded initial weights."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from autodelta.shape import Site

SMALL = 1 << 19  # multiplications of a narrow product up to which a CPU is faster in float32


class Place(NamedTuple):
    """One site as a method sees it when its slot is built."""

    site: Site
    kind: str
    weight: Tensor | None  # the frozen weight, read only; at a stack's embeddings the token table
    epsilon: float  # of the backbone's norms


class Affine(NamedTuple):
    """A weight, and the bias that a T5 does not have."""

    weight: Tensor
    bias: Tensor | None


class Slot(nn.Module):
    """The trainable parameters of one delta at one site.

    A slot is called with what its site hands it (``autodelta.shape.Kind``): ``(x, y, weight) -> y`` at linear layers,
    sublayers, norms and lookups; ``(keys, values, mask) -> (keys, values, mask)`` at an attention; ``(embeddings,
    mask) -> (embeddings, mask)`` at a stack's input, the mask ``(batch, length)`` or None where nothing is padded.

    Parameters are float32, activations have the backbone's dtype. Matrices and biases are cast to the activations'
    dtype, as autocast does; scales are left to torch's promotion, as a small change of one is lost in bfloat16. Whoever
    calls casts the result back.
    """

    reads_weight: ClassVar[bool] = False  # whether what it computes depends on the frozen weight, beside x and y
    # Parameters that silence the site at zero, where others leave it as the backbone has it: weight decay, which pulls
    # to zero, spares them.
    spared: ClassVar[tuple[str, ...]] = ()

    def folded(self, now: "Affine", frozen: Tensor) -> "Affine | None":
        """The map, in float32, that does what ``now`` and then this slot do at a site; None where no weight can do it.

        Args:
            now: the frozen weight with the slots before this one folded in.
            frozen: the backbone's own weight.
        """
        return None


def mapped(slots: Sequence[Slot], x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """The output of a linear layer, sublayer, norm or lookup after all slots, in the dtype that it had."""
    out = y
    for slot in slots:
        out = slot(x, out, weight)
    return out.to(y.dtype)


def narrowed(x: Tensor, rank: int, width: int) -> Tensor:
    """x (..., in) as it enters products through ``rank`` numbers a row, where it or what comes out is ``width`` wide.

    On a CPU that is float32 for few rows: a product in bfloat16 takes its 12 us there, however small it is.
    """
    if x.dtype == torch.bfloat16 and x.is_cpu and x.numel() // x.shape[-1] * width * max(rank, 32) <= SMALL:
        return x.float()
    return x


class DeltaModule(nn.Module):
    """All slots of one delta, and the state that they share. Shared parameters are counted once."""

    def __init__(self, slots: Mapping[Site, Slot], shared: nn.Module | None = None) -> None:
        super().__init__()
        self.slots = dict(slots)
        self.shared = shared
        self.registered = nn.ModuleList(self.slots.values())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What a saved delta holds, by name: ``<site>.<tensor>``, or ``shared.<tensor>``; a tied tensor once."""
        owners: list[tuple[Site | str, nn.Module]] = [*self.slots.items()]
        if self.shared is not None:
            owners.insert(0, ("shared", self.shared))
        seen: set[int] = set()
        for owner, module in owners:
            for name, tensor in module.state_dict(keep_vars=True).items():
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{owner}.{name}", tensor

    def spared(self) -> set[int]:
        """The parameters that weight decay spares, by identity."""
        return {id(getattr(slot, name)) for slot in self.slots.values() for name in slot.spared}

    def loaded(self) -> None:
        """Brings what is derived from the tensors up to date, after new values were copied into them."""
        for module in self.modules():
            if isinstance(module, Seeded):
                module.redraw()


class Draw:
    """Initial weights that depend on the seed, the method and the site alone, not on what else is attached.

    ``label_ids`` are the token ids of the task's label words, for methods that start from them; empty without a task.
    """

    def __init__(self, seed: int, method: str, label_ids: Sequence[Sequence[int]] = ()) -> None:
        self.seed, self.method, self.label_ids = seed, method, label_ids

    def generator(self, site: Site | str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed}/{self.method}/{site}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Seeded(nn.Module):
    """Frozen random tensors that are not saved: the seed that draws them is."""

    seed: Tensor

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.method = draw.method
        self.register_buffer("seed", torch.tensor(draw.seed))
        for name, tensor in self.drawn(draw).items():
            self.register_buffer(name, tensor, persistent=False)

    @abstractmethod
    def drawn(self, draw: Draw) -> dict[str, Tensor]:
        """The tensors by name."""

    def redraw(self) -> None:
        """Draws the tensors again, after another seed was loaded."""
        for name, tensor in self.drawn(Draw(int(self.seed), self.method)).items():
            getattr(self, name).copy_(tensor)


def kaiming_uniform(shape: tuple[int, int], generator: torch.Generator) -> nn.Parameter:
    """A linear layer's matrix (out, in), uniform within 1 / sqrt(in): torch's default, and that of peft's LoRA."""
    bound = 1 / math.sqrt(shape[1])
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))


def normal(shape: tuple[int, ...], deviation: float, generator: torch.Generator) -> nn.Parameter:
    """A trainable tensor of normal random numbers."""
    return nn.Parameter(torch.randn(shape, generator=generator) * deviation)


def zeros(*shape: int) -> nn.Parameter:
    """A trainable tensor that starts at zero."""
    return nn.Parameter(torch.zeros(shape))


def frozen_weight(place: Place) -> Tensor:
    """The frozen weight of a place that has one."""
    if place.weight is None:
        raise ValueError(f"{place.site} has no weight of its own")
    return place.weight


def extend_mask(mask: Tensor | None, more: int) -> Tensor | None:
    """An attention's mask for ``more`` keys in front that everybody sees; None stays None."""
    if mask is None:
        return None
    seen = True if mask.dtype == torch.bool else 0  # boolean, or added to the scores
    return nn.functional.pad(mask, (more, 0), value=seen)


def activation(name: str) -> Any:
    """The function of that name: relu, gelu, silu or tanh."""
    return torch.tanh if name == "tanh" else getattr(nn.functional, name)
