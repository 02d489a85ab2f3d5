"""Our engine: a trial alone, and packs; how much of the device's limit is used, and what the calibration foresees."""

from collections.abc import Callable
from typing import Any

import packing
import torch
from limit import operations, rate

from autodelta.backbones import Backbone
from autodelta.engine import devices
from autodelta.engine.activations import Activations
from autodelta.engine.calibration import calibrate
from autodelta.engine.encode import Encoded
from autodelta.engine.pack import Pack
from autodelta.engine.train import Trial
from gpu.setting import Note, Setting

CASES = (("lora", "everywhere", "one"), ("mixed", "everywhere", "one"), ("lora", "decoder", "one"),
         ("lora", "everywhere", "own"))  # fmt: skip
KINDS = len(packing.METHODS)  # of a mixed pack
Case = tuple[str, str, str]


def rates(setting: Setting, note: Note) -> None:
    """A large product in bf16 and in float32, without TF32; and a large copy."""
    for dtype in (torch.bfloat16, torch.float32):
        size = 256 if setting.quick else 8192
        found = rate(setting.device, dtype, size=size, seconds=0.05 if setting.quick else 1.0)
        note(product=f"{size}^3", dtype=str(dtype), tflops=found / 1e12)
    block = torch.randn(2**12 if setting.quick else 2**29, device=setting.device)
    took = setting.timed(block.clone)["ms"]
    note(copied_mib=block.nbytes / 2**20, tb_per_second=2 * block.nbytes / took / 1e9)


def trials(setting: Setting, backbone: Backbone, case: Case, numbers: range, kept: Activations) -> list[Trial]:
    return [packing.trial(backbone, number, setting.rows, case, kept) for number in numbers]


def pack_of(setting: Setting, backbone: Backbone, encoded: Encoded, case: Case, size: int) -> Pack:
    """As in the midst of a search: what can be kept of the batches to come is there."""
    kept = Activations()
    if case[1] == "decoder":
        (first,) = trials(setting, backbone, case, range(1), kept)
        _forth(first, encoded, setting.warm + setting.steps)
    pack = Pack(backbone, kept=kept)
    longest = max(batch.tokens for batch in setting.batches(encoded))
    for one in trials(setting, backbone, case, range(size), kept):
        one.meter.restore(0, 2 * longest)  # as later in a trial, when none is the largest so far and goes alone
        pack.enter(one, encoded)
    return pack


def _forth(trial: Trial, encoded: Encoded, steps: int) -> None:
    for step, _ in trial.steps(encoded):
        if step == steps:
            return


def packs(setting: Setting, note: Note) -> None:
    """Steps of K trials together, with the batches of a search; own: at seeds, and so lengths, of their own."""
    backbone = setting.backbone()
    encoded = setting.encoded(backbone)
    dtype = backbone.dtype
    limit = rate(setting.device, dtype, size=256 if setting.quick else 8192, seconds=0.05 if setting.quick else 0.5)
    for case in CASES:
        needed = [_needed(setting, backbone, encoded, case, number) for number in range(_kinds(case))]
        for size in setting.packs if case[2] == "one" else (setting.most,):
            pack = pack_of(setting, backbone, encoded, case, size)
            took = setting.timed(pack.step)
            work = sum(needed[number % len(needed)] for number in range(size))
            note(
                deltas=case[0],
                where=case[1],
                seeds=case[2],
                k=size,
                in_a_pass=min(size, pack._most),  # fewer where memory has run out
                ms_a_trial=took["ms"] / size,
                tflop_a_trial=work / size / 1e12,
                share_of_limit=work / (took["ms"] / 1e3) / limit,
                **took,
            )
            del pack


def _kinds(case: Case) -> int:
    return KINDS if case[0] == "mixed" else 1


def _needed(setting: Setting, backbone: Backbone, encoded: Encoded, case: Case, number: int) -> float:
    """Operations of a step of one trial alone, a mean over the batches that are timed: those of products."""
    kept = Activations()
    (trial,) = trials(setting, backbone, case, range(number, number + 1), kept)
    timed = setting.batches(encoded, seed=trial.seed)[setting.warm :]
    if case[1] == "decoder":
        for batch in timed:
            trial.gradients(batch, setting.rows)
    return sum(operations(lambda b=batch: trial.gradients(b, setting.rows)) for batch in timed) / len(timed)  # type: ignore[misc]


def calibrated(setting: Setting, note: Note) -> None:
    """What the calibration fits here, and what it foresees of packs beside what they gain."""
    backbone = setting.backbone()
    costs = calibrate(backbone, seconds=1.0 if setting.quick else 40.0)
    note(costs=costs.model_dump())
    lengths = (72,) if not setting.quick else (8,)
    for length in lengths:
        for case in packing.CASES[: 2 if setting.quick else None]:
            note(**packing.measured(backbone, setting.rows, length, case, 1 if setting.quick else 3, costs))


# --- what single things bring ----------------------------------------------------------------------------------------


def switches(setting: Setting, note: Note) -> None:
    """The fused optimiser and pinned transfers, each against what it replaces; alone and packed, in turn, twice."""
    backbone = setting.backbone()
    encoded = setting.encoded(backbone)
    variants: dict[str, tuple[Callable[[Any, Any], Any], dict[str, bool]]] = {
        "as it is": (devices.onto, {"fused": True}),
        "foreach optimiser": (devices.onto, {"foreach": True}),
        "optimiser of one parameter after another": (devices.onto, {"foreach": False}),
        "copies that are waited for": (lambda tensor, device: tensor.to(device), {"fused": True}),
    }
    own = devices.onto
    for turn in range(2):
        for name, (onto, kind) in variants.items():
            devices.onto = onto
            for size in (1, setting.most):
                pack = pack_of(setting, backbone, encoded, CASES[0], size)
                for trial in pack.trials:
                    groups = [{key: g[key] for key in ("params", "peak", "lr")} for g in trial._optimiser.param_groups]
                    trial._optimiser = torch.optim.AdamW(groups, **kind)
                note(variant=name, turn=turn, k=size, **setting.timed(pack.step))
            devices.onto = own
