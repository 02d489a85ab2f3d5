"""A lean forward pass of T5 over a Hugging Face model's weights, in which every place for a delta is a visible line.

The arithmetic is that of transformers' eager T5 (Raffel et al. 2020, arXiv 1910.10683; gated: Shazeer 2020, arXiv
2002.05202), and the slots are the same objects that the hooks of ``autodelta.deltas`` put on a model. What is left out
costs time and nothing else: no dropout, projections of one input in one product where no delta stands, the position
bias and the mask added up once a stack, logits only where a target is.

Several candidates go through the frozen weights together, each with rows of its own, which its slots alone see. Their
rows join the others' at the lowest block that they change: below it nothing is differentiated.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from autodelta.deltas.base import mapped
from autodelta.deltas.compose import Composition
from autodelta.engine.assembly import assemble
from autodelta.engine.layers import Block, KeysValues, Products, Read, Seen, Source
from autodelta.engine.layout import Layout, Part, Stream
from autodelta.engine.masks import decoder_biases, encoder_bias, further_bias, masked, tree
from autodelta.engine.wanted import Wanted, wanted
from autodelta.shape import STACKS, BackboneShape, Stack


class Memory(NamedTuple):
    """What the encoder gives: hidden states (batch, length, d_model) and the mask (batch, length), None if none is
    padded; a prompt's positions stand in front of both. Where they are kept: the decoder's frozen products with it."""

    hidden: Tensor
    mask: Tensor | None
    products: Products = ()


class Cache(NamedTuple):
    """What a block of the decoder keeps while answers are written: what self- and cross-attention look at."""

    seen: Seen
    read: KeysValues

    def only(self, rows: Tensor) -> "Cache":
        """That of some rows, by their numbers."""
        return Cache(self.seen.only(rows), self.read.only(rows))


class Forward:
    """The forward pass of a model with the deltas of one candidate or of several in place; none: the bare backbone.

    The model itself is not called: its weights are read, and keep their values (``assembly``). A candidate, the owner
    of its rows, is known by its number among the compositions.
    """

    def __init__(self, hf_model: Any, *compositions: Composition | None) -> None:
        self._slots = [{} if one is None else one.slots for one in compositions or (None,)]
        self._config = hf_model.config
        self.shape = BackboneShape.of(hf_model)
        self.scale = _logit_scale(hf_model)
        self.start = int(hf_model.config.decoder_start_token_id)
        self.device = hf_model.device
        self._all = assemble(hf_model, self._slots)
        self.encoder, self.decoder = self._all.blocks["encoder"], self._all.blocks["decoder"]
        self.depths = self._lowest("encoder")
        self._decoder_depths = self._lowest("decoder")
        self._alone = {stack: self._attend_alone(stack) for stack in STACKS}
        self._apart = [self._reads_apart(owner) for owner in range(len(self._slots))]

    @property
    def first_delta(self) -> int:
        """The first encoder block that the only candidate changes, the norm after the last one counted as one more;
        above them all, if none is changed. ``depths`` has every candidate's."""
        (depth,) = self.depths
        return depth

    # --- one candidate -----------------------------------------------------------------------------------------

    def encode(self, ids: Tensor, mask: Tensor | None) -> Memory:
        """The memory of input ids (batch, length); mask (batch, length): 1 where there is a token, or None."""
        return self.finish(self.begin(ids, mask), 0)

    def begin(self, ids: Tensor, mask: Tensor | None) -> Memory:
        """What enters the first encoder block."""
        return Memory(*self._embedded("encoder", 0, ids, mask))

    def finish(self, entered: Memory, block: int, *, until: int | None = None) -> Memory:
        """From what enters an encoder block to the memory, or to what enters block ``until``."""
        return self.finish_all([entered], [block], until=until)[0]

    @property
    def reads_frozen(self) -> bool:
        """Whether the decoder begins to read a memory with frozen products, whatever deltas then make of them."""
        return not any(self._apart)

    def product_bytes(self, memory: Memory) -> int:
        """What ``products`` would take."""
        widths = sum(sum(layer.cross_attn.projections.sizes) for layer in self.decoder if layer.cross_attn is not None)
        return memory.hidden[..., 0].numel() * widths * memory.hidden.element_size()

    def products(self, memory: Memory) -> Products:
        """The frozen products with a memory, which are the same for every candidate."""
        flat, shape = memory.hidden.flatten(0, 1), memory.hidden.shape[:2]
        found = (layer.cross_attn.projections.frozen(flat) for layer in self.decoder if layer.cross_attn is not None)
        return tuple([one.view(*shape, -1) for one in products] for products in found)

    def decode(
        self, ids: Tensor, memory: Memory, *, positions: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """Hidden states (batch, queries, d_model) of decoder input ids, final norm included, a prompt's left out.

        Args:
            ids: (batch, queries).
            memory: of the encoder.
            positions: (queries,), one after the other without it.
            seen: (queries, queries), whether a query (row) sees another (column); those before it without it.
        """
        return self.decode_all([ids], [memory], positions=positions, seen=seen)[0]

    def caches(self, memory: Memory) -> list[Cache]:
        """Of each block of the decoder, for ``further``, before anything is written."""
        layout, read = Layout(((Part(0, len(memory.hidden), 1),),)), self._read([memory], [0])
        found = []
        for number, layer in enumerate(self.decoder):
            assert layer.cross_attn is not None
            (looked_at,) = layer.cross_attn.read(read, layout, number)
            keys, values = looked_at.keys.contiguous(), looked_at.values.contiguous()  # else copied for every token
            found.append(Cache(Seen(), looked_at._replace(keys=keys, values=values)))
        return found

    def further(self, ids: Tensor, caches: Sequence[Cache]) -> Tensor:
        """Hidden states (batch, queries, d_model) of further decoder input ids (batch, queries) after those that the
        caches have seen, as ``decode`` of all together gives them; the caches then have seen these, too."""
        hidden, _ = self._embedded("decoder", 0, ids, None)
        before = caches[0].seen.length
        if before:  # a prompt stands in front of the first ones alone
            hidden = hidden[:, -ids.shape[1] :]
        layout = Layout(((Part(0, *hidden.shape[:2]),),))
        biases: list[Tensor | None] = []
        for layer, cache in zip(self.decoder, caches, strict=True):
            if layer.positions or not biases:
                table = layer.positions or self.decoder[0].positions
                biases = [further_bias(table, before, hidden.shape[1], hidden)]
            assert layer.cross_attn is not None
            hidden = layer.self_attn(hidden, layout, biases, seen=cache.seen)
            hidden = layer.ffn(layer.cross_attn(hidden, layout, (), [cache.read]), layout)
        return self._all.final["decoder"](hidden, layout)[:, -ids.shape[1] :]

    def loss(self, memory: Memory, targets: Tensor) -> Tensor:
        """Mean cross-entropy, nats a target token, of targets (batch, length) with -100 where padded."""
        return self.losses([memory], [targets])[0]

    def logits(self, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
        """(..., vocabulary) of decoder hidden states, or (..., tokens) of these tokens (tokens,) alone: in float32, as
        that costs little for a few, and rounded to bfloat16 the likeliest two would often tie."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        head = self._all.head.parts[0]
        if tokens is not None and not any(head.owned):
            exact = torch.promote_types(flat.dtype, torch.float32)
            found = functional.linear(flat.to(exact) * self.scale, head.weight[tokens].to(exact))
        else:
            whole = self._logits(flat, [len(flat)])
            found = whole if tokens is None else whole[:, tokens]
        return found.view(*hidden.shape[:-1], -1)

    # --- all candidates ----------------------------------------------------------------------------------------

    def finish_all(self, entered: Sequence[Memory], blocks: Sequence[int], *, until: int | None = None) -> list[Memory]:
        """``finish`` for every candidate, from what enters its block; above the last norm, its memory as it is."""
        masks = [masked(one.mask, one.hidden.dtype) for one in entered]
        runs = [self._run("encoder", owner, one.hidden.shape[1]) for owner, one in enumerate(entered)]
        stream, table, last = Stream.of({}, runs), None, len(self.encoder[:until])
        biases: list[Tensor | None] = []
        for number in range(last + 1):
            joining = {owner: entered[owner].hidden for owner, block in enumerate(blocks) if block == number}
            if joining:
                stream = Stream.of({**stream.parts(), **joining}, runs)
            if number == last:
                break
            layer = self.encoder[number]
            table = layer.positions or table
            if stream.layout.parts:
                if joining or layer.positions:
                    biases = [encoder_bias(table, run, masks, stream.hidden) for run in stream.layout.runs]
                hidden = layer.self_attn(stream.hidden, stream.layout, biases)
                stream = stream._replace(hidden=layer.ffn(hidden, stream.layout))
        if until is None and stream.layout.parts:
            stream = stream._replace(hidden=self._all.final["encoder"](stream.hidden, stream.layout))
        done = stream.parts()
        return [one._replace(hidden=done.get(owner, one.hidden)) for owner, one in enumerate(entered)]

    def decode_all(
        self,
        ids: Sequence[Tensor],
        memories: Sequence[Memory],
        *,
        positions: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> list[Tensor]:
        """``decode`` for every candidate: its ids (batch, queries) with its memory.

        Those whose lowest blocks are frozen, memory included, go through them apart from the others.
        """
        parts = {owner: self._embedded("decoder", owner, one, None)[0] for owner, one in enumerate(ids)}
        added = [parts[owner].shape[1] - one.shape[1] for owner, one in enumerate(ids)]
        trees = [tree(one.shape[1], more, positions, seen, parts[0]) for one, more in zip(ids, added, strict=True)]
        readers = Counter(id(one.hidden) for one in memories)
        runs = [
            (
                self._run("decoder", owner, parts[owner].shape[1]),
                (added[owner], one.hidden.shape[1], id(one.hidden) if readers[id(one.hidden)] > 1 else None),
            )
            for owner, one in enumerate(memories)
        ]
        depths = [
            0 if one.hidden.requires_grad else depth for one, depth in zip(memories, self._decoder_depths, strict=True)
        ]
        flows: list[_Flow] = []
        for number, layer in enumerate(self.decoder):
            regrouped = number == 0 or number in depths
            if regrouped:
                parts |= _parts(flows)
                groups = [o for o in parts if depths[o] <= number], [o for o in parts if depths[o] > number]
                streams = [(Stream.of({o: parts[o] for o in group}, runs), group) for group in groups if group]
                flows = [_Flow(stream, self._read(memories, group), ()) for stream, group in streams]
            table = layer.positions or self.decoder[0].positions
            if regrouped or layer.positions:
                flows = [one._replace(biases=decoder_biases(table, one.stream.layout, trees)) for one in flows]
            flows = [_decoded(layer, one, number) for one in flows]
        stream = Stream.of(_parts(flows), runs)
        done = stream._replace(hidden=self._all.final["decoder"](stream.hidden, stream.layout)).parts()
        return [done[owner][:, more:] for owner, more in enumerate(added)]

    def losses(self, memories: Sequence[Memory], targets: Sequence[Tensor]) -> list[Tensor]:
        """``loss`` for every candidate: a mean over its own target tokens; targets on the CPU."""
        return self.losses_of(memories, self.wanted(targets))

    def wanted(self, targets: Sequence[Tensor]) -> Wanted:
        """What ``losses`` asks for, laid out."""
        return wanted(targets, start=self.start, pad=self._config.pad_token_id, device=self.device)

    def losses_of(self, memories: Sequence[Memory], asked: Wanted) -> list[Tensor]:
        """``losses`` from what was laid out: work of the device alone."""
        hidden = torch.cat([one.flatten(0, 1) for one in self.decode_all(asked.ids, memories)])
        logits = self._logits(hidden.index_select(0, asked.where), asked.counts)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        each = functional.cross_entropy(wide, asked.tokens, reduction="none")
        return [part.mean() for part in each.split(asked.counts)]

    # --- how it is put together --------------------------------------------------------------------------------

    def _embedded(self, stack: Stack, owner: int, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Token embeddings after one candidate's slots at the table, prompts in front."""
        table = self._all.tables[stack]
        hidden = functional.embedding(ids, table.weight)
        if table.owned[owner]:
            hidden = mapped(table.owned[owner], ids, hidden, table.weight)
        dtype = hidden.dtype
        for slot in self._all.embeddings[stack][owner]:
            hidden, mask = slot(hidden, mask)
        return hidden.to(dtype), mask

    def _logits(self, hidden: Tensor, counts: Sequence[int]) -> Tensor:
        """(tokens, vocabulary) of hidden states (tokens, d_model), so many of each candidate."""
        layout = Layout(tuple((Part(owner, count, 1),) for owner, count in enumerate(counts)))
        (found,) = self._all.head(hidden * self.scale if self.scale != 1.0 else hidden, layout)
        return found.view(len(hidden), -1)

    def _run(self, stack: Stack, owner: int, length: int) -> Hashable:
        """What candidates have in common that attend in one product."""
        return length, owner if owner in self._alone[stack] else None

    def _attend_alone(self, stack: Stack) -> frozenset[int]:
        """The candidates with keys, values or position biases of their own."""
        return frozenset(
            owner
            for owner, slots in enumerate(self._slots)
            if any(s.stack == stack and s.part.rsplit(".", 1)[-1] in ("keys_values", "positions") for s in slots)
        )

    def _reads_apart(self, owner: int) -> bool:
        """Whether a candidate has products of its own with the memory: differences in the place of a weight."""
        return any(block.cross_attn is not None and block.cross_attn.projections.apart[owner] for block in self.decoder)

    def _lowest(self, stack: Stack) -> tuple[int, ...]:
        """The first block of a stack that each candidate changes; what follows the last one counts as one more."""
        last = self.shape.blocks(stack)
        outer = {"final_norm": last, "lm_head": last}
        return tuple(
            min(
                (outer.get(s.part, 0) if s.block is None else s.block for s in slots if s.stack == stack),
                default=last + 1,
            )
            for slots in self._slots
        )

    def _read(self, memories: Sequence[Memory], owners: Sequence[int]) -> Read:
        """What these candidates read: a frozen memory once, whoever shares it, and apart from those in training."""
        numbers: dict[int, int] = {}  # by the identity of a memory
        of, together = {}, dict[tuple[bool, ...], dict[int, Tensor]]()
        for owner in owners:
            hidden = memories[owner].hidden
            of[owner] = numbers.setdefault(id(hidden), owner)
            kind = (hidden.requires_grad, self._apart[owner], bool(memories[owner].products))
            together.setdefault(kind, {}).setdefault(of[owner], hidden)
        sources = []
        for (_, apart, _), tensors in together.items():
            stream = Stream.of(tensors, [None] * len(memories))
            sources.append(Source(stream.hidden, stream.layout, apart))
        read = {owner: memories[owner] for owner in numbers.values()}
        masks = {owner: masked(one.mask, one.hidden.dtype) for owner, one in read.items()}
        return Read(tuple(sources), of, masks, {owner: one.products for owner, one in read.items() if one.products})


class _Flow(NamedTuple):
    """Candidates that go through a decoder block together."""

    stream: Stream
    read: Read
    biases: Sequence[Tensor | None]  # of each run


def _decoded(layer: Block, flow: _Flow, block: int) -> _Flow:
    """After this block of the decoder."""
    assert layer.cross_attn is not None
    (hidden, layout), read, biases = flow
    hidden = layer.self_attn(hidden, layout, biases)
    hidden = layer.cross_attn(hidden, layout, (), layer.cross_attn.read(read, layout, block))
    return flow._replace(stream=Stream(layer.ffn(hidden, layout), layout))


def _parts(flows: Sequence[_Flow]) -> dict[int, Tensor]:
    """Every owner's tensor."""
    return {owner: part for flow in flows for owner, part in flow.stream.parts().items()}


def _logit_scale(hf_model: Any) -> float:
    """What decoder outputs are multiplied by before the output layer. T5 has a flag of its own for it; UMT5 reads
    another, which mT5 has and does not read."""
    config = hf_model.config
    scaled = getattr(config, "scale_decoder_outputs", config.model_type != "mt5" and config.tie_word_embeddings)
    return float(config.d_model**-0.5) if scaled else 1.0
