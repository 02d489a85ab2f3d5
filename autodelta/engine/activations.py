"""What is frozen below the lowest delta is computed once: encoder activations, kept from trial to trial.

Kept by the batch's token ids, whole, as they were padded; they tell its mask, too, as every row is closed by </s>. So
what comes out of the cache is, bit for bit, what would be computed. Evaluation has the same batches every time, and so
have confirmation runs at one seed. Beside a whole encoder's output lie the decoder's frozen keys and values of it, as
long as there is room: they are several times as large and cost less to make again, so nothing makes way for them.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

import torch
from torch import Tensor

from autodelta.engine import devices
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.layers import Products

BYTES = 2**30  # of activations, before the oldest are dropped

Name = tuple[tuple[int, ...], bytes]
Key = tuple[int, tuple[int, ...], bytes]


class Activations:
    """Encoder activations by depth and batch, the least recently used dropped first; keys and values before them."""

    def __init__(self, most_bytes: int = BYTES) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._found: OrderedDict[Key, Memory] = OrderedDict()
        self._products: dict[Key, Products] = {}

    def encode(self, forward: Forward, ids: Tensor, mask: Tensor | None, *, device: torch.device) -> Memory:
        """The memory of input ids (batch, length) on the CPU; what no delta touches comes from the cache."""
        return forward.finish(self.entering(forward, ids, mask, device=device), forward.first_delta)

    def entering(self, forward: Forward, ids: Tensor, mask: Tensor | None, *, device: torch.device) -> Memory:
        """What enters the lowest block that a delta changes, from the cache unless it is the first; the memory itself
        if none is changed."""
        depth = forward.first_delta
        if depth == 0:
            return _begun(forward, ids, mask, device)
        whole = depth > len(forward.encoder)

        def below() -> Memory:
            return forward.finish(_begun(forward, ids, mask, device), 0, until=None if whole else depth)

        key = (depth, *named(ids))
        found = self._kept(key, below)
        return self._with_products(key, found, forward) if whole and forward.reads_frozen else found

    def _kept(self, key: Key, compute: Callable[[], Memory]) -> Memory:
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        with torch.no_grad():
            found = compute()
        self._found[key] = found
        self.held_bytes += _bytes(found)
        while self.held_bytes > self.most_bytes and self._products:
            self._drop_products(next(iter(self._products)))
        while self.held_bytes > self.most_bytes and self._found:
            self.held_bytes -= _bytes(self._found.popitem(last=False)[1])
        return found

    def _with_products(self, key: Key, memory: Memory, forward: Forward) -> Memory:
        """The memory with what the decoder reads of it, if that is kept, or there is room."""
        if key not in self._products:
            if key not in self._found or self.held_bytes + forward.product_bytes(memory) > self.most_bytes:
                return memory
            with torch.no_grad():
                self._products[key] = forward.products(memory)
            self.held_bytes += _product_bytes(self._products[key])
        return memory._replace(products=self._products[key])

    def _drop_products(self, key: Key) -> None:
        self.held_bytes -= _product_bytes(self._products.pop(key))

    def clear(self) -> None:
        """Drops everything."""
        self._found.clear()
        self._products.clear()
        self.held_bytes = 0


def named(ids: Tensor) -> Name:
    """What tells token ids (batch, length) on the CPU from others: their shape and a hash."""
    return tuple(ids.shape), blake2b(ids.numpy().tobytes()).digest()


def _begun(forward: Forward, ids: Tensor, mask: Tensor | None, device: torch.device) -> Memory:
    return forward.begin(devices.onto(ids, device), None if mask is None else devices.onto(mask, device))


def _bytes(memory: Memory) -> int:
    return memory.hidden.nbytes + (0 if memory.mask is None else memory.mask.nbytes)


def _product_bytes(products: Products) -> int:
    return sum(one.nbytes for block in products for one in block)
