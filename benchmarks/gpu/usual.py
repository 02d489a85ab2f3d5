"""The usual way by itself: transformers' T5 with peft's LoRA and a plain loop, as fast as a user easily has it."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch

from autodelta.engine import devices
from autodelta.engine.encode import Batch
from gpu.setting import Note, Setting

NAMES = ("q", "k", "v", "o", "wi_0", "wi_1", "wo")
CASES = (("lora", "everywhere", "eager"), ("lora", "everywhere", "sdpa"), ("lora", "decoder", "sdpa"))


def usual(setting: Setting, note: Note) -> None:
    """bf16 throughout (peft's matrices, too), no dropout, fused AdamW, pinned transfers, no number read in the loop: it
    is faster than Trainer."""
    for deltas, where, attention in CASES:
        step, batches = prepared(setting, where, attention)
        note(deltas=deltas, where=where, attention=attention, batch=shape(batches), **setting.timed(step))


def prepared(setting: Setting, where: str, attention: str) -> tuple[Callable[[], None], list[Batch]]:
    """A training step, and the batches that it goes through in turn."""
    from peft import LoraConfig, get_peft_model

    backbone = setting.backbone(attention=attention)
    stack = "decoder" if where == "decoder" else "(encoder|decoder)"
    config = LoraConfig(
        r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        target_modules=rf"{stack}\.block\..*\.({'|'.join(NAMES)})",
        task_type="SEQ_2_SEQ_LM",
    )
    model: Any = get_peft_model(backbone.model, config, autocast_adapter_dtype=False).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    batches = setting.batches(setting.encoded(backbone))
    turn = cycle(batches)

    def step() -> None:
        batch = next(turn)
        ids, mask, labels = (devices.onto(one, setting.device) for one in (batch.input_ids, batch.mask, batch.targets))
        model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step, batches


def shape(batches: list[Batch]) -> str:
    """Rows and the mean length, padding included."""
    return f"{len(batches[0].labels)} x {sum(one.input_ids.shape[1] for one in batches) / len(batches):.0f}"
