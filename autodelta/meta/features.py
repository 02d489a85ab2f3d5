"""Features of a task, from its train and validation rows alone, in seconds: what a meta-learner knows before any trial.

The list is fixed: a name that is added, dropped or computed otherwise is a new ``VERSION``. Sizes and lengths are
logarithms, as they act by their order of magnitude.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from autodelta.meta.landmark import landmarks
from autodelta.shape import BackboneShape
from autodelta.tasks import Task
from autodelta.tasks.task import Rows

VERSION = 1
SAMPLE = 2000  # rows of train that lengths, words and overlap are taken from
WORDS = 5000  # running words for the type-token ratio, which falls with the length of a text
QUANTILES = (10, 50, 90)
WORD = re.compile(r"\w+")

# Kinds as the cards of tasks name them, in groups: a kind of one task alone would teach nothing about another.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "sentiment": ("sentiment", "emotion", "hate", "irony", "stance", "preference"),
    "topic": ("topic", "intent", "question_type", "citation", "subjectivity"),
    "inference": ("nli", "entailment", "fact_check"),
    "paraphrase": ("paraphrase", "similarity"),
    "acceptability": ("acceptability",),
    "answer": ("qa_yesno", "question_answering", "multiple_choice", "commonsense", "numeric_reasoning"),
    "word": ("word_sense", "coreference", "relation", "temporal_order"),
}
OTHER = "other"

SIZES = ("log_train_rows", "log_validation_rows", "log_rows_per_label")
BALANCE = ("log_labels", "label_entropy", "majority_share", "minority_share", "ordinal")
LENGTHS = tuple(
    f"{unit}_{what}"
    for unit in ("log_chars", "log_words")
    for what in ("mean", "sd", *(f"q{quantile}" for quantile in QUANTILES))
)
VOCABULARY = ("type_token_ratio", "once_share", "unseen_share")
PAIR = ("fields", "is_pair", "overlap_mean", "overlap_sd", "overlap_by_label", "length_ratio_mean", "length_ratio_sd")
LANDMARKS = ("tfidf_few", "tfidf_many", "tfidf_gain", "tfidf_above_majority")
KINDS = tuple(f"kind_{group}" for group in (*GROUPS, OTHER))
FEATURES = (*SIZES, *BALANCE, *LENGTHS, *VOCABULARY, *PAIR, *LANDMARKS, *KINDS)

ENCODER = ("vector_norm", "vector_spread", "vector_dimensions", "label_separation", "centroid_accuracy")
BACKBONE = (
    "log_backbone_parameters",
    "log_d_model",
    "log_d_ff",
    "log_vocabulary",
    "encoder_blocks",
    "decoder_blocks",
    "heads",
    "gated",
)

Vector = NDArray[np.float64]


def features(task: Task) -> dict[str, float]:
    """The features named in ``FEATURES``; finite numbers all, the test split is not looked at."""
    train, validation = _sample(task), task.rows["validation"]
    texts = [" ".join(row.fields) for row in train]
    words = [_words(text) for text in texts]
    found = {
        **at_a_glance(task),
        **_spread_of("log_words", np.array([len(found) for found in words], dtype=float)),
        **_vocabulary(words, [_words(" ".join(row.fields)) for row in validation[:SAMPLE]]),
        **_pair([row.fields for row in train], [row.label for row in train]),
        **landmarks(texts, [row.label for row in train]),
        **_kind(task.kind),
    }
    return {name: float(found[name]) for name in FEATURES}


def at_a_glance(task: Task) -> dict[str, float]:
    """Those features that take no time: sizes, balance, lengths in characters. Other rows seldom have the same."""
    labels = [row.label for row in task.rows["train"]]
    lengths = np.array([len(" ".join(row.fields)) for row in _sample(task)], dtype=float)
    return {
        **_sizes(len(labels), len(task.rows["validation"]), len(set(labels))),
        **_balance(labels, ordinal=task.ordinal),
        **_spread_of("log_chars", lengths),
    }


def encoder_features(vectors: NDArray[np.floating], labels: Sequence[str]) -> dict[str, float]:
    """How a frozen encoder sees a task: the features named in ``ENCODER``.

    Args:
        vectors: (rows, d_model), one for each text: the mean over its tokens.
        labels: of the rows.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    total = float((centred**2).sum())
    names, groups = np.unique(np.asarray(labels), return_inverse=True)
    centroids = np.stack([centred[groups == number].mean(axis=0) for number in range(len(names))])
    between = float(((centroids**2).sum(axis=1) * np.bincount(groups)).sum())
    norm = float(np.linalg.norm(mean))
    return {
        "vector_norm": math.log1p(norm),
        "vector_spread": math.sqrt(total / len(rows)) / max(norm, 1e-12),
        "vector_dimensions": _dimensions(centred),
        "label_separation": between / total if total > 0 else 0.0,
        "centroid_accuracy": _nearest_centroid(rows, groups),
    }


def backbone_features(shape: BackboneShape) -> dict[str, float]:
    """What a backbone is like: the features named in ``BACKBONE``."""
    return {
        "log_backbone_parameters": math.log(shape.count_parameters()),
        "log_d_model": math.log(shape.d_model),
        "log_d_ff": math.log(shape.d_ff),
        "log_vocabulary": math.log(shape.vocab_size),
        "encoder_blocks": float(shape.encoder_blocks),
        "decoder_blocks": float(shape.decoder_blocks),
        "heads": float(shape.num_heads),
        "gated": float(shape.gated),
    }


# --- parts of `features` ---------------------------------------------------------------------------------------------


def _sample(task: Task) -> Rows:
    return task.limited(max(SAMPLE, len(task.labels)), 0).rows["train"]


def _sizes(train: int, validation: int, labels: int) -> dict[str, float]:
    return {
        "log_train_rows": math.log(train),
        "log_validation_rows": math.log(validation),
        "log_rows_per_label": math.log(train / labels),
    }


def _balance(labels: Sequence[str], *, ordinal: bool) -> dict[str, float]:
    shares = np.array(list(Counter(labels).values()), dtype=float) / len(labels)
    entropy = float(-(shares * np.log(shares)).sum())
    return {
        "log_labels": math.log(len(shares)),
        "label_entropy": entropy / math.log(len(shares)) if len(shares) > 1 else 0.0,  # 1: all equally frequent
        "majority_share": float(shares.max()),
        "minority_share": float(shares.min()),
        "ordinal": float(ordinal),
    }


def _spread_of(unit: str, lengths: Vector) -> dict[str, float]:
    logs = np.log1p(lengths)
    cuts = np.percentile(logs, QUANTILES)
    return {
        f"{unit}_mean": float(logs.mean()),
        f"{unit}_sd": float(logs.std()),
        **{f"{unit}_q{quantile}": float(cut) for quantile, cut in zip(QUANTILES, cuts, strict=True)},
    }


def _vocabulary(train: Sequence[list[str]], validation: Sequence[list[str]]) -> dict[str, float]:
    running = list(chain.from_iterable(train))
    counts = Counter(running)
    held = list(chain.from_iterable(validation))
    return {
        "type_token_ratio": len(set(running[:WORDS])) / max(1, len(running[:WORDS])),
        "once_share": sum(count == 1 for count in counts.values()) / max(1, len(counts)),
        "unseen_share": sum(word not in counts for word in held) / max(1, len(held)),
    }


def _pair(rows: Sequence[tuple[str, ...]], labels: Sequence[str]) -> dict[str, float]:
    """Overlap of the first two fields; 0 where there is one field alone, which ``is_pair`` tells."""
    fields = len(rows[0])
    if fields < 2:
        return dict.fromkeys(PAIR, 0.0) | {"fields": float(fields)}
    pairs = [(set(_words(row[0])), set(_words(row[1]))) for row in rows]
    overlap = np.array([len(a & b) / max(1, len(a | b)) for a, b in pairs])
    ratio = np.array([min(len(a), len(b)) / max(1, len(a), len(b)) for a, b in pairs])
    return {
        "fields": float(fields),
        "is_pair": 1.0,
        "overlap_mean": float(overlap.mean()),
        "overlap_sd": float(overlap.std()),
        "overlap_by_label": _explained(overlap, labels),
        "length_ratio_mean": float(ratio.mean()),
        "length_ratio_sd": float(ratio.std()),
    }


def _kind(kind: str) -> dict[str, float]:
    name = kind.strip().lower().replace(" ", "_")
    group = next((group for group, kinds in GROUPS.items() if name in kinds), OTHER)
    return {feature: float(feature == f"kind_{group}") for feature in KINDS}


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _explained(values: Vector, labels: Sequence[str]) -> float:
    """Share of the variance that the labels explain (eta squared)."""
    total = float(((values - values.mean()) ** 2).sum())
    names, groups = np.unique(np.asarray(labels), return_inverse=True)
    means = np.array([values[groups == number].mean() for number in range(len(names))])
    between = float((np.bincount(groups) * (means - values.mean()) ** 2).sum())
    return between / total if total > 0 else 0.0


# --- parts of `encoder_features` -------------------------------------------------------------------------------------


def _dimensions(centred: Vector) -> float:
    """Log of the participation ratio: over how many directions the vectors spread."""
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    total = float(variances.sum())
    return math.log(total**2 / float((variances**2).sum())) if total > 0 else 0.0


def _nearest_centroid(rows: Vector, groups: NDArray[np.intp]) -> float:
    """Accuracy of the nearest class mean, each row left out of its own class's mean."""
    sizes = np.bincount(groups)
    sums = np.stack([rows[groups == number].sum(axis=0) for number in range(len(sizes))])
    right = 0
    for row, group in zip(rows, groups, strict=True):
        if sizes[group] == 1:
            continue  # alone in its class: nothing is left to be near to
        means = sums / sizes[:, None]
        means[group] = (sums[group] - row) / (sizes[group] - 1)
        right += int(((means - row) ** 2).sum(axis=1).argmin() == group)
    return right / len(rows)
