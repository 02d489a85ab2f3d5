"""Puts a candidate's deltas on a Hugging Face T5 with hooks and handles, and takes them off without a trace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from torch import Tensor, nn
from torch.nn import functional

from autodelta.backbones import roles
from autodelta.candidate import Candidate, Delta
from autodelta.deltas import attention
from autodelta.deltas.base import Slot, mapped
from autodelta.deltas.compose import Composition, compose
from autodelta.deltas.difference import DifferenceSlot, projected
from autodelta.errors import UserError
from autodelta.shape import STACKS, BackboneShape, Kind, Site, Stack

_taken: WeakSet[nn.Module] = WeakSet()
# What T5's stacks accept by position, in order.
_STACK_ARGUMENTS = (
    "input_ids",
    "attention_mask",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "inputs_embeds",
    "past_key_values",
)


class Attached:
    """Deltas on a model. Leaving a ``with`` block, or ``detach()``, restores the model bit for bit."""

    def __init__(self, hf_model: Any, composition: Composition) -> None:
        self.model = hf_model
        self.composition = composition
        self._undo = _put_on(hf_model, composition)

    @property
    def candidate(self) -> Candidate:
        return self.composition.candidate

    def parameters(self) -> Iterator[nn.Parameter]:
        """All trainable parameters, each once."""
        return self.composition.parameters()

    def groups(self) -> list[tuple[Delta, list[nn.Parameter]]]:
        """Every delta with its trainable parameters."""
        return self.composition.groups()

    def state_dict(self) -> dict[str, Tensor]:
        """The deltas' tensors by name ``<delta index>.<method>.<site>.<tensor>``, sharing memory with them."""
        return {name: tensor.detach() for name, tensor in self.composition.tensors().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copies saved tensors in.

        Raises:
            UserError: they belong to another candidate or backbone.
        """
        self.composition.load_tensors(state)

    def detach(self) -> None:
        """Takes the deltas off. Done twice, it does nothing."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def attach(hf_model: Any, candidate: Candidate, *, seed: int = 0, label_ids: Sequence[Sequence[int]] = ()) -> Attached:
    """The candidate's deltas, freshly initialised from ``seed``, put on a Hugging Face T5, which is frozen meanwhile.

    Args:
        hf_model: the model.
        candidate: the deltas.
        seed: of the initial weights.
        label_ids: the token ids of the task's label words, for prompts that start from them.

    Raises:
        ValueError: the candidate does not fit the backbone, or the model has deltas on it already.
    """
    check_bare(hf_model)
    return Attached(hf_model, compose(hf_model, candidate, seed=seed, label_ids=label_ids))


def check_bare(hf_model: Any) -> None:
    """Raises UserError where a model has deltas on it."""
    if hf_model in _taken:
        raise UserError("this model has deltas on it already; detach() them first")


def _put_on(hf_model: Any, composition: Composition) -> list[Callable[[], None]]:
    """Freezes the model and registers every hook; returns what undoes it, last first."""
    undo: list[Callable[[], None]] = []
    try:
        _register(hf_model, composition, undo)
    except BaseException:  # Ctrl-C, too
        for take_off in reversed(undo):
            take_off()
        raise
    return undo


def _register(hf_model: Any, composition: Composition, undo: list[Callable[[], None]]) -> None:
    modules, shape = roles.modules(hf_model), BackboneShape.of(hf_model)
    keys_values: dict[Stack, dict[nn.Module, tuple[Slot, ...]]] = {stack: {} for stack in STACKS}
    for site, slots in composition.slots.items():
        kind, module = shape.kind(site), modules[site]
        if kind == Kind.SUBLAYER:
            undo.extend(_on_sublayer(module, slots))
        elif kind == Kind.KEYS_VALUES:
            keys_values[site.stack][module] = slots
        elif kind != Kind.EMBEDDINGS and site.part != "tokens":
            undo.append(_on_module(module, slots))
    for stack in STACKS:
        undo.extend(_on_stack(hf_model, stack, composition))
        if keys_values[stack]:
            undo.append(attention.put(roles.stack(hf_model, stack), keys_values[stack]))
    undo.append(_freeze(hf_model))
    _taken.add(hf_model)
    undo.append(lambda: _taken.discard(hf_model))


def _freeze(hf_model: Any) -> Callable[[], None]:
    """No tensor of the model requires a gradient, until what is returned is called."""
    trainable = [parameter for parameter in hf_model.parameters() if parameter.requires_grad]

    def require(gradient: bool) -> None:
        for parameter in trainable:
            parameter.requires_grad_(gradient)

    require(False)
    return lambda: require(True)


def _on_module(module: nn.Module, slots: tuple[Slot, ...]) -> Callable[[], None]:
    if isinstance(module, nn.Linear) and isinstance(slots[0], DifferenceSlot):
        # The layer's own product would be thrown away, so it is not a hook that changes its output.
        module.__dict__["forward"] = lambda x: projected(slots, x, module.weight, module.bias)
        return lambda: module.__dict__.pop("forward")

    def hook(module: Any, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
        return mapped(slots, args[0], y, module.weight)

    return module.register_forward_hook(hook).remove


def _on_sublayer(layer: nn.Module, slots: tuple[Slot, ...]) -> list[Callable[[], None]]:
    """The layer's input is noted as it enters; what its attention or feed-forward network gives is changed."""
    entered: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        entered[:] = args[:1]

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return mapped(slots, entered.pop(), output, None)
        return (mapped(slots, entered.pop(), output[0], None), *output[1:])

    return [layer.register_forward_pre_hook(note).remove, roles.inner(layer).register_forward_hook(hook).remove]


def _on_stack(hf_model: Any, stack: Stack, composition: Composition) -> list[Callable[[], None]]:
    """Hooks around a stack for token tables, input embeddings and the masks that these make longer."""
    tokens = composition.at(Site(stack, None, "tokens"))
    embeddings = composition.at(Site(stack, None, "embeddings"))
    longer_encoder = stack == "decoder" and composition.at(Site("encoder", None, "embeddings"))
    if not (tokens or embeddings or longer_encoder):
        return []
    added: list[int] = []

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kwargs = {**dict(zip(_STACK_ARGUMENTS, args, strict=False)), **kwargs}
        if longer_encoder:
            kwargs["encoder_attention_mask"] = _lengthened(
                kwargs.get("encoder_attention_mask"), kwargs["encoder_hidden_states"].shape[1]
            )
        if tokens or embeddings:
            added[:] = [_embed(module, tokens, embeddings, kwargs)]
        return (), kwargs

    def after(_: Any, __: Any, output: Any) -> Any:
        return _stripped(output, added.pop()) if added else output

    undo = [roles.stack(hf_model, stack).register_forward_pre_hook(before, with_kwargs=True).remove]
    if stack == "decoder" and embeddings:
        undo.append(roles.stack(hf_model, stack).register_forward_hook(after).remove)
    return undo


def _embed(module: Any, tokens: Sequence[Slot], embeddings: Sequence[Slot], kwargs: dict[str, Any]) -> int:
    """Replaces a stack's token ids by changed embeddings, and its mask; returns how many positions came in front."""
    given = kwargs.get("inputs_embeds")
    if given is None:
        ids = kwargs["input_ids"]
        given = mapped(tokens, ids, module.embed_tokens(ids), module.embed_tokens.weight)
    changed, mask = given, kwargs.get("attention_mask")
    past = _past_length(kwargs.get("past_key_values"))
    if past:  # what came in front is in the cache since the first step
        mask = _lengthened(mask, past + given.shape[1]) if embeddings else mask
    else:
        for slot in embeddings:
            changed, mask = slot(changed, mask)
    kwargs.update(input_ids=None, inputs_embeds=changed.to(given.dtype), attention_mask=mask)
    return int(changed.shape[1] - given.shape[1])


def _past_length(cache: Any) -> int:
    return 0 if cache is None else int(cache.get_seq_length())


def _lengthened(mask: Tensor | None, length: int) -> Tensor | None:
    """A mask ``(batch, positions)`` for as many positions as there are, those in front seen by everybody."""
    if mask is None or mask.shape[-1] >= length:
        return mask
    return functional.pad(mask, (length - mask.shape[-1], 0), value=1)


def _stripped(output: Any, positions: int) -> Any:
    """A stack's output without the positions that a prompt put in front: logits are then those of the tokens alone."""
    if not positions:
        return output
    if isinstance(output, tuple):
        return (output[0][:, positions:], *output[1:])
    output.last_hidden_state = output.last_hidden_state[:, positions:]
    return output
