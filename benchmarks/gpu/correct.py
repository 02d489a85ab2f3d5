"""Whether the numbers are right on a device: the lean forward pass against transformers, packs against trials alone."""

from collections.abc import Iterator
from typing import Any

import torch
from packing import trial
from torch import Tensor

from autodelta.candidate import Candidate
from autodelta.deltas.attached import Attached
from autodelta.deltas.compose import compose
from autodelta.deltas.spec import MethodConfig, MethodSpec, specs
from autodelta.engine.activations import Activations
from autodelta.engine.encode import Encoded
from autodelta.engine.forward import Forward
from autodelta.engine.layers import Norm, changed
from autodelta.engine.layout import Layout
from autodelta.engine.pack import Pack
from autodelta.engine.train import Trial
from autodelta.shape import BackboneShape
from gpu.setting import Note, Setting

FLOAT32, FLOAT64 = 1e-4, 1e-10  # relative to the largest number


def parity(setting: Setting, note: Note) -> None:
    """Every method against its own hooks on transformers' eager T5, at all roles of a tiny T5 in float64 and float32;
    then at its paper's roles at base's shape, in float32, and in bfloat16 to look at."""
    for dtype, tolerance in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        model = setting.backbone(dtype, tiny=True).model
        for spec, config in _variants():
            note(shape="tiny", **_compared(model, spec, config, tolerance, everywhere=True))
    for dtype, most in ((torch.float32, FLOAT32), (torch.bfloat16, None)):
        model = setting.backbone(dtype).model
        for spec in specs().values():
            note(shape="base", **_compared(model, spec, spec.small[0], most, everywhere=False))


def _variants() -> Iterator[tuple[MethodSpec, MethodConfig]]:
    for spec in specs().values():
        for config in spec.small:
            yield spec, config


def _candidate(shape: BackboneShape, spec: MethodSpec, config: MethodConfig, *, everywhere: bool) -> Candidate:
    roles = [
        role for role in shape.kinds() if (role.split(".", 1)[1] in spec.parts if everywhere else role in spec.usual)
    ]
    deltas = [{"method": spec.name, "roles": roles, "config": config.model_dump(), "learning_rate": 1e-3}]
    return Candidate.model_validate({"deltas": deltas, "training": {"steps": 8, "batch_size": 4}})


def _compared(
    model: Any, spec: MethodSpec, config: MethodConfig, most: float | None, *, everywhere: bool
) -> dict[str, Any]:
    plan = _candidate(BackboneShape.of(model), spec, config, everywhere=everywhere)
    on = Attached(model, compose(model, plan))
    if model.dtype == torch.float64:
        on.composition.double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in on.parameters():
            parameter += (0.02 * torch.randn(parameter.shape, generator=generator)).to(parameter)
    ids = torch.randint(2, model.config.vocab_size, (4, 24), generator=generator)
    mask = (torch.arange(24)[None] < torch.tensor([[24], [20], [9], [24]])).long()
    labels = torch.randint(2, model.config.vocab_size, (4, 5), generator=generator)
    labels[1, 3:] = -100
    given = {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}
    there = {name: tensor.to(model.device) for name, tensor in given.items()}
    with on:
        theirs = model(**there, use_cache=False)
        forward = Forward(model, on.composition)
        memory = forward.encode(there["input_ids"], there["attention_mask"])
        logits = forward.logits(forward.decode(model._shift_right(there["labels"]), memory))
        loss = forward.loss(memory, labels)
        # All in one: some gradients are nothing but rounding, such as that of a bias that a softmax takes away again.
        ours, those = (torch.cat([one.flatten() for one in _gradients(of, on)]) for of in (loss, theirs.loss))
        wrong = {
            "logits": _apart(logits, theirs.logits),
            "loss": _apart(loss, theirs.loss),
            "gradients": _apart(ours, those),
        }
    line = {"method": spec.name, "config": config.model_dump_json(), "dtype": str(model.dtype), **wrong}
    return {**line, "right": None if most is None else max(wrong.values()) <= most}


def _gradients(loss: Tensor, on: Attached) -> list[Tensor]:
    parameters = list(on.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(of) if one is None else one for one, of in zip(found, parameters, strict=True)]


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return float((one - other).abs().max() / other.abs().max())


def packs(setting: Setting, note: Note) -> None:
    """Eight trials of four methods, some in the decoder alone, in float64: in a pack and each by itself.

    T5's norms take their variance in float32 also of float64, which may round another way after a product of another
    shape: so once as it is, to look at, and once with a variance in float64, which judges.
    """
    backbone = setting.backbone(torch.float64, tiny=True)
    encoded = setting.encoded(backbone)
    for variance in ("float32", "float64"):
        if variance == "float64":
            Norm.__call__ = _exact  # type: ignore[method-assign]  # this process ends with the section
        kept = Activations()
        together = [_trial(backbone, number, kept) for number in range(8)]
        pack = Pack(backbone, kept=kept)
        for one in together:
            pack.enter(one, encoded)
        for _ in range(setting.steps):
            pack.step()
        worst, moved = 0.0, float("inf")
        for number, one in enumerate(together):
            solo, fresh = _trial(backbone, number, Activations(0)), _trial(backbone, number, Activations(0))
            _alone(solo, encoded, setting.steps)
            worst, moved = max(worst, _farthest(one, solo)), min(moved, _farthest(solo, fresh))
        right = worst <= FLOAT64 and moved > 1e-6
        note(variance=variance, trials=8, steps=setting.steps, worst=worst, moved=moved, right=right)


def _exact(self: Norm, x: Tensor, layout: Layout) -> Tensor:
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)
    return changed(self.owned, x, self.weight * y, self.weight, layout)


def _trial(backbone: Any, number: int, kept: Activations) -> Trial:
    where = "decoder" if number % 3 == 2 else "everywhere"
    like = trial(backbone, number, 4, ("mixed", where, "own"), kept)
    delta = like.candidate.deltas[0].model_copy(update={"learning_rate": 2e-3})  # far enough for faults to show
    plan = {"deltas": [delta], "training": {"steps": 64, "batch_size": 4, "warmup": 0.0}}
    found = Trial(backbone, Candidate.model_validate(plan), seed=number % 2, kept=kept)
    found.composition.double()
    return found


def _alone(solo: Trial, encoded: Encoded, steps: int) -> None:
    for step, _ in solo.steps(encoded):
        if step == steps:
            return


def _farthest(one: Trial, other: Trial) -> float:
    weights, others = one.weights(), other.weights()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)
