"""Finds the module behind every site of a Hugging Face T5, by structure and never by a stored path."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from autodelta.errors import UserError
from autodelta.shape import ATTENTIONS, STACKS, BackboneShape, Site, Stack, no_t5


def modules(hf_model: Any) -> dict[Site, nn.Module]:
    """The module behind every site, encoder first, from input to output.

    A sublayer's is the Hugging Face layer around norm, attention or feed-forward network, and residual sum; that of
    keys and values is the attention; that of a stack's input embeddings is the stack.

    Raises:
        UserError: the model is not built as a T5, or its weights are not of the shape that its config states.
    """
    try:
        found = dict(_all(hf_model))
        shape = BackboneShape.of(hf_model)
    except (AttributeError, RuntimeError, ValueError) as error:  # RuntimeError: something was looked for in vain
        raise no_t5(hf_model) from error
    for site in shape.sites():
        if site not in found:
            raise UserError(f"the backbone has nothing at {site}, which its config promises")
        weight = getattr(found[site], "weight", None)
        if weight is not None and tuple(weight.shape) != shape.weight_shape(site):
            raise UserError(
                f"the backbone's weight at {site} has the shape {tuple(weight.shape)}; "
                f"its config states {shape.weight_shape(site)}"
            )
    return {site: found[site] for site in shape.sites()}


def inner(sublayer: nn.Module) -> nn.Module:
    """What a sublayer computes between its norm and the residual sum: an attention or a feed-forward network."""
    return next(child for child in sublayer.children() if any(isinstance(m, nn.Linear) for m in child.modules()))


def stack(hf_model: Any, name: Stack) -> Any:
    """The encoder or the decoder of a model."""
    return hf_model.get_encoder() if name == "encoder" else hf_model.get_decoder()


def _all(hf_model: Any) -> Iterator[tuple[Site, nn.Module]]:
    for name in STACKS:
        module = stack(hf_model, name)
        yield Site(name, None, "embeddings"), module
        yield Site(name, None, "tokens"), _child(module, nn.Embedding)
        blocks = _child(module, nn.ModuleList)
        for number, block in enumerate(blocks.children()):
            for part, found in _parts(block, name):
                yield Site(name, number, part), found
        first = _attention_positions(next(iter(blocks.children())))
        if first is not None:
            yield Site(name, None, "positions"), first
        yield Site(name, None, "final_norm"), _norm(module)
    yield Site("decoder", None, "lm_head"), hf_model.get_output_embeddings()


def _parts(block: nn.Module, stack: Stack) -> Iterator[tuple[str, nn.Module]]:
    positions = _attention_positions(block)
    if positions is not None:
        yield "positions", positions
    layers = list(_child(block, nn.ModuleList).children())
    for part, layer in zip((*ATTENTIONS[stack], "ffn"), layers, strict=True):
        yield part, layer
        yield f"{part}.norm", _norm(layer)
        if part == "ffn":
            yield from ((f"ffn.{name}", module) for name, module in _feed_forward(inner(layer)))
        else:
            attention = inner(layer)
            yield f"{part}.keys_values", attention
            yield from ((f"{part}.{name}", attention.get_submodule(name)) for name in "qkvo")


def _feed_forward(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """``wi`` and ``wo``, or with a gate ``wi_0`` (which the activation follows), ``wi_1`` and ``wo``."""
    linear = [module for module in network.children() if isinstance(module, nn.Linear)]
    yield from zip(("gate", "in", "out") if len(linear) == 3 else ("in", "out"), linear, strict=True)


def _attention_positions(block: nn.Module) -> nn.Module | None:
    return next((module for module in block.modules() if isinstance(module, nn.Embedding)), None)


def _child(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    return next(child for child in module.children() if isinstance(child, kind))


def _norm(module: nn.Module) -> nn.Module:
    """The child that has nothing but one scale: T5's root-mean-square norm."""
    return next(child for child in module.children() if [p.dim() for p in child.parameters()] == [1])
