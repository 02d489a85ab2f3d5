"""What a pack's step costs on a machine, and so which candidates are packed, and what each of them would take alone.

A step's seconds are a sum of a few terms, each a coefficient that is fitted to measured steps (``calibrate``) times
something that is counted. What is paid once a pass, the blocks that are gone through, is what packing saves; what
is paid for every candidate or token is not. Where a device works beside the program that feeds it (CUDA), a step takes
the longer of the two: launches, or arithmetic.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import nnls

from autodelta.deltas.compose import Composition
from autodelta.deltas.difference import DifferenceSlot
from autodelta.shape import BackboneShape, Kind, Stack

K = TypeVar("K", bound=Hashable)
MARGIN = 0.1  # of its solo time that a candidate must save at least to be packed
# What is counted; the first three keep the program busy, the others the device.
TERMS = ("blocks", "slots", "candidates", "gigaflops", "moved", "joins", "trained")
LAUNCHES = 3
STARTS = 9  # of a fit that has no single best answer


class Work(NamedTuple):
    """What one candidate's share of a pass needs."""

    blocks: int  # that its rows go through and are differentiated in
    slots: int
    flops: float  # of frozen products, both ways
    memory_flops: float  # of those with the encoder's output, which candidates may share
    memory: Hashable  # which output that is; None: its own
    moved: float  # numbers that pass through slots
    tokens: float  # times width, that are cut apart and joined again in a pack
    trained: int  # parameters
    apart: bool  # has products of its own instead of the frozen ones


class Demand:
    """What a candidate's deltas need on a backbone, for batches of any size."""

    def __init__(self, shape: BackboneShape, composition: Composition, depth: int) -> None:
        self.shape = shape
        self.live = max(0, shape.encoder_blocks - depth)  # encoder blocks that are differentiated
        self.frozen_memory = depth > shape.encoder_blocks
        self.trained = sum(p.numel() for p in composition.parameters() if p.requires_grad)
        sites = [(site, slots) for site, slots in composition.slots.items()]
        self.slots: dict[Stack, int] = {"encoder": 0, "decoder": 0}
        for site, slots in sites:
            self.slots[site.stack] += len(slots)
        self.apart = any(
            shape.kind(site) == Kind.LINEAR and isinstance(slots[0], DifferenceSlot) for site, slots in sites
        )

    def at(self, rows: int, length: int, target: int, *, memory: Hashable = None) -> Work:
        """The work of a pass over rows of that length, with targets of that length.

        Args:
            rows: in the pass.
            length: of the inputs.
            target: of the targets.
            memory: names the encoder's output where others may read the same one.
        """
        s, inner = self.shape, self.shape.num_heads * self.shape.d_kv
        network = s.d_model * s.d_ff * (3 if s.gated else 2)
        read, written = rows * length, rows * target
        encoder = self.live * read * (2 * (4 * s.d_model * inner + network) + 4 * length * inner)
        decoder = s.decoder_blocks * written * (2 * (6 * s.d_model * inner + network) + 4 * (length + target) * inner)
        head = 2 * written * s.d_model * s.vocab_size
        slotted = self.slots["encoder"] * read + self.slots["decoder"] * written
        return Work(
            blocks=self.live + s.decoder_blocks,
            slots=sum(self.slots.values()),
            flops=2.0 * (encoder + decoder + head),
            memory_flops=s.decoder_blocks * read * 4.0 * s.d_model * inner * (1 if self.frozen_memory else 2),
            memory=memory if self.frozen_memory else None,
            moved=float(slotted * s.d_model),
            tokens=float(slotted * s.d_model),
            trained=self.trained,
            apart=self.apart,
        )


def counted(works: Sequence[Work]) -> NDArray[np.float64]:
    """What is counted of a pass with these shares, in the order of ``TERMS``."""
    shared = {work.memory: work.memory_flops for work in works if work.memory is not None}
    memories = sum(shared.values()) + sum(work.memory_flops for work in works if work.memory is None)
    return np.array(
        [
            max(work.blocks for work in works),
            sum(work.slots for work in works),
            len(works),
            (sum(work.flops for work in works) + memories) / 1e9,
            sum(work.moved for work in works) / 1e6,
            sum(work.tokens for work in works) / 1e6 if len(works) > 1 else 0.0,
            sum(work.trained for work in works) / 1e6,
        ]
    )


class Costs(BaseModel):
    """What a machine takes for each thing that is counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    def groups(self, works: Sequence[Work], *, most: int = 64) -> list[list[int]]:
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
                if len(pack) == most or work.apart or works[pack[0]].apart:
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


def fitted(device: str, passes: Sequence[Sequence[Work]], seconds: Sequence[float], *, may_overlap: bool) -> Costs:
    """The costs that explain measured passes best, in relative error.

    Args:
        device: what it is called.
        passes: the work of each.
        seconds: that each took.
        may_overlap: the device works while it is fed; then whichever explains better, a sum or the longer of two parts.

    Raises:
        ValueError: fewer passes than terms were measured.
    """
    if len(passes) < len(TERMS):
        raise ValueError(f"at least {len(TERMS)} passes are needed to fit the costs, not {len(passes)}")
    table, measured = np.stack([counted(works) for works in passes]), np.asarray(seconds)
    found = [_least_squares(table, measured)]
    if may_overlap:
        found += [_overlapping(table, measured, share) for share in np.linspace(0, 1, STARTS)]
    models = []
    for number, values in enumerate(found):
        model = Costs(device=device, seconds_per=tuple(map(float, values)), overlaps=number > 0, error=0.0)
        wrong = np.abs(np.array([model.seconds(works) for works in passes]) / measured - 1)
        models.append(model.model_copy(update={"error": float(np.median(wrong))}))
    return min(models, key=lambda model: model.error)


def _least_squares(table: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients, none of them negative, of the least relative error."""
    scale = np.maximum(table.max(axis=0), 1e-12)
    values, _ = nnls(table / scale / seconds[:, None], np.ones(len(seconds)))
    found: NDArray[np.float64] = values / scale
    return found


def _overlapping(table: NDArray[np.float64], seconds: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Coefficients of the longer of two parts: in turn, which part rules a pass, and what explains those that it rules.

    To begin with, launches rule that ``share`` of the passes which has the least arithmetic a block.
    """
    arithmetic = table[:, TERMS.index("gigaflops")] / table[:, TERMS.index("blocks")]
    launched = arithmetic <= np.quantile(arithmetic, share)
    values = np.zeros(len(TERMS))
    for _ in range(20):
        for part, ruled in ((slice(0, LAUNCHES), launched), (slice(LAUNCHES, None), ~launched)):
            if ruled.any():
                values[part] = _least_squares(table[ruled, part], seconds[ruled])
        before = launched
        launched = table[:, :LAUNCHES] @ values[:LAUNCHES] >= table[:, LAUNCHES:] @ values[LAUNCHES:]
        if (launched == before).all():
            break
    return values
