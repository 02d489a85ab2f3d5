"""Builds the modules of a candidate's deltas for one backbone, in the order in which they apply at each site."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autodelta.backbones import roles
from autodelta.candidate import Candidate, Delta
from autodelta.deltas.base import DeltaModule, Draw, Place, Slot
from autodelta.deltas.spec import spec
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Kind, Site


class Composition(nn.Module):
    """A candidate's deltas as modules, put nowhere yet: what ``attach`` hooks on and what the engine calls itself."""

    def __init__(self, candidate: Candidate, deltas: list[DeltaModule]) -> None:
        super().__init__()
        self.candidate = candidate
        self.deltas = tuple(deltas)
        self.registered = nn.ModuleList(deltas)
        slots: dict[Site, tuple[Slot, ...]] = {}
        for delta in deltas:
            for site, slot in delta.slots.items():
                slots[site] = (*slots.get(site, ()), slot)
        self.slots = slots

    def at(self, site: Site) -> tuple[Slot, ...]:
        """The slots at a site, in the order in which they apply: weights, bias, scale, modules."""
        return self.slots.get(site, ())

    def groups(self) -> list[tuple[Delta, list[nn.Parameter]]]:
        """Every delta with its trainable parameters, shared ones once: what per-delta learning rates need."""
        return [
            (delta, list(module.parameters())) for delta, module in zip(self.candidate.deltas, self.deltas, strict=True)
        ]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that is saved, itself, by its name ``<delta index>.<method>.<site>.<tensor>``."""
        return {
            f"{number}.{delta.method}.{name}": tensor
            for number, (delta, module) in enumerate(zip(self.candidate.deltas, self.deltas, strict=True))
            for name, tensor in module.tensors()
        }

    def load_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Copies saved values in.

        Raises:
            UserError: names or shapes are not those of this composition; nothing is changed then.
        """
        own = self.tensors()
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())
            whose = "the weights lack" if odd[0] in own else "the candidate has no"
            raise UserError(f"the weights are not this candidate's: {whose} {odd[0]!r} ({len(odd)} names differ)")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise UserError(
                    f"the weights are not this candidate's: {name!r} has the shape {tuple(state[name].shape)}, "
                    f"not {tuple(tensor.shape)}"
                )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])
        for module in self.deltas:
            module.loaded()


def compose(
    hf_model: Any, candidate: Candidate, *, seed: int = 0, label_ids: Sequence[Sequence[int]] = ()
) -> Composition:
    """The candidate's deltas with fresh weights drawn from ``seed``, on the device of the backbone.

    Args:
        hf_model: a Hugging Face T5, of which nothing is changed.
        candidate: its deltas.
        seed: of the initial weights.
        label_ids: the token ids of the task's label words, for prompts that start from them.

    Raises:
        ValueError: the candidate does not fit the backbone.
    """
    shape = BackboneShape.of(hf_model)
    candidate.check(shape)
    modules = roles.modules(hf_model)
    epsilon = hf_model.config.layer_norm_epsilon
    built = [_build(delta, modules, shape, epsilon, Draw(seed, delta.method, label_ids)) for delta in candidate.deltas]
    return Composition(candidate, built).to(hf_model.device)


def _build(
    delta: Delta, modules: dict[Site, nn.Module], shape: BackboneShape, epsilon: float, draw: Draw
) -> DeltaModule:
    places = [Place(site, shape.kind(site), _weight(modules, site), epsilon) for site in delta.sites(shape)]
    method = importlib.import_module(f"autodelta.deltas.{spec(delta.method).name}.delta")
    built: DeltaModule = method.build(delta.config, places, shape, draw)
    return built


def _weight(modules: dict[Site, nn.Module], site: Site) -> Tensor | None:
    if site.part == Kind.EMBEDDINGS:
        site = Site(site.stack, None, "tokens")
    weight = getattr(modules[site], "weight", None)
    return weight.detach() if isinstance(weight, Tensor) else None
