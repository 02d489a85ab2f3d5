"""Log-likelihoods of all label words in one decoder pass a row: words share their beginnings, like a tree's branches.

A node of the tree is a beginning of a label's target; it sees the nodes that it grew out of, and stands as far from the
start as it is long. So every decoder position is computed once, and every label reads its tokens' probabilities from
the nodes on its way. Among the labels alone, a token's probability is its share of the tokens that go on from its node:
where only one does it is 1, and nothing is computed there. Source of the scores: ``evaluate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autodelta.engine import devices
from autodelta.engine.forward import Forward, Memory
from autodelta.errors import UserError

Ids = tuple[int, ...]
POSITIONS = 128  # of the decoder whose logits are looked at together: as many as stay in a CPU's cache


@dataclass(frozen=True)
class LabelTree:
    """The beginnings of targets, and where each label reads its tokens."""

    tokens: Tensor  # (nodes,) decoder inputs
    positions: Tensor  # (nodes,)
    seen: Tensor  # (nodes, nodes) whether a node (row) sees another
    nodes: Tensor  # (reads,) where a token's probability is read
    words: Tensor  # (words,) the tokens that are read anywhere
    read: Tensor  # (reads,) which of ``words``
    labels: Tensor  # (reads,) whose it is
    count: int  # of labels
    follow: Tensor | None  # (nodes, words) which go on from a node: the choice is among these; None: among all tokens

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
    nodes, tokens, labels = torch.tensor(reads).T
    words, read = torch.unique(tokens, return_inverse=True)
    return LabelTree(
        tokens=torch.tensor([one[-1] if one else start for one in beginnings]),
        positions=torch.tensor([len(one) for one in beginnings]),
        seen=torch.tensor([[one[: len(other)] == other for other in beginnings] for one in beginnings]),
        nodes=nodes,
        words=words,
        read=read,
        labels=labels,
        count=len(targets),
        follow=_follow(beginnings, asked, words.tolist()) if among else None,
    )


def _follow(beginnings: Sequence[Ids], asked: Mapping[Ids, set[int]], words: Sequence[int]) -> Tensor:
    return torch.tensor([[word in asked.get(node, words) for word in words] for node in beginnings])


def log_likelihoods(forward: Forward, memory: Memory, tree: LabelTree) -> Tensor:
    """(rows, labels) for the rows of a memory; float32, or float64 if the backbone is."""
    device, rows = memory.hidden.device, len(memory.hidden)
    ids = devices.onto(tree.tokens, device).expand(rows, -1)
    hidden = forward.decode(ids, memory, positions=tree.positions, seen=tree.seen)
    at_once = rows if tree.follow is not None or device.type != "cpu" else max(1, POSITIONS // len(tree))
    read = torch.cat([_read(forward, part, tree) for part in hidden.split(at_once)])
    found = torch.zeros(rows, tree.count, dtype=read.dtype, device=device)
    return found.index_add_(1, devices.onto(tree.labels, device), read)


def _read(forward: Forward, hidden: Tensor, tree: LabelTree) -> Tensor:
    """Log-probabilities (rows, reads) of what the labels read at decoder hidden states (rows, nodes, d_model).

    What is read is computed in float32: in bfloat16 labels tie, and the first one of the list would win. The sum over
    the vocabulary, which all labels share, is of what the backbone computes.
    """
    device = hidden.device
    own = forward.logits(hidden, devices.onto(tree.words, device))
    if tree.follow is not None:
        own = own.masked_fill(~devices.onto(tree.follow, device), float("-inf"))
    every = own if tree.follow is not None else forward.logits(hidden)
    own, every = (one.to(torch.promote_types(one.dtype, torch.float32)) for one in (own, every))
    logs = own - every.logsumexp(dim=-1, keepdim=True)
    return logs[:, devices.onto(tree.nodes, device), devices.onto(tree.read, device)]
