"""On what the sections of ``on_gpu.py`` run: device, T5 of random weights, rows of RTE's lengths; how time is taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from limit import waited

from autodelta.backbones import Backbone
from autodelta.engine.encode import Batch, Encoded, batches, encode
from autodelta.engine.schedule import order_seed
from autodelta.shape import BackboneShape

SPECIAL = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "dropout_rate": 0.0}
V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
BASE = {"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_heads": 12, "num_layers": 12,
        "num_decoder_layers": 12, **V1_1, **SPECIAL}  # fmt: skip
TINY = {"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": 2,
        "num_decoder_layers": 2, **V1_1, **SPECIAL}  # fmt: skip


class Note(Protocol):
    """Writes a line of a section down, at once."""

    def __call__(self, **line: Any) -> None:
        """What was found, by name."""


@dataclass(frozen=True)
class Setting:
    """What was asked for."""

    device: torch.device
    quick: bool  # a tiny shape, few steps: whether the script runs, not what it finds
    data: Path | None
    task: str

    @property
    def rows(self) -> int:
        """Of a batch."""
        return 4 if self.quick else 32

    @property
    def steps(self) -> int:
        """That are timed."""
        return 2 if self.quick else 10

    @property
    def warm(self) -> int:
        """Steps before them."""
        return 2 if self.quick else 4

    @property
    def packs(self) -> tuple[int, ...]:
        """Trials of a pack."""
        return (1, 2, 4) if self.quick else (1, 2, 4, 8, 16, 32)

    @property
    def most(self) -> int:
        """Trials of the pack that is looked into."""
        return 2 if self.quick else 8

    def backbone(
        self, dtype: torch.dtype = torch.bfloat16, *, attention: str = "eager", tiny: bool = False
    ) -> Backbone:
        """A T5 v1.1 of base's shape, with random weights."""
        from transformers import T5Config, T5ForConditionalGeneration

        torch.manual_seed(0)
        sizes = TINY if tiny or self.quick else BASE
        with self.device:
            model: Any = T5ForConditionalGeneration(T5Config(**sizes, attn_implementation=attention))
        model.to(dtype).requires_grad_(False).eval()
        return Backbone("random", model, self.tokenizer(), BackboneShape.of(model), model.device, dtype)

    def tokenizer(self) -> Any:
        """nano's, for rows of a task; for drawn ones only what pads."""
        if self.data is None:
            return SimpleNamespace(pad_token_id=SPECIAL["pad_token_id"])
        from transformers import AutoTokenizer

        from autodelta.backbones.loading import BUNDLED

        return AutoTokenizer.from_pretrained(BUNDLED / "nano")

    def encoded(self, backbone: Backbone) -> Encoded:
        """As many rows as RTE has, of about its lengths in T5's vocabulary (a mean of 70 tokens, a long tail), and its
        labels' texts of four and six tokens; or those of a task."""
        if self.data is not None:
            from autodelta import tasks

            return encode(backbone, tasks.load(self.task, data=self.data), "train")
        rng = np.random.default_rng(0)
        lengths = np.clip(rng.lognormal(np.log(60), 0.55, 2490), 12, 256).astype(int) // (8 if self.quick else 1)
        inputs = tuple(rng.integers(3, backbone.shape.vocab_size, length) for length in lengths)
        targets = (np.array([5, 6, 7, 1]), np.array([8, 9, 5, 6, 7, 1]))
        return Encoded(inputs, rng.integers(0, 2, len(inputs)), targets, pad=0)

    def batches(self, encoded: Encoded, *, seed: int = 0) -> list[Batch]:
        """Those of a trial of that seed, as far as steps are taken."""
        stream = batches(encoded, batch_size=self.rows, seed=order_seed(seed))
        return list(islice(stream, self.warm + self.steps))

    def timed(self, step: Callable[[], object]) -> dict[str, float]:
        """Milliseconds a step by the wall, and by the device's own clock between the first launch and the last; the
        largest memory meanwhile, MiB."""
        for _ in range(self.warm):
            step()
        return self.spent(step, self.steps)

    def spent(self, step: Callable[[], object], times: int) -> dict[str, float]:
        """``timed`` without steps before."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_gpu else []
        waited(self.device)
        began = time.perf_counter()
        for mark in marks[:1]:
            mark.record()
        for _ in range(times):
            step()
        for mark in marks[1:]:
            mark.record()
        launched = time.perf_counter() - began
        waited(self.device)
        wall = time.perf_counter() - began
        found = {"ms": 1e3 * wall / times, "launched_ms": 1e3 * launched / times}
        if on_gpu:
            found["events_ms"] = marks[0].elapsed_time(marks[1]) / times
            found["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return found
