"""What training lowers: the cross-entropy of the label's text, or of the label among the task's labels alone."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from autodelta.candidate import TEXT, Loss
from autodelta.engine import devices
from autodelta.engine.encode import Batch
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.labels import LabelTree, log_likelihoods


def mean_loss(forward: Forward, memory: Memory, batch: Batch, kind: Loss) -> Tensor:
    """The mean over what ``counted`` counts, nats; the memory is that of the batch's inputs.

    Raises:
        UserError: a loss over labels, of a task that has none.
    """
    if kind == TEXT:
        return forward.loss(memory, batch.targets)
    tree = LabelTree.of(batch.words, start=forward.start, among=True)
    return functional.nll_loss(log_likelihoods(forward, memory, tree), devices.onto(batch.labels, memory.hidden.device))


def mean_losses(
    together: Forward,
    alone: Sequence[Forward],
    memories: Sequence[Memory],
    batches: Sequence[Batch],
    kinds: Sequence[Loss],
) -> list[Tensor]:
    """``mean_loss`` of each candidate of a pack: if all are of texts, in one pass of the decoder."""
    if all(kind == TEXT for kind in kinds):
        return together.losses(memories, [batch.targets for batch in batches])
    each = zip(alone, memories, batches, kinds, strict=True)
    return [mean_loss(forward, memory, batch, kind) for forward, memory, batch, kind in each]


def counted(batch: Batch, kind: Loss) -> int:
    """What a batch's loss is the mean of: target tokens, or rows."""
    return batch.target_tokens if kind == TEXT else len(batch.labels)
