"""What a trial may take of its device: limits that a space's file sets and a worker checks before it trains."""

from pydantic import Field

from autodelta.frozen import Frozen


class Limits(Frozen):
    """The most that a candidate may need; None: no limit, and nothing is measured."""

    # Of a step with the largest batch, the backbone and the optimiser's state included.
    memory_bytes: int | None = Field(default=None, ge=0)
    # Time to score one batch over that of the bare backbone: 1.1 is 110 %.
    latency_share: float | None = Field(default=None, gt=0)
