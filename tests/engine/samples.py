"""Candidates that the tests of the engine train."""

from dataclasses import replace
from typing import Any

import numpy as np

from autodelta.candidate import Candidate
from autodelta.engine.encode import Encoded

LINEAR = [
    "encoder.self_attn.q",
    "encoder.self_attn.v",
    "decoder.cross_attn.q",
    "decoder.cross_attn.v",
    "decoder.ffn.in",
]


def candidate(steps: int = 60, learning_rate: float = 0.03, **training: Any) -> Candidate:
    """LoRA and BitFit, which learn the task ``small`` in 60 steps."""
    lora: dict[str, Any] = {"method": "lora", "roles": LINEAR, "config": {"rank": 4}, "learning_rate": learning_rate}
    bias = {"method": "bitfit", "roles": LINEAR, "config": {}, "learning_rate": learning_rate}
    plan = {"steps": steps, "batch_size": 8, **training}
    return Candidate.model_validate({"deltas": [lora, bias], "training": plan})


def sequential(sequence: str, steps: int = 30) -> Candidate:
    """LoRA, BitFit and a prompt, whose random start would disturb whatever was trained with it."""
    prompt = {"method": "prompt", "roles": ["encoder.embeddings"], "config": {"length": 2}, "learning_rate": 0.1}
    plan = candidate(steps).model_dump()
    return Candidate.model_validate(
        {"deltas": [*plan["deltas"], prompt], "training": {**plan["training"], "sequence": sequence}}
    )


def uneven(encoded: Encoded) -> Encoded:
    """The same labels under inputs of unlike lengths; the rows of the task ``small`` are all of one length."""
    lengths = np.random.default_rng(4).integers(3, 30, len(encoded))
    return replace(encoded, inputs=tuple(np.full(length, 5 + number % 9) for number, length in enumerate(lengths)))
