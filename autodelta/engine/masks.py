"""What is added to attention scores before the softmax: position bias, and the least number where nobody may look."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from autodelta.engine import devices
from autodelta.engine.layers import Positions, stacked_masks
from autodelta.engine.layout import Layout, Part


def masked(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to scores (batch, 1, 1, keys): the least number where there is no token."""
    if mask is None:
        return None
    return (1 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


def encoder_bias(table: Positions | None, run: Sequence[Part], masks: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Position bias and masks of a run (1 or rows, heads, length, length)."""
    assert table is not None
    where = torch.arange(run[0].length)
    bias = table(run[0].owner, where, where).to(like.dtype)
    mask = stacked_masks([(masks[part.owner], part) for part in run], like)
    return bias if mask is None else bias + mask


def decoder_biases(table: Positions | None, layout: Layout, trees: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Position bias and mask of every run (1, heads, queries, queries)."""
    assert table is not None
    owners = [run[0].owner for run in layout.runs]
    return [table(o, trees[o][0], trees[o][0]).to(trees[o][1].dtype) + trees[o][1] for o in owners]


def further_bias(table: Positions | None, seen: int, more: int, like: Tensor) -> Tensor:
    """Position bias and mask (1, heads, ``more``, ``seen + more``) of the only candidate's tokens after those seen."""
    assert table is not None
    where = torch.arange(seen + more)
    bias = table(0, where[seen:], where).to(like.dtype)
    return bias if more == 1 else bias + _causal(seen + more, like.dtype, like.device)[:, :, seen:]


def tree(
    queries: int, added: int, positions: Tensor | None, seen: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Positions and mask of a decoder's queries with ``added`` ones in front, which all of them see."""
    own = torch.arange(queries) if positions is None else positions.cpu()
    where = torch.cat([torch.arange(added), own + added])
    if seen is None:
        return where, _causal(added + queries, like.dtype, like.device)
    visible = torch.ones(added + queries, added + queries, dtype=torch.bool).tril()
    visible[added:, added:] = seen.cpu()
    return where, _unless(visible, like.dtype, like.device)


@lru_cache(maxsize=64)
def _causal(queries: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Every query sees itself and those before it."""
    return _unless(torch.ones(queries, queries, dtype=torch.bool).tril(), dtype, device)


def _unless(visible: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to scores (1, 1, queries, keys): the least number where a key is not visible."""
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    return devices.onto(mask, device)[None, None]
