"""Delta methods: one folder each, found by looking into this folder; ``attach`` puts a candidate on a T5."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autodelta.deltas.spec import specs

if TYPE_CHECKING:
    from autodelta.candidate import Candidate
    from autodelta.deltas.attached import Attached


def names() -> tuple[str, ...]:
    """The names of all delta methods."""
    return tuple(specs())


def attach(
    hf_model: Any, candidate: "Candidate", *, seed: int = 0, label_ids: Sequence[Sequence[int]] = ()
) -> "Attached":
    """The candidate's deltas, freshly initialised from ``seed``, put on a Hugging Face T5.

    ``label_ids`` are the token ids of the task's label words, for prompts that start from them.

    Raises:
        ValueError: the candidate does not fit the backbone.
    """
    from autodelta.deltas.attached import attach as put_on

    return put_on(hf_model, candidate, seed=seed, label_ids=label_ids)
