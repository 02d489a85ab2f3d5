"""Scores of a task on one scale on which they are about normal: the long tail of bad ones is drawn in.

Most configurations of a task lie close to the best, some fail altogether. A normal model of such scores believes in an
upside as long as the downside, and explores what is bad. So a score y is seen as o + c g((y - o) / c): g is the
identity above -FLOOR and logarithmic below, with a slope without a jump. Offset o and scale c are those under which
the squashed scores have mean o and standard deviation c."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR, PULL = 0.5, 3.0
ROUNDS = 30
LEAST = 0.01  # of the plain standard deviation: where nearly all scores are equal, what lies below is drawn in for ever


def squash(z: Floats) -> Floats:
    """The function g."""
    below = np.maximum(-FLOOR - z, 0)
    return np.asarray(np.where(below > 0, -FLOOR - np.log1p(PULL * below) / PULL, z))


def spread(v: Floats) -> Floats:
    """The inverse of g."""
    below = np.maximum(-FLOOR - v, 0)
    return np.asarray(np.where(below > 0, -FLOOR - np.expm1(np.minimum(PULL * below, 50)) / PULL, v))


def scale_of(scores: Floats) -> tuple[float, float]:
    """Offset and scale of scores."""
    offset, scale = float(scores.mean()), max(float(scores.std()), 1e-12)
    least = max(LEAST * scale, 1e-12)
    for _ in range(ROUNDS):
        seen = squash((scores - offset) / scale)
        offset, scale = offset + scale * float(seen.mean()), max(scale * float(seen.std()), least)
    return offset, scale


def seen(scores: Floats, offset: float, scale: float) -> Floats:
    """Scores as a normal model sees them, in units of scores."""
    return np.asarray(offset + scale * squash((scores - offset) / scale))


def unseen(scores: Floats, offset: float, scale: float) -> Floats:
    """The inverse of ``seen``."""
    return np.asarray(offset + scale * spread((scores - offset) / scale))
