"""The bottleneck beside a sublayer that adapters and their relatives share: where it reads, and what it adds."""

from abc import abstractmethod
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import linear

from autodelta.deltas.base import Slot, activation, narrowed, zeros

Placement = Literal["serial", "pfeiffer", "parallel"]
Activation = Literal["relu", "gelu", "silu", "tanh"]


class BottleneckSlot(Slot):
    """y + s (W_up act(W_down h + b_down) + b_up), for a sublayer from x to y before its residual sum.

    h is y (serial, Houlsby), x + y (pfeiffer) or x (parallel), each ``(batch, length, d_model)``.
    """

    def __init__(self, d_model: int, bottleneck: int, placement: Placement, function: Activation, scale: float) -> None:
        super().__init__()
        self.down_bias, self.up_bias = zeros(bottleneck), zeros(d_model)
        self.placement, self.activation, self.scale = placement, activation(function), scale

    @abstractmethod
    def matrices(self) -> tuple[Tensor, Tensor]:
        """W_down ``(bottleneck, d_model)`` and W_up ``(d_model, bottleneck)``."""

    def forward(self, x: Tensor, y: Tensor, weight: None) -> Tensor:
        source = y if self.placement == "serial" else x if self.placement == "parallel" else x + y
        source = narrowed(source, *self.down_bias.shape, *self.up_bias.shape)
        down, up = (matrix.to(source.dtype) for matrix in self.matrices())
        hidden = self.activation(linear(source, down, self.down_bias.to(source.dtype)))
        change = linear(hidden, up, self.up_bias.to(source.dtype))
        return y + (change if self.scale == 1 else change * self.scale).to(y.dtype)


class PlainBottleneck(BottleneckSlot):
    """A bottleneck whose two matrices are parameters."""

    def __init__(self, down: nn.Parameter, *, placement: Placement, function: Activation, scale: float) -> None:
        bottleneck, d_model = down.shape
        super().__init__(d_model, bottleneck, placement, function, scale)
        self.down, self.up = down, zeros(d_model, bottleneck)

    def matrices(self) -> tuple[Tensor, Tensor]:
        return self.down, self.up
