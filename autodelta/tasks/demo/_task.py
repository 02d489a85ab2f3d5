"""What a demo task is, and how its rows are drawn: seeded, balanced over labels, no row in two splits."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.errors import UserError, one_of
from autodelta.frozen import Frozen

SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""The share of all rows that a task can make which belongs to each split."""

RESERVED_SHARE = 0.1
MOST_ROWS = 1_000_000  # of a split: they are drawn into memory
PATIENCE = 5000

Fields = dict[str, str]


class DemoInfo(Frozen):
    """A demo task as it is seen from outside: its view, and the sizes and settings it is drawn with by default."""

    name: str
    description: str
    kind: str
    labels: tuple[str, ...]
    words: dict[str, str]
    inputs: tuple[str, ...]
    template: str
    metric: str = "accuracy"
    train_size: int = 1500
    validation_size: int = 300
    test_size: int = 500
    label_noise: float = 0.0
    difficulty: float = 0.5

    def size(self, split: str) -> int:
        """The default number of rows of a split.

        Raises:
            UserError: no split has this name.
        """
        sizes = {"train": self.train_size, "validation": self.validation_size, "test": self.test_size}
        if split not in sizes:
            raise one_of("split", split, sizes)
        return sizes[split]


class DemoTask(NamedTuple):
    """A demo task's public face and its generator.

    ``draw(rng, label, difficulty)`` makes the fields of one row of that label; ``difficulty`` runs from 0 to 1.
    A tenth of ``open_words`` never occurs in train, so that a test of the task asks what a word is like, and not
    only whether it was seen with a label.
    """

    info: DemoInfo
    draw: Callable[[np.random.Generator, str, float], Fields]
    open_words: frozenset[str] = frozenset()


def _share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same on every machine and under every seed."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def split_of(inputs: Sequence[str]) -> str:
    """The one split that a row with these input texts belongs to."""
    share = _share("\n".join(inputs))
    for split, width in SPLITS.items():
        if share < width:
            return split
        share -= width
    return "test"


def reserved_words(task: DemoTask) -> frozenset[str]:
    """The open words that train never shows."""
    return frozenset(word for word in task.open_words if _share(f"{task.info.name} {word}") < RESERVED_SHARE)


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _check(name: str, *, size: int, seed: int, label_noise: float, difficulty: float) -> None:
    if not 1 <= size <= MOST_ROWS:
        raise UserError(f"the size of demo task {name!r} must lie from 1 to {MOST_ROWS:,}, not {size}")
    if seed < 0:
        raise UserError(f"the seed of demo task {name!r} must be at least 0, not {seed}")
    if not 0 <= label_noise < 1:
        raise UserError(f"the label noise of demo task {name!r} must be at least 0 and below 1, not {label_noise}")
    if not 0 <= difficulty <= 1:
        raise UserError(f"the difficulty of demo task {name!r} must lie between 0 and 1, not {difficulty}")


def draw_rows(
    task: DemoTask, *, split: str, size: int, seed: int, label_noise: float, difficulty: float
) -> list[Fields]:
    """``size`` distinct rows of one split, each label as often as the others, with a ``label`` beside the fields.

    Label noise gives that share of the *train* rows another label, drawn evenly; validation and test stay clean.

    Raises:
        UserError: a value out of its range, or more rows than the task can make.
    """
    info = task.info
    if split not in SPLITS:
        raise one_of("split", split, SPLITS)
    _check(info.name, size=size, seed=seed, label_noise=label_noise, difficulty=difficulty)
    source = [seed, list(SPLITS).index(split), zlib.crc32(info.name.encode())]
    rng = np.random.default_rng(source)
    absent = reserved_words(task) if split == "train" else frozenset()
    rows: list[Fields] = []
    seen: set[str] = set()
    labels: list[str] = []
    while len(rows) < size:
        if not labels:
            labels = [info.labels[i] for i in rng.permutation(len(info.labels))]
        label = labels.pop()
        rows.append({**_fresh(task, rng, label, difficulty, split=split, absent=absent, seen=seen), "label": label})
    if split == "train":
        _add_noise(rows, info.labels, label_noise, np.random.default_rng([*source, 1]))
    return rows


def _fresh(
    task: DemoTask,
    rng: np.random.Generator,
    label: str,
    difficulty: float,
    *,
    split: str,
    absent: frozenset[str],
    seen: set[str],
) -> Fields:
    """A row that belongs to the split and was not drawn before; ``seen`` remembers it."""
    for _ in range(PATIENCE):
        fields = task.draw(rng, label, difficulty)
        inputs = [fields[name] for name in task.info.inputs]
        text = "\n".join(inputs)
        if text not in seen and split_of(inputs) == split and not (absent and absent & _words(text)):
            seen.add(text)
            return fields
    raise UserError(
        f"demo task {task.info.name!r} at difficulty {difficulty:g} has little more than {len(seen)} different rows "
        f"for {split!r}; ask for fewer"
    )


def _add_noise(rows: list[Fields], labels: tuple[str, ...], share: float, rng: np.random.Generator) -> None:
    for at in rng.choice(len(rows), size=round(share * len(rows)), replace=False):
        others = [label for label in labels if label != rows[at]["label"]]
        rows[at]["label"] = others[rng.integers(len(others))]
