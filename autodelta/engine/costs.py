"""What a pack's step costs on a machine, and so which candidates are packed, and what each of them would take alone.

A step's seconds are a sum of a few terms, each a coefficient that is fitted to measured steps (``calibrate``) times
something that is counted. What is paid once a pass, the blocks that are gone through, is what packing saves; what
is paid for every candidate or token is not. Where a device works beside the program that feeds it (CUDA), a step takes
the longer of the two: launches, or arithmetic. No torch, so that a search can keep the costs among its settings.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from autodelta.frozen import Frozen

K = TypeVar("K", bound=Hashable)
MOST = 8  # trials at a time: more of them gain little more, and a search learns from none of them before it asks
MARGIN = 0.1  # of its solo time that a candidate must save at least to be packed
# What is counted; the first three keep the program busy, the others the device.
TERMS = ("blocks", "slots", "candidates", "gigaflops", "moved", "joins", "trained")
LAUNCHES = 3


class Work(NamedTuple):
    """What one candidate's share of a pass needs."""

    blocks: int  # that its rows go through and are differentiated in
    slots: int
    flops: float  # of frozen products, both ways
    memory_flops: float  # of those with the encoder's output, which candidates may share
    memory: Hashable  # which output that is; None: its own
    moved: float  # numbers that pass through slots; in a pack they are cut apart and joined again
    trained: int  # parameters
    apart: bool  # has products of its own instead of the frozen ones


def counted(works: Sequence[Work]) -> NDArray[np.float64]:
    """What is counted of a pass with these shares, in the order of ``TERMS``."""
    shared = {work.memory: work.memory_flops for work in works if work.memory is not None}
    memories = sum(shared.values()) + sum(work.memory_flops for work in works if work.memory is None)
    moved = sum(work.moved for work in works) / 1e6
    return np.array(
        [
            max(work.blocks for work in works),
            sum(work.slots for work in works),
            len(works),
            (sum(work.flops for work in works) + memories) / 1e9,
            moved,
            moved if len(works) > 1 else 0.0,
            sum(work.trained for work in works) / 1e6,
        ]
    )


class Costs(Frozen):
    """What a machine takes for each thing that is counted."""

    device: str
    seconds_per: tuple[float, ...]  # of each of TERMS
    overlaps: bool  # the device works while the next kernels are launched
    error: float  # median share by which measured steps differed

    def seconds(self, works: Sequence[Work]) -> float:
        """Of one step in which these go together."""
        each = counted(works) * np.array(self.seconds_per)
        launched, computed = float(each[:LAUNCHES].sum()), float(each[LAUNCHES:].sum())
        return max(launched, computed) if self.overlaps else launched + computed

    def gain(self, works: Sequence[Work]) -> float:
        """How many times faster they go together than one after another."""
        return sum(self.seconds([work]) for work in works) / self.seconds(works)

    def groups(self, works: Sequence[Work]) -> list[list[int]]:
        """Which of these are packed together, by their numbers: nobody where that does not pay.

        A candidate joins the pack in which it saves most, if that is more than the model may be wrong by. Candidates
        with products of their own in the place of the backbone's (full, selective and subspace tuning of linear
        layers) share nothing worth it, and stay alone.
        """
        packs: list[list[int]] = []
        least = max(MARGIN, self.error)
        for number, work in enumerate(works):
            alone, best, into = self.seconds([work]), 0.0, None
            for pack in packs:
                if work.apart or works[pack[0]].apart:
                    continue
                together = [works[other] for other in pack]
                saved = alone + self.seconds(together) - self.seconds([*together, work])
                if saved > max(best, least * alone):
                    best, into = saved, pack
            if into is None:
                packs.append([number])
            else:
                into.append(number)
        return packs

    def apart(self, passes: Sequence[Sequence[tuple[K, Work]]], held: float) -> dict[K, tuple[float, float]]:
        """For each candidate of a step: the seconds that it would have taken alone, and its share of those held.

        The model says how much dearer the step was than its parts; that ratio is applied to what was measured, so that
        a machine that is busier than it was at its calibration is no mistake. One candidate alone took what was held.

        Args:
            passes: the candidates that went together, pass by pass, with their work.
            held: seconds that the step took.
        """
        alone: dict[K, float] = {}
        for candidate, work in (one for together in passes for one in together):
            alone[candidate] = alone.get(candidate, 0.0) + self.seconds([work])
        foreseen = sum(self.seconds([work for _, work in together]) for together in passes)
        whole = sum(alone.values())
        return {one: (seconds * held / foreseen, seconds * held / whole) for one, seconds in alone.items()}


# Of a core with AVX-512 BF16 and nano, where nothing was calibrated: good for shares of a pack's time, not to decide.
PLAIN = Costs(
    device="cpu", seconds_per=(1.1e-3, 0.0, 1.6e-3, 4.3e-3, 3.8e-3, 2.1e-3, 5.2e-2), overlaps=False, error=1.0
)
