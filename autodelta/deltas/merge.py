"""Folds what can be folded of trained deltas into a model's own weights, and hands back what cannot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autodelta.backbones import roles
from autodelta.candidate import Candidate, Delta
from autodelta.deltas.attached import check_bare
from autodelta.deltas.base import Affine
from autodelta.deltas.compose import Composition, compose
from autodelta.deltas.spec import spec
from autodelta.errors import UserError
from autodelta.shape import STACKS, BackboneShape, Kind, Site


@dataclass(frozen=True)
class Merged:
    """What merging did."""

    left: Candidate | None  # what no weight can do: attach it to the merged model; None when nothing is left
    left_state: dict[str, Tensor]  # its tensors, as ``Attached.load_state_dict`` takes them
    biases: tuple[Site, ...]  # layers that have a bias now, which a plain T5 would not load again
    notes: tuple[str, ...] = field(default=())  # the same in words, a line each


def merge(hf_model: Any, candidate: Candidate, state: Mapping[str, Tensor], *, biases: bool = True) -> Merged:
    """Folds trained deltas into the weights of a model, in place.

    LoRA, DoRA, VeRA, (IA)³, norm, subspace, selective and full differences become part of the weights, biases become
    biases of the layers. Modules beside a sublayer, prompts, prefixes and biases of norms cannot.

    Args:
        hf_model: the model that the deltas were trained on, with nothing attached.
        candidate: the deltas' candidate.
        state: their tensors, from ``Attached.state_dict``.
        biases: False leaves biases to be attached, as a T5's checkpoint has no place for them.

    Raises:
        UserError: the tensors are not the candidate's, or the model has deltas on it.
    """
    check_bare(hf_model)
    composition = compose(hf_model, candidate)
    composition.load_tensors(state)
    modules, shape = roles.modules(hf_model), BackboneShape.of(hf_model)
    with torch.no_grad():
        maps, left = _folded(composition, modules, shape, biases)
        _write(hf_model, modules, shape, {site: affine for site, affine in maps.items() if affine.weight.numel()})
    with_bias = tuple(site for site, affine in maps.items() if affine.bias is not None)
    rest, rest_state = _rest(candidate, state, left, shape)
    return Merged(rest, rest_state, with_bias, tuple(_notes(candidate, left, with_bias, hf_model.dtype)))


def _folded(
    composition: Composition, modules: dict[Site, nn.Module], shape: BackboneShape, biases: bool
) -> tuple[dict[Site, Affine], dict[int, list[Site]]]:
    """The map of every site, and where each delta is left; one that cannot be divided is left everywhere or nowhere."""
    whole: set[int] = set()  # of those, the ones that are left
    while True:
        maps: dict[Site, Affine] = {}
        left: dict[int, list[Site]] = {}
        for site in composition.slots:
            linear = biases and shape.kind(site) == Kind.LINEAR
            maps[site], undone = _fold(composition, site, modules[site], linear, whole)
            for number in undone:
                left.setdefault(number, []).append(site)
        found = {number for number in left if not spec(composition.candidate.deltas[number].method).divisible}
        if found <= whole:
            return maps, left
        whole |= found


def _fold(
    composition: Composition, site: Site, module: nn.Module, biases: bool, whole: set[int]
) -> tuple[Affine, list[int]]:
    """The map of a site with all slots up to the first that no weight can do or that is left whole, and the deltas from
    that one on.

    Where one of these reads the frozen weight, nothing is folded: it would read another.
    """
    present = [number for number, delta in enumerate(composition.deltas) if site in delta.slots]
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return Affine(torch.empty(0), None), present
    frozen, own = weight.detach().float(), getattr(module, "bias", None)  # its own: of an earlier merge
    now = Affine(frozen, None if own is None else own.detach().float())
    slots = composition.at(site)
    for position, slot in enumerate(slots):
        folded = None if present[position] in whole else slot.folded(now, frozen)
        if folded is None or (folded.bias is not None and own is None and not biases):
            if any(left.reads_weight for left in slots[position:]):
                return Affine(frozen, None), present
            return now, present[position:]
        now = folded
    return now, []


def _write(hf_model: Any, modules: dict[Site, nn.Module], shape: BackboneShape, maps: dict[Site, Affine]) -> None:
    """Gives the modules their new weights; tied ones stay tied where they are still equal."""
    groups: dict[Site, list[Site]] = {}
    for site, module in modules.items():
        if isinstance(getattr(module, "weight", None), Tensor):
            groups.setdefault(shape.owner(site), []).append(site)
    for sites in groups.values():
        if not any(site in maps for site in sites):
            continue
        written: list[tuple[Tensor, nn.Parameter]] = []
        for site in sites:
            layer: Any = modules[site]
            now = maps.get(site, Affine(layer.weight.detach().float(), None))
            weight = next((parameter for tensor, parameter in written if torch.equal(tensor, now.weight)), None)
            if weight is None:
                weight = _like(now.weight, layer.weight)
                written.append((now.weight, weight))
            if now.bias is not None:
                layer.bias = _like(now.bias, layer.weight)
            layer.weight = weight
        if len(sites) > 1:
            _retie(hf_model, modules)


def _like(tensor: Tensor, old: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(tensor.to(old.dtype), requires_grad=old.requires_grad)


def _retie(hf_model: Any, modules: dict[Site, nn.Module]) -> None:
    """Keeps the model's own table of embeddings in step.

    Its config goes on calling them tied: transformers sees by the weights that they are not, and UMT5 reads a scale of
    its output off that flag. It sees so only of tables that are saved, and it saves one that two modules share once, as
    the output layer's: where the encoder's is another, the decoder's would load as the encoder's. So the output layer
    gets one of its own there.
    """
    encoder: Any = modules[Site("encoder", None, "tokens")]
    decoder: Any = modules[Site("decoder", None, "tokens")]
    head: Any = modules[Site("decoder", None, "lm_head")]
    if encoder is decoder and encoder is not hf_model.get_input_embeddings():
        raise UserError("the two stacks share one embedding module; merge needs one each")
    hf_model.get_input_embeddings().weight = encoder.weight
    if head.weight is decoder.weight and head.weight is not encoder.weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)


def _rest(
    candidate: Candidate, state: Mapping[str, Tensor], left: dict[int, list[Site]], shape: BackboneShape
) -> tuple[Candidate | None, dict[str, Tensor]]:
    """What is left, as a candidate with its tensors."""
    parts = [
        (number, part)
        for number, sites in left.items()
        for part in _at(candidate.deltas[number], sites, len(candidate.deltas[number].sites(shape)))
    ]
    if not parts:
        return None, {}
    rest = Candidate(deltas=tuple(part for _, part in parts), training=candidate.training)
    tensors: dict[str, Tensor] = {}
    for number, part in parts:
        owners = {"shared", *(str(site) for site in part.sites(shape))}
        old, new = f"{number}.{part.method}.", f"{rest.deltas.index(part)}.{part.method}."
        for name, tensor in state.items():
            if name.startswith(old) and any(name.startswith(f"{old}{owner}.") for owner in owners):
                tensors[new + name.removeprefix(old)] = tensor
    return rest, tensors


def _at(delta: Delta, sites: list[Site], all_sites: int) -> list[Delta]:
    """The delta as it is, or cut down to some of its sites: one a role, with the blocks where it is left."""
    if len(sites) == all_sites:
        return [delta]
    blocks: dict[str, list[int]] = {}
    for site in sites:
        blocks.setdefault(site.role, []).extend([] if site.block is None else [site.block])
    return [
        delta.model_copy(
            update={
                "roles": (role,),
                **{f"{stack}_blocks": tuple(found) or None for stack in STACKS if role.startswith(stack)},
            }
        )
        for role, found in blocks.items()
    ]


def _notes(
    candidate: Candidate, left: dict[int, list[Site]], biases: tuple[Site, ...], dtype: torch.dtype
) -> list[str]:
    notes = []
    for number, sites in left.items():
        where = ", ".join(sorted({site.role for site in sites}))
        notes.append(f"{candidate.deltas[number].method} at {where} cannot be folded into weights and must be attached")
    if biases:
        where = ", ".join(sorted({site.role for site in biases}))
        notes.append(
            f"{where} have biases now, which from_pretrained does not load into a T5: keep the model in memory"
        )
    if dtype != torch.float32:
        notes.append(
            f"the weights are {dtype}: what was trained in float32 is rounded; merge a float32 copy to keep it"
        )
    return notes
