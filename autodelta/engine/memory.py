"""What happens when memory runs out: fewer rows go through the backbone at once. And what is kept of what is free."""

import ctypes
import gc
import os
import re
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from autodelta.engine.failures import OutOfMemory

T = TypeVar("T")
# How allocators say it: torch on a GPU, on a CPU under Linux and elsewhere, cuBLAS and cuDNN for their workspace.
SAID = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
ASKED = re.compile(r"tried to allocate ([0-9.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)
# Options of glibc's mallopt (malloc.h): how much may lie free at the end of the heap; the largest block of the heap;
# how many heaps: a thread's own, as Ray's engines train in, would be given back whole.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BYTES, BLOCK_BYTES = 2**28, 2**25
UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


class Rows:
    """How many rows go through the backbone at once: as many as allowed, halved for good when they do not fit."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def at_most(self, number: int) -> None:
        """Lowers the number of rows at once to ``number``, if it is above."""
        self.at_once = min(self.at_once, max(1, number))

    def fit(self, action: Callable[[int], T]) -> T:
        """What ``action`` gives for that many rows at once; it is done again with half as many when memory runs out.

        Raises:
            OutOfMemory: one row does not fit.
        """
        while True:
            try:
                return action(self.at_once)
            except Exception as error:
                found = exhaustion(error)
                if found is None:
                    raise
            # Only here, where the error is gone, nothing holds the tensors of the failed attempt any more.
            release()
            if self.at_once == 1:
                raise found
            self.at_once //= 2


def in_memory(action: Callable[[], T]) -> T:
    """Runs what cannot be split; running out of memory becomes ``OutOfMemory``."""
    return Rows(1).fit(lambda _: action())


def release() -> None:
    """Gives a GPU back what nobody holds; on a CPU that has been given back already."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def keep_freed() -> None:
    """Lets this process keep up to 256 MiB that it has freed, under glibc and unless its user has set how malloc works:
    else every step gives what it needed back to the system, and gets the same back as pages to be cleared."""
    chosen = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or chosen:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, BLOCK_BYTES)
        mallopt(M_ARENA_MAX, 1)


def exhaustion(error: Exception) -> OutOfMemory | None:
    """The error, if it says that memory ran out: on a GPU, on a CPU or in Python; with what would have been needed."""
    lines = str(error).splitlines()
    if isinstance(error, OutOfMemory):
        return error.with_traceback(None)
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not (
        isinstance(error, RuntimeError) and any(word in str(error) for word in SAID)
    ):
        return None
    asked = ASKED.search(str(error))
    needed = None
    if asked:
        held = torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0
        needed = held + round(float(asked[1]) * UNITS[asked[2].lower()])
    return OutOfMemory(lines[0] if lines else "the machine's memory is exhausted", needed)
