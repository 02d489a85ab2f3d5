"""Slots that add a difference to the frozen weight, at whatever kind of site: full, norm, selective, subspace."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from autodelta.deltas.base import Affine, Place, Slot, mapped
from autodelta.shape import Kind


class DifferenceSlot(Slot):
    """y + D x at linear layers, y + D[ids] at tables, y + d * norm(x) at norms; D has the shape of the weight.

    That is f(x; W + D), as each of these maps is linear in its weight, and composes with what others do to y. Where
    differences stand first at a linear layer, ``projected`` does the same for less.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.kind, self.epsilon = place.kind, place.epsilon

    @abstractmethod
    def difference(self) -> Tensor:
        """D."""

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        if self.kind == Kind.LINEAR:
            return y + linear(x, self.difference().to(x.dtype))
        if self.kind == Kind.LOOKUP:
            return y + embedding(x, self.difference())
        return y + normalised(x, self.epsilon) * self.difference()

    def folded(self, now: Affine, frozen: Tensor) -> Affine:
        return Affine(now.weight + self.difference(), now.bias)


class TrainedDifference(DifferenceSlot):
    """A difference of which every element is a parameter; slots at tied weights are handed the same one."""

    def __init__(self, place: Place, parameter: nn.Parameter) -> None:
        super().__init__(place)
        self.delta = parameter

    def difference(self) -> Tensor:
        return self.delta


def projected(slots: Sequence[Slot], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer's output with all its slots, differences that stand first taken into the weight.

    W x + D x costs two products, and two more for the gradient of x; (W + D) x one of each.
    """
    changed, rest = weight, list(slots)
    while rest and isinstance(first := rest[0], DifferenceSlot):
        changed = changed + first.difference()
        del rest[0]
    return mapped(rest, x, linear(x, changed.to(weight.dtype), bias), weight)


def normalised(x: Tensor, epsilon: float) -> Tensor:
    """x over its root mean square along the last axis, as T5's norm computes it before its scale; float32 or wider."""
    wide = x.float() if x.dtype.itemsize < 4 else x
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
