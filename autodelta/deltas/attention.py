"""Attention functions for transformers that let slots change keys, values and mask, with the mask functions they need.

Keys and values are locals of the attention's forward, out of reach of hooks. transformers looks attention functions up
by name in ``config._attn_implementation``; ours wrap the function of the stack's own implementation. A function that is
registered without its mask function would get no mask at all.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from autodelta.deltas.base import Slot
from autodelta.errors import UserError

_PREFIX = "autodelta_"
_slots: WeakKeyDictionary[nn.Module, tuple[Slot, ...]] = WeakKeyDictionary()


def put(stack: Any, slots: dict[nn.Module, tuple[Slot, ...]]) -> Callable[[], None]:
    """Lets slots change keys and values of a stack's attentions; returns what takes them off again.

    Raises:
        UserError: the stack uses an attention that cannot be wrapped.
    """
    before = stack.config._attn_implementation
    if before not in ("eager", "sdpa"):
        raise UserError(f"deltas on keys and values need sdpa or eager attention, not {before!r}")
    stack.config._attn_implementation = _PREFIX + before
    _slots.update(slots)

    def take_off() -> None:
        stack.config._attn_implementation = before
        for module in slots:
            del _slots[module]

    return take_off


def _sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
    key, value, mask = _changed(module, key, value, mask, kwargs)
    return sdpa_attention_forward(module, query, key, value, mask, **kwargs)


def _eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
    key, value, mask = _changed(module, key, value, mask, kwargs)
    own = sys.modules[type(module).__module__]  # each model's file has its eager attention beside the module
    return own.eager_attention_forward(module, query, key, value, mask, **kwargs)


def _changed(
    module: nn.Module, key: Tensor, value: Tensor, mask: Tensor | None, kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor | None]:
    slots = _slots.get(module)
    if slots is None:
        return key, value, mask
    changed = apply(slots, key, value, mask)
    more = changed[0].shape[2] - key.shape[2]
    bias = kwargs.get("position_bias")
    if more and bias is not None:  # keys put in front have no position
        kwargs["position_bias"] = functional.pad(bias, (more, 0))
    return changed


def apply(
    slots: Sequence[Slot], key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys and values ``(batch, heads, length, d_kv)`` and mask after all slots, in the dtype they came in."""
    dtype = key.dtype
    for slot in slots:
        key, value, mask = slot(key, value, mask)
    return key.to(dtype), value.to(dtype), mask


def _sdpa_mask(*args: Any, **kwargs: Any) -> Any:
    """Always a causal mask in full: sdpa would rebuild a skipped one from the lengths, wrongly once keys are added."""
    return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})


AttentionInterface.register(_PREFIX + "sdpa", _sdpa)
AttentionInterface.register(_PREFIX + "eager", _eager)
AttentionMaskInterface.register(_PREFIX + "sdpa", _sdpa_mask)
AttentionMaskInterface.register(_PREFIX + "eager", eager_mask)
