"""Folds over tasks in which tasks of one family never lie on both sides."""

from collections.abc import Sequence

import numpy as np

from autodelta.meta.problem import Integers

# Tasks made of the same or of neighbouring rows: what one of them teaches of another is no transfer.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("sst2", "sst5", "mr", "subj", "mpqa"),  # film reviews, the same sentences in part
    ("reviews_",),
    ("tweeteval_", "hate_offensive"),
    ("dnc_",),
    # premises and hypotheses; QNLI and WNLI are recast to be such, the latter from WSC
    ("mnli", "mnli_mismatched", "snli", "rte", "wnli", "wsc", "qnli", "cb"),
    ("banking77", "clinc150", "snips", "atis"),  # intents
    ("openbookqa", "arc_easy"),
    ("cola", "blimp"),
    ("emotion", "goemotions"),
    ("citation_intent", "csabstruct", "scifact"),  # scientific prose
)


def family(task: str) -> str:
    """The family of a task by its name as tables write it: `sst2@500` is of that of `mr`."""
    name = task.partition("@")[0]
    if name.startswith("demo/"):
        return name.partition("?")[0]
    for group in FAMILIES:
        if any(name == known or (known.endswith("_") and name.startswith(known)) for known in group):
            return group[0].rstrip("_")
    return name


def folds(families: Sequence[str], number: int, *, seed: int = 0) -> Integers:
    """The fold of each task, (tasks,), from 0: families are dealt out, large ones first, to the fold that has least."""
    rng = np.random.default_rng(seed)
    names, at, counts = np.unique(np.asarray(families), return_inverse=True, return_counts=True)
    order = sorted(rng.permutation(len(names)), key=lambda name: -counts[name])
    sizes = np.zeros(number, dtype=np.int64)
    chosen = np.zeros(len(names), dtype=np.int64)
    for name in order:
        chosen[name] = int(sizes.argmin())
        sizes[chosen[name]] += counts[name]
    return np.asarray(chosen[at], dtype=np.int64)
