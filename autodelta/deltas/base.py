"""What the modules of every delta method are made of: slots, the state that slots share, and seeded initial weights."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from autodelta.shape import Site


class Place(NamedTuple):
    """One site as a method sees it when its slot is built."""

    site: Site
    kind: str
    weight: Tensor | None  # the frozen weight, read only; at a stack's embeddings the token table
    epsilon: float  # of the backbone's norms


class Slot(nn.Module):
    """The trainable parameters of one delta at one site.

    A slot is called with what its site hands it (``autodelta.shape.Kind``): ``(x, y, weight) -> y`` at linear layers,
    sublayers, norms and lookups; ``(keys, values, mask) -> (keys, values, mask)`` at an attention; ``(embeddings,
    mask) -> (embeddings, mask)`` at a stack's input, the mask ``(batch, length)`` or None where nothing is padded.

    Parameters are float32, activations have the backbone's dtype. Matrices are cast to the activations' dtype, as
    autocast does; sums and scales are left to torch's promotion, so that a small change is not lost in bfloat16.
    Whoever calls casts the result back.
    """

    def folded(self, weight: Tensor) -> Tensor | None:
        """The weight in float32 that does by itself what frozen weight and slot do together; None if there is none."""
        return None


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

    def loaded(self) -> None:
        """Called after new values were copied into the tensors, for what is derived from them."""


class Draw:
    """Initial weights that depend on the seed, the method and the site alone, not on what else is attached."""

    def __init__(self, seed: int, method: str) -> None:
        self.seed, self.method = seed, method

    def generator(self, site: Site | str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed}/{self.method}/{site}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def kaiming_uniform(shape: tuple[int, int], generator: torch.Generator) -> nn.Parameter:
    """A linear layer's matrix (out, in), uniform within 1 / sqrt(in): torch's default, and that of peft's LoRA."""
    bound = 1 / math.sqrt(shape[1])
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))


def zeros(*shape: int) -> nn.Parameter:
    """A trainable tensor that starts at zero."""
    return nn.Parameter(torch.zeros(shape))


def frozen_weight(place: Place) -> Tensor:
    """The frozen weight of a place that has one."""
    if place.weight is None:
        raise ValueError(f"{place.site} has no weight of its own")
    return place.weight


def normalised(x: Tensor, epsilon: float) -> Tensor:
    """x over its root mean square along the last axis, as T5's norm computes it before its scale; float32 or wider."""
    wide = x.float() if x.dtype.itemsize < 4 else x
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)


def activation(name: str) -> Any:
    """The function of that name: relu, gelu, silu or tanh."""
    return torch.tanh if name == "tanh" else getattr(nn.functional, name)
