"""The optimiser of pretraining, and gradients averaged over processes.

Hidden matrices by Muon (Jordan et al. 2024) with the update scale of Liu et al. 2025 (arXiv 2502.16982); all else by
Adam scaled by each tensor's RMS, as Adafactor does (Shazeer and Stern 2018, arXiv 1804.04235): T5's embeddings have a
standard deviation of 1, and unscaled steps stall on them.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Muon, Optimizer
from transformers import T5ForConditionalGeneration

from autodelta.backbones.pretrain.plan import Stable


class Optimiser:
    """Muon on the hidden matrices, RMS-scaled Adam on embeddings, norms and position biases."""

    def __init__(self, model: T5ForConditionalGeneration, stable: Stable) -> None:
        hidden = {n: p for n, p in model.named_parameters() if p.ndim == 2 and ".block." in n and "bias" not in n}
        if stable.matrix_lr is None:
            hidden = {}
        rest = {n: p for n, p in model.named_parameters() if n not in hidden}
        d_kv = model.config.d_kv
        # T5 folds attention's 1/sqrt(d_kv) into the query projection, so its steps shrink by the same factor.
        groups: list[dict[str, Any]] = [
            {"params": [(n, p)], "lr": (stable.matrix_lr or 0.0) * (d_kv**-0.5 if ".q." in n else 1.0)}
            for n, p in hidden.items()
        ]
        self.names: dict[Tensor, str] = {p: n for n, p in model.named_parameters()}
        self.matrices: Optimizer | None = None
        if groups:
            self.matrices = Muon(groups, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        self.vectors = torch.optim.AdamW(
            [{"params": [p]} for p in rest.values()], lr=stable.vector_lr, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.base: list[Any] = [group["lr"] for group in groups]
        self.vector_lr = stable.vector_lr

    def step(self, scale: float) -> None:
        if self.matrices is not None:
            for group, base in zip(self.matrices.param_groups, self.base, strict=True):
                group["lr"] = base * scale
        for group in self.vectors.param_groups:
            rms = group["params"][0].detach().square().mean().sqrt().item()
            group["lr"] = self.vector_lr * scale * max(rms, 1e-3)
        for part in self._parts:
            part.step()

    @property
    def _parts(self) -> list[Optimizer]:
        return [self.vectors] if self.matrices is None else [self.matrices, self.vectors]

    def state(self) -> dict[str, Tensor]:
        return {
            f"{self.names[p]}|{key}": torch.as_tensor(value).clone()
            for part in self._parts
            for p, entries in part.state.items()
            for key, value in entries.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for part in self._parts:
            for group in part.param_groups:
                for p in group["params"]:
                    prefix = f"{self.names[p]}|"
                    part.state[p] = {
                        key.removeprefix(prefix): value.to(p.device) if value.ndim else value
                        for key, value in tensors.items()
                        if key.startswith(prefix)
                    }


def average_gradients(model: torch.nn.Module, processes: int) -> None:
    """Mean gradient over processes, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
