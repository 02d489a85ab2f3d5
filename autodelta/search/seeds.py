"""Seeds that follow from (run seed, number): no draw of a search depends on anything else."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    SAMPLER = 1
    TRAINING = 2
    CONFIRMATION = 3


def derived(run_seed: int, purpose: Purpose, number: int) -> int:
    """A seed of 31 bits."""
    return int(np.random.default_rng([run_seed, purpose, number]).integers(2**31))
