"""What a candidate needs of a pass, and the fit of a machine's costs to measured ones."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from autodelta.deltas.compose import Composition
from autodelta.deltas.difference import DifferenceSlot
from autodelta.engine.activations import named
from autodelta.engine.costs import LAUNCHES, TERMS, Costs, Work, counted
from autodelta.engine.encode import Batch
from autodelta.shape import BackboneShape, Kind, Stack

STARTS = 9  # of a fit that has no single best answer


class Demand:
    """What a candidate's deltas need on a backbone, for batches of any size."""

    def __init__(self, shape: BackboneShape, composition: Composition, depth: int) -> None:
        self.shape = shape
        self.live = max(0, shape.encoder_blocks - depth)  # encoder blocks that are differentiated
        self.frozen_memory = depth > shape.encoder_blocks
        self.trained = sum(p.numel() for p in composition.parameters() if p.requires_grad)
        self.slots: dict[Stack, int] = {"encoder": 0, "decoder": 0}
        for site, slots in composition.slots.items():
            self.slots[site.stack] += len(slots)
        self.apart = any(
            shape.kind(site) == Kind.LINEAR and isinstance(slots[0], DifferenceSlot)
            for site, slots in composition.slots.items()
        )

    def on(self, batch: Batch) -> Work:
        """The work of a pass over the batch."""
        (rows, length), target = batch.input_ids.shape, batch.targets.shape[1]
        return self.at(rows, length, target, memory=named(batch.input_ids))

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
            trained=self.trained,
            apart=self.apart,
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
