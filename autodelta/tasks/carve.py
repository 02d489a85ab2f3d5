"""Carving a validation split out of train, and taking part of a split: stratified, seeded, without a generator.

Rows are ordered by a hash of (seed, text), so what is drawn depends on no library's version.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

SHARE, MOST = 0.1, 1000  # validation is a tenth of train, at most about so many rows, at least one of each class


def carve(labels: Sequence[str], groups: Sequence[str], seed: int) -> list[int]:
    """Which rows go to validation, as ascending indices: a tenth of each class, at most about 1,000 in all.

    Each class is rounded by itself: of 15,000 rows of 150 classes 1,050 go. Changing that would change everybody's.

    Rows of one group (same passage, same input) stay together, and train keeps at least one row of each label, so the
    share of a class that comes in large groups is only about a tenth.
    """
    share = min(SHARE, MOST / len(labels))
    left = Counter(labels)
    quota = {label: max(1, round(share * count)) for label, count in left.items()}
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    taken: list[int] = []
    for group in sorted(members, key=lambda group: _draw(seed, group)):
        wants = Counter(labels[index] for index in members[group])
        if all(quota[label] > 0 and left[label] > count for label, count in wants.items()):
            taken += members[group]
            left -= wants
            for label, count in wants.items():
                quota[label] -= count
    return sorted(taken)


def sample(labels: Sequence[str], texts: Sequence[str], *, size: int, seed: int) -> list[int]:
    """Which rows are drawn, as ascending indices: `size` of them, each class by its share and at least once if it can.

    A larger sample at the same seed holds nearly all of a smaller one.
    """
    members: dict[str, list[int]] = {}
    for index in sorted(range(len(labels)), key=lambda index: _draw(seed, f"{texts[index]}\n{index}")):
        members.setdefault(labels[index], []).append(index)
    # The k-th of n rows of a class stands at (k + 1/2) / n, the first at 0: cutting that order at `size` is stratified.
    placed = [
        ((rank + 0.5) / len(indices) if rank else 0.0, -len(indices), index)
        for indices in members.values()
        for rank, index in enumerate(indices)
    ]
    return sorted(index for _, _, index in sorted(placed)[:size])


def _draw(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{text}".encode()).digest()
