"""Log-likelihoods of all label words in one decoder pass a row: words share their beginnings, like a tree's branches.

A node of the tree is a beginning of a label's target; it sees the nodes that it grew out of, and stands as far from the
start as it is long. So every decoder position is computed once, and every label reads its tokens' probabilities from
the nodes on its way. Source of the scores: ``evaluate``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from autodelta.engine.forward import Forward, Memory


@dataclass(frozen=True)
class LabelTree:
    """The beginnings of all targets, and where each label reads its tokens."""

    tokens: Tensor  # (nodes,) decoder inputs
    positions: Tensor  # (nodes,)
    seen: Tensor  # (nodes, nodes) whether a node (row) sees another
    nodes: Tensor  # (reads,) where a token's probability is read
    read: Tensor  # (reads,) which token
    labels: Tensor  # (reads,) whose it is
    count: int  # of labels

    @classmethod
    def of(cls, targets: Sequence[NDArray[np.int64]], *, start: int) -> "LabelTree":
        """The tree of label targets, each closed by ``</s>``; ``start`` is the decoder's first input."""
        numbers: dict[tuple[int, ...], int] = {}
        reads: list[tuple[int, int, int]] = []
        for label, target in enumerate(targets):
            ids = tuple(int(token) for token in target)
            for length, token in enumerate(ids):
                node = numbers.setdefault(ids[:length], len(numbers))
                reads.append((node, token, label))
        beginnings = list(numbers)
        seen = [[one[: len(other)] == other for other in beginnings] for one in beginnings]
        columns = torch.tensor(reads).T
        return cls(
            tokens=torch.tensor([one[-1] if one else start for one in beginnings]),
            positions=torch.tensor([len(one) for one in beginnings]),
            seen=torch.tensor(seen),
            nodes=columns[0],
            read=columns[1],
            labels=columns[2],
            count=len(targets),
        )

    def __len__(self) -> int:
        return len(self.tokens)


def log_likelihoods(forward: Forward, memory: Memory, tree: LabelTree) -> Tensor:
    """(rows, labels) for the rows of a memory; float32, or float64 if the backbone is."""
    device, rows = memory.hidden.device, len(memory.hidden)
    ids = tree.tokens.to(device).expand(rows, -1)
    hidden = forward.decode(ids, memory, positions=tree.positions, seen=tree.seen)
    logits = forward.logits(hidden)
    logs = functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    read = logs[:, tree.nodes.to(device), tree.read.to(device)]
    found = torch.zeros(rows, tree.count, dtype=read.dtype, device=device)
    return found.index_add_(1, tree.labels.to(device), read)
