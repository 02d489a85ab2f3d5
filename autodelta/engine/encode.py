"""Tokenised splits of a task, and the order in which training walks through them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autodelta.backbones import Backbone
from autodelta.errors import UserError
from autodelta.tasks import Task, View

MAX_INPUT_TOKENS = 256
POOL_BATCHES = 16  # batches sorted by length together, so that a batch's rows are of about one length


@dataclass(frozen=True)
class Encoded:
    """One split as token ids: inputs (ragged), the index of each row's label, and every label's target ids. Of an
    open-ended task each different answer of the split takes a label's place."""

    inputs: tuple[NDArray[np.int64], ...]
    labels: NDArray[np.int64]  # (rows,)
    targets: tuple[NDArray[np.int64], ...]  # per label, closed by </s>
    pad: int
    answers: tuple[str, ...] = ()  # of an open-ended task: the text of each target

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each input, (rows,)."""
        return np.array([len(ids) for ids in self.inputs])

    @cached_property
    def sha256(self) -> str:
        """What identifies rows, labels and label words, in one vocabulary."""
        digest = hashlib.sha256()
        for part in (self.lengths, *self.inputs, self.labels, [len(ids) for ids in self.targets], *self.targets):
            digest.update(np.asarray(part, dtype=np.int64).tobytes())
        return digest.hexdigest()

    def by_length(self) -> NDArray[np.int64]:
        """Row numbers from the longest input to the shortest: the order in which a split is scored."""
        return np.argsort(-self.lengths, kind="stable")

    def only(self, rows: NDArray[np.int64]) -> "Encoded":
        """A split of these rows alone."""
        return replace(self, inputs=tuple(self.inputs[row] for row in rows), labels=self.labels[rows])


@dataclass(frozen=True)
class Batch:
    """Padded rows: input_ids and mask (batch, length), target ids (batch, target_length) with -100 where padded; the
    number of each row's label (batch,), and every label's target ids."""

    input_ids: Tensor
    mask: Tensor
    targets: Tensor
    labels: Tensor
    words: tuple[NDArray[np.int64], ...]

    @property
    def tokens(self) -> int:
        """Positions that the stacks compute, padding included."""
        return self.input_ids.numel() + self.targets.numel()

    @property
    def target_tokens(self) -> int:
        """Targets that count in the loss."""
        return int(self.targets.ne(-100).sum())

    def parts(self, rows: int) -> Iterator["Batch"]:
        """The batch in parts of so many rows, the last one perhaps of fewer."""
        whole = (self.input_ids, self.mask, self.targets, self.labels)
        for ids, mask, targets, labels in zip(*(tensor.split(rows) for tensor in whole), strict=True):
            yield Batch(ids, mask, targets, labels, self.words)


def encode(backbone: Backbone, task: Task, split: str) -> Encoded:
    """The split's rows in the backbone's vocabulary."""
    examples = task.examples(split)
    known = task.labels or tuple(dict.fromkeys(example.label for example in examples))
    index = {label: number for number, label in enumerate(known)}
    found = replace(
        encode_unlabelled(backbone, task, [example.input for example in examples]),
        labels=np.array([index[example.label] for example in examples], dtype=np.int64),
    )
    if not task.open_ended:
        return found
    return replace(found, targets=encode_texts(backbone, known, most=task.max_new_tokens), answers=known)


def encode_unlabelled(backbone: Backbone, view: View, inputs: Sequence[str]) -> Encoded:
    """Input texts in the backbone's vocabulary, with the label words of a view to rank; the rows' labels are -1."""
    return Encoded(
        inputs=encode_texts(backbone, inputs),
        labels=np.full(len(inputs), -1),
        targets=encode_labels(backbone, [view.words[label] for label in view.labels]),
        pad=backbone.tokenizer.pad_token_id,
    )


def encode_texts(
    backbone: Backbone, texts: Sequence[str], *, most: int = MAX_INPUT_TOKENS
) -> tuple[NDArray[np.int64], ...]:
    """Token ids of each text, closed by </s>; longer ones are cut at ``most``."""
    if not texts:
        return ()
    ids = backbone.tokenizer(list(texts), truncation=True, max_length=most)["input_ids"]
    return tuple(np.asarray(row, dtype=np.int64) for row in ids)


def longer(backbone: Backbone, texts: Sequence[str], *, most: int = MAX_INPUT_TOKENS) -> int:
    """How many of these texts are longer than ``most`` tokens, so that their end is cut off."""
    ids = backbone.tokenizer(list(texts), truncation=True, max_length=most + 1)["input_ids"]
    return sum(len(row) > most for row in ids)


def encode_labels(backbone: Backbone, words: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
    """Target ids of every label word.

    Raises:
        UserError: two label words become the same tokens, so that the model cannot tell them apart.
    """
    targets = encode_texts(backbone, words)
    seen: dict[tuple[int, ...], str] = {}
    for word, ids in zip(words, targets, strict=True):
        key = tuple(ids.tolist())
        if key in seen:
            raise UserError(f"label words {seen[key]!r} and {word!r} are the same to {backbone.name}'s tokenizer")
        seen[key] = word
    return targets


def batches(encoded: Encoded, *, batch_size: int, seed: int, first_step: int = 0) -> Iterator[Batch]:
    """Endless training batches: each epoch a fresh order, rows of about one length together.

    The batch of a step depends on (seed, step) alone, so training can go on from any step.
    """
    for rows in batch_rows(encoded, batch_size=batch_size, seed=seed, first_step=first_step):
        yield collate(encoded, rows)


def batch_rows(encoded: Encoded, *, batch_size: int, seed: int, first_step: int = 0) -> Iterator[NDArray[np.int64]]:
    """The row numbers of each of these batches."""
    steps_per_epoch = max(1, len(encoded) // batch_size)
    step = first_step
    while True:
        epoch, at = divmod(step, steps_per_epoch)
        order = _epoch_order(encoded, batch_size, np.random.default_rng([seed, epoch]))
        yield from order[at:]
        step += len(order) - at


def _epoch_order(encoded: Encoded, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers of each batch of one epoch; the rows of a last, incomplete batch are left out, others each time."""
    if len(encoded) < batch_size:
        return [rng.permutation(len(encoded))]
    shuffled = rng.permutation(len(encoded))[: len(encoded) // batch_size * batch_size]
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(shuffled), POOL_BATCHES * batch_size):
        pool = shuffled[start : start + POOL_BATCHES * batch_size]
        pool = pool[np.argsort([len(encoded.inputs[row]) for row in pool], kind="stable")]
        found += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [found[number] for number in rng.permutation(len(found))]


def collate(encoded: Encoded, rows: NDArray[np.int64]) -> Batch:
    """The batch of these rows."""
    ids, mask = padded([encoded.inputs[row] for row in rows], encoded.pad)
    targets = pad([encoded.targets[encoded.labels[row]] for row in rows], -100)
    labels = torch.from_numpy(encoded.labels[rows])
    return Batch(ids, mask, targets, labels, encoded.targets)


def padded(rows: Sequence[NDArray[np.int64]], value: int) -> tuple[Tensor, Tensor]:
    """Inputs of different lengths as one tensor, and their mask: both (rows, longest).

    The mask is of lengths, as the value may stand in a row, too: tokenizers make the padding's token of the text
    `<pad>`, and a T5 sees it as any other.
    """
    ids, lengths = pad(rows, value), torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1]).lt(lengths[:, None]).long()


def pad(rows: Sequence[NDArray[np.int64]], value: int) -> Tensor:
    """Rows of different lengths as one tensor (rows, longest)."""
    out = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return torch.from_numpy(out)
