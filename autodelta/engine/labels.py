"""Log-likelihoods of all label words in one decoder pass a row: words share their beginnings, like a tree's branches.

A node of the tree is a beginning of a label's target; it sees the nodes that it grew out of, and stands as far from the
start as it is long. So every decoder position is computed once, and every label reads its tokens' probabilities from
the nodes on its way. Among the labels alone, a token's probability is its share of the tokens that go on from its node:
where only one does it is 1, and nothing is computed there. Source of the scores: ``evaluate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from autodelta.engine import devices
from autodelta.engine.forward import Forward, Memory
from autodelta.errors import UserError

Ids = tuple[int, ...]
POSITIONS = 128  # of the decoder whose logits are looked at together: as many as stay in a CPU's cache


class Words(NamedTuple):
    """The tokens that a choice is among: their ids (tokens,), and which of them go on from a node (nodes, tokens)."""

    tokens: Tensor
    follow: Tensor


@dataclass(frozen=True)
class LabelTree:
    """The beginnings of targets, and where each label reads its tokens."""

    tokens: Tensor  # (nodes,) decoder inputs
    positions: Tensor  # (nodes,)
    seen: Tensor  # (nodes, nodes) whether a node (row) sees another
    nodes: Tensor  # (reads,) where a token's probability is read
    read: Tensor  # (reads,) which token, by its number among ``words``
    labels: Tensor  # (reads,) whose it is
    count: int  # of labels
    words: Words | None  # None: the whole vocabulary

    @classmethod
    def of(cls, targets: Sequence[NDArray[np.int64]], *, start: int, among: bool = False) -> "LabelTree":
        """The tree of label targets, each closed by ``</s>``.

        Args:
            targets: of every label.
            start: the decoder's first input.
            among: whether a token's probability is among those that go on to a label, instead of all tokens.

        Raises:
            UserError: there is no choice between labels.
        """
        if len(targets) < 2:
            raise UserError(
                f"labels are ranked where a task has a fixed set of them, two at least, not {len(targets)}; "
                "an open-ended task trains with the loss 'text'"
            )
        return _tree(tuple(tuple(target.tolist()) for target in targets), start, among)

    def __len__(self) -> int:
        return len(self.tokens)


@lru_cache(maxsize=32)
def _tree(targets: tuple[Ids, ...], start: int, among: bool) -> LabelTree:
    following: dict[Ids, set[int]] = {}
    for ids in targets:
        for length, token in enumerate(ids):
            following.setdefault(ids[:length], set()).add(token)
    asked = {node: tokens for node, tokens in following.items() if len(tokens) > 1 or not among}
    beginnings = [node for node in following if any(other[: len(node)] == node for other in asked)]
    numbers = {node: number for number, node in enumerate(beginnings)}
    reads = [
        (numbers[ids[:length]], token, label)
        for label, ids in enumerate(targets)
        for length, token in enumerate(ids)
        if ids[:length] in asked
    ]
    nodes, read, labels = torch.tensor(reads).T
    words = _words(beginnings, asked) if among else None
    return LabelTree(
        tokens=torch.tensor([one[-1] if one else start for one in beginnings]),
        positions=torch.tensor([len(one) for one in beginnings]),
        seen=torch.tensor([[one[: len(other)] == other for other in beginnings] for one in beginnings]),
        nodes=nodes,
        read=read if words is None else torch.searchsorted(words.tokens, read.contiguous()),
        labels=labels,
        count=len(targets),
        words=words,
    )


def _words(beginnings: Sequence[Ids], asked: Mapping[Ids, set[int]]) -> Words:
    tokens = sorted(set().union(*asked.values()))
    return Words(
        tokens=torch.tensor(tokens),
        follow=torch.tensor([[token in asked.get(node, tokens) for token in tokens] for node in beginnings]),
    )


def log_likelihoods(forward: Forward, memory: Memory, tree: LabelTree) -> Tensor:
    """(rows, labels) for the rows of a memory; float32, or float64 if the backbone is."""
    device, rows = memory.hidden.device, len(memory.hidden)
    ids = devices.onto(tree.tokens, device).expand(rows, -1)
    hidden = forward.decode(ids, memory, positions=tree.positions, seen=tree.seen)
    at_once = rows if tree.words is not None or device.type != "cpu" else max(1, POSITIONS // len(tree))
    read = torch.cat([_read(forward, part, tree) for part in hidden.split(at_once)])
    found = torch.zeros(rows, tree.count, dtype=read.dtype, device=device)
    return found.index_add_(1, devices.onto(tree.labels, device), read)


def _read(forward: Forward, hidden: Tensor, tree: LabelTree) -> Tensor:
    """Log-probabilities (rows, reads) of what the labels read at decoder hidden states (rows, nodes, d_model)."""
    device = hidden.device
    logits = forward.logits(hidden, None if tree.words is None else devices.onto(tree.words.tokens, device))
    if tree.words is not None:
        logits = logits.masked_fill(~devices.onto(tree.words.follow, device), float("-inf"))
    logs = functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    return logs[:, devices.onto(tree.nodes, device), devices.onto(tree.read, device)]
