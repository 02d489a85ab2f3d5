"""What launches cost and what would save them: kernels of a step, graphs, torch.compile, one product for all LoRAs."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from autodelta.backbones import Backbone
from autodelta.engine import devices
from autodelta.engine.activations import Activations
from autodelta.engine.forward import Forward
from autodelta.engine.train import Trial
from gpu.engine import CASES, pack_of, trials
from gpu.setting import Note, Setting
from gpu.usual import prepared


def kernels(setting: Setting, note: Note) -> None:
    """Kernels (on a CPU: operations), the device's own time for them, and how often it is waited for, a step."""
    backbone = setting.backbone()
    encoded = setting.encoded(backbone)
    for case in CASES[:3]:
        for size in (1, setting.most):
            pack = pack_of(setting, backbone, encoded, case, size)
            note(what=f"{case[0]} {case[1]}", k=size, **_looked_into(setting, pack.step))
    step, _ = prepared(setting, "everywhere", "sdpa")
    note(what="usual way, sdpa", k=1, **_looked_into(setting, step))


def _looked_into(setting: Setting, step: Callable[[], object]) -> dict[str, Any]:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    found: dict[str, Any] = setting.timed(step)
    on_gpu = setting.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        found["profiled_ms"] = setting.spent(step, 2)["ms"]
    wanted = DeviceType.CUDA if on_gpu else DeviceType.CPU
    # An optimiser's own mark would count all of its kernels once more.
    own = [event for event in seen.events() if event.device_type == wanted]
    there = [e for e in own if not e.name.startswith("Optimizer.") and not getattr(e, "is_user_annotation", False)]
    found["kernels"] = len(there) / 2
    if on_gpu:
        busy = sum(event.time_range.elapsed_us() for event in there) / 2e3
        found |= {"busy_ms": busy, "busy_share": busy / found["ms"], "waits": _waits(step)}
    return found


def _waits(step: Callable[[], object]) -> int:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in said)


# --- CUDA graphs -----------------------------------------------------------------------------------------------------


class Whole:
    """A training step of several trials as work of the device alone, at one shape: what a graph can hold."""

    def __init__(self, setting: Setting, backbone: Backbone, size: int) -> None:
        (batch, *_) = setting.batches(setting.encoded(backbone))
        self.trials: list[Trial] = trials(setting, backbone, CASES[0], range(size), Activations(0))
        self.parameters = [list(trial.composition.parameters()) for trial in self.trials]
        on_gpu = setting.device.type == "cuda"
        kind = {"fused": True, "capturable": True} if on_gpu else {"fused": True}
        self.optimisers = [
            torch.optim.AdamW(own, lr=torch.tensor(1e-4, device=setting.device), **kind) for own in self.parameters
        ]
        self.forward = Forward(backbone.model, *(trial.composition for trial in self.trials))
        self.ids, self.mask = (devices.onto(one, setting.device) for one in (batch.input_ids, batch.mask))
        self.wanted = self.forward.wanted([batch.targets] * size)
        self.loss = torch.zeros(size, device=setting.device)

    def losses(self) -> Tensor:
        """Of every trial."""
        alone = [trial.forward for trial in self.trials]
        entered = [forward.begin(self.ids, self.mask) for forward in alone]
        memories = self.forward.finish_all(entered, self.forward.depths)
        return torch.stack(self.forward.losses_of(memories, self.wanted))

    def forget(self) -> None:
        """Before a step, and not after it: a graph leaves its gradients where they are."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        """All of it."""
        self.forget()
        losses = self.losses()
        losses.sum().backward()
        self.loss.copy_(losses.detach())
        for own, optimiser in zip(self.parameters, self.optimisers, strict=True):
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            optimiser.step()


def graphs(setting: Setting, note: Note) -> None:
    """A step launched kernel by kernel and replayed as a graph, and whether both train alike."""
    backbone = setting.backbone()
    for size in setting.packs:
        plain, other = Whole(setting, backbone, size), Whole(setting, backbone, size)
        took = setting.timed(plain.step)
        note(how="launched", k=size, **took, ms_a_trial=took["ms"] / size)
        if setting.device.type != "cuda":
            continue
        replay = _captured(setting, other.step)
        took = setting.spent(replay, setting.steps)
        pairs = zip(chain(*plain.parameters), chain(*other.parameters), strict=True)
        apart = max(float((one - two).detach().abs().max()) for one, two in pairs)
        loss = float((plain.loss - other.loss).abs().max())
        note(how="graph", k=size, **took, ms_a_trial=took["ms"] / size, weights_apart=apart, loss_apart=loss)
        del replay, plain, other


def _captured(setting: Setting, step: Callable[[], None]) -> Callable[[], None]:
    """The step as a graph, after as many as ``timed`` takes to warm up; capturing one does nothing of it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(setting.warm):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


# --- one product for many LoRAs --------------------------------------------------------------------------------------


def stacked(setting: Setting, note: Note) -> None:
    """K LoRAs of rank 8 at one projection, forth and back: one after another, as slots are, and as one ``bmm``."""
    width, tokens = (32, 32) if setting.quick else (768, 32 * 72)
    for size in setting.packs[1:]:
        x = torch.randn(size, tokens, width, device=setting.device, dtype=torch.bfloat16, requires_grad=True)
        y = torch.randn_like(x, requires_grad=True)
        a = [torch.randn(8, width, device=setting.device, requires_grad=True) for _ in range(size)]
        b = [torch.randn(width, 8, device=setting.device, requires_grad=True) for _ in range(size)]

        def apart(x: Tensor = x, y: Tensor = y, a: Sequence[Tensor] = a, b: Sequence[Tensor] = b) -> None:
            each = zip(x, y, a, b, strict=True)
            parts = [y_ + ((x_ @ a_.to(x_.dtype).T) * 2.0) @ b_.to(x_.dtype).T for x_, y_, a_, b_ in each]
            torch.cat(parts).sum().backward()

        def together(x: Tensor = x, y: Tensor = y, a: Sequence[Tensor] = a, b: Sequence[Tensor] = b) -> None:
            down, up = (torch.stack(list(one)).to(x.dtype).transpose(1, 2) for one in (a, b))
            torch.baddbmm(y, torch.bmm(x, down), up, alpha=2.0).sum().backward()

        for name, step in (("one by one", apart), ("one product", together)):
            note(how=name, k=size, **setting.timed(step))


# --- torch.compile ---------------------------------------------------------------------------------------------------


def compiled(setting: Setting, note: Note) -> None:
    """Losses and gradients of one trial, and of a pack, through ``torch.compile``; the first call compiles."""
    backbone = setting.backbone()
    for size in (1, setting.most):
        whole = Whole(setting, backbone, size)
        note(how="as it is", k=size, **setting.timed(partial(_lowered, whole, whole.losses)))
        for mode in ("quick",) if setting.quick else ("default", "reduce-overhead"):
            torch._dynamo.reset()
            given: dict[str, Any] = {"backend": "eager"} if setting.quick else {"mode": mode}
            lower = partial(_lowered, whole, torch.compile(whole.losses, **given))
            seconds = setting.spent(lower, 1)["ms"] / 1e3
            note(how=mode, k=size, seconds_to_compile=seconds, **setting.timed(lower))


def _lowered(whole: Whole, losses: Callable[[], Tensor]) -> None:
    whole.forget()
    losses().sum().backward()
