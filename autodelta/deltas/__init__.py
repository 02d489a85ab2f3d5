"""Delta methods: one folder each, found by looking into this folder; ``attach`` puts a candidate on a T5."""

from typing import TYPE_CHECKING, Any

from autodelta.deltas.spec import specs

if TYPE_CHECKING:
    from autodelta.candidate import Candidate
    from autodelta.deltas.attached import Attached


def names() -> tuple[str, ...]:
    """The names of all delta methods."""
    return tuple(specs())


def attach(hf_model: Any, candidate: "Candidate", *, seed: int = 0) -> "Attached":
    """The candidate's deltas, freshly initialised from ``seed``, put on a Hugging Face T5.

    Raises:
        ValueError: the candidate does not fit the backbone.
    """
    from autodelta.deltas.attached import attach as put_on

    return put_on(hf_model, candidate, seed=seed)
