"""What the tests of packs are made of: a float64 backbone, rows of unlike lengths, and candidates of every method."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from autodelta.backbones import Backbone
from autodelta.candidate import Candidate
from autodelta.deltas.spec import specs
from autodelta.engine.activations import Activations
from autodelta.engine.encode import Encoded
from autodelta.engine.pack import Pack
from autodelta.engine.train import Trial
from autodelta.shape import BackboneShape
from tests.deltas.conformance import roles_of
from tests.models import SIZES


def wide(backbone: Backbone) -> Backbone:
    """A copy in float64."""
    return replace(backbone, model=copy.deepcopy(backbone.model).double(), dtype=torch.float64)


@lru_cache(maxsize=2)
def rows(number: int = 40) -> Encoded:
    """Inputs of 3 to 14 tokens, and three labels of one to three."""
    rng = np.random.default_rng(8)
    inputs = tuple(rng.integers(3, SIZES["vocab_size"], rng.integers(3, 15)) for _ in range(number))
    targets = tuple(np.array(ids) for ids in ([5, 6, 1], [7, 1], [1]))
    return Encoded(inputs, rng.integers(0, 3, number), targets, pad=0)


@lru_cache(maxsize=1)
def even() -> Encoded:
    """The same with every input, and every target, of one length."""
    inputs = tuple(np.resize(ids, 8) for ids in rows().inputs)
    return replace(rows(), inputs=inputs, targets=tuple(np.array(ids) for ids in ([5, 6, 1], [7, 5, 1], [6, 7, 1])))


def delta(shape: BackboneShape, method: str, variant: int, *, rate: float, stack: str = "") -> dict[str, Any]:
    """One method at every role that it accepts, perhaps of one stack."""
    roles = [role for role in roles_of(method, shape) if role.startswith(stack)]
    return {"method": method, "roles": roles, "config": specs()[method].small[variant], "learning_rate": rate}


def candidate(*deltas: dict[str, Any], steps: int, batch_size: int, **training: Any) -> Candidate:
    plan = {"steps": steps, "batch_size": batch_size, **training}
    return Candidate.model_validate({"deltas": list(deltas), "training": plan})


def zoo(shape: BackboneShape, *, steps: int = 30) -> list[Candidate]:
    """Every variant of every method, with batch sizes, lengths, rates and schedules of their own; every third in the
    decoder alone, and some beside another method."""
    found = []
    schedules = ("linear", "cosine", "constant")
    variants = [(name, number) for name, spec in specs().items() for number in range(len(spec.small))]
    for number, (method, variant) in enumerate(variants):
        in_decoder = number % 3 == 1 and any(role.startswith("decoder") for role in roles_of(method, shape))
        deltas = [delta(shape, method, variant, rate=2e-3 * (1 + number % 4), stack="decoder" if in_decoder else "")]
        if number % 4 == 2 and method != "bitfit":
            deltas.append(delta(shape, "bitfit", 0, rate=1e-3, stack="decoder"))
        training = {
            "schedule": schedules[number % 3],
            "warmup": 0.1 * (number % 2),
            "weight_decay": 0.01 * (number % 3),
        }
        found.append(candidate(*deltas, steps=steps - number % 5, batch_size=(2, 3, 5)[number % 3], **training))
    return found


def trial(backbone: Backbone, plan: Candidate, *, seed: int, kept: Activations | None = None) -> Trial:
    """A trial in the backbone's own precision, whose deltas have already moved a little."""
    found = Trial(backbone, plan, seed=seed, label_ids=[[5, 6], [7]], kept=kept)
    found.composition.to(backbone.dtype)
    return found


def alone(
    backbone: Backbone, plan: Candidate, *, seed: int, steps: int | None = None, train: Encoded | None = None
) -> Trial:
    """A trial that was trained by itself, to its end or to a step."""
    found = trial(backbone, plan, seed=seed)
    for step, _ in found.steps(train or rows()):
        if step == steps:
            break
    return found


def pack_of(
    trials: Sequence[Trial], *, steps: int = 0, train: Encoded | None = None, kept: Activations | None = None
) -> Pack:
    """A pack that trials have entered, after some steps."""
    pack = Pack(trials[0].backbone, kept=kept)
    for one in trials:
        pack.enter(one, train or rows())
    for _ in range(steps):
        pack.step()
    return pack


def farthest(one: Trial, other: Trial) -> float:
    """The largest difference of any weight."""
    weights, others = one.weights(), other.weights()
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)
