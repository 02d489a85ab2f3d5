"""Span corruption: turns a stretch of tokens into a T5 pretraining example.

Source: Raffel et al. 2020, *Exploring the Limits of Transfer Learning* (arXiv 1910.10683), section 3.1.4.
"""

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


def span_counts(length: int, *, corruption_rate: float, mean_span_length: float) -> tuple[int, int]:
    """Number of corrupted tokens and of spans in a stretch of ``length`` tokens."""
    noise = min(max(round(length * corruption_rate), 1), length - 1)
    return noise, min(max(round(noise / mean_span_length), 1), noise, length - noise)


def stretch_length(input_length: int, *, corruption_rate: float, mean_span_length: float) -> tuple[int, int]:
    """The longest stretch whose corrupted form, with its closing token, fits the input; and the target's length."""
    length = input_length
    while True:
        noise, spans = span_counts(length + 1, corruption_rate=corruption_rate, mean_span_length=mean_span_length)
        if length + 1 - noise + spans + 1 > input_length:
            break
        length += 1
    noise, spans = span_counts(length, corruption_rate=corruption_rate, mean_span_length=mean_span_length)
    return length, noise + spans + 1


def _random_parts(total: int, parts: int, rng: np.random.Generator) -> Tokens:
    """``total`` cut at random into ``parts`` lengths of at least one."""
    cuts = np.sort(rng.choice(total - 1, size=parts - 1, replace=False)) + 1
    return np.diff(np.concatenate(([0], cuts, [total])))


def corrupt(
    stretch: Tokens,
    rng: np.random.Generator,
    *,
    corruption_rate: float,
    mean_span_length: float,
    first_sentinel: int,
    eos: int,
) -> tuple[Tokens, Tokens]:
    """Input and target of one stretch; sentinels count down from ``first_sentinel`` as in T5's vocabulary.

    Kept and corrupted spans alternate, beginning with a kept one, so every span is preceded by text.
    """
    noise, spans = span_counts(len(stretch), corruption_rate=corruption_rate, mean_span_length=mean_span_length)
    kept_lengths = _random_parts(len(stretch) - noise, spans, rng)
    noise_lengths = _random_parts(noise, spans, rng)
    inputs: list[Tokens] = []
    targets: list[Tokens] = []
    at = 0
    for number, (kept, lost) in enumerate(zip(kept_lengths, noise_lengths, strict=True)):
        sentinel = np.array([first_sentinel - number])
        inputs += [stretch[at : at + kept], sentinel]
        targets += [sentinel, stretch[at + kept : at + kept + lost]]
        at += kept + lost
    end = np.array([eos])
    return np.concatenate([*inputs, end]), np.concatenate([*targets, end])
