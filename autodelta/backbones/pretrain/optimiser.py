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
from autodelta.backbones.pretrain.scale import rms

# What a block adds to the residual stream is as large as these; what attention's queries and keys say is not.
HELD = (".v.weight", ".o.weight", ".wi.weight", ".wi_0.weight", ".wi_1.weight", ".wo.weight", "shared.weight")


class Optimiser:
    """Muon on the hidden matrices, RMS-scaled Adam on embeddings, position biases and the gain before the logits.

    Before a norm a factor does nothing, so nothing keeps what a block writes from outgrowing the embeddings; a first
    block whose output was seventy times theirs is what came of it, and deltas, which start small, had no say beside
    that. So every matrix that writes to the residual stream keeps the size it starts with, the embeddings too, and all
    gains but the last stay at one.
    """

    def __init__(self, model: T5ForConditionalGeneration, stable: Stable) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("layer_norm" not in name or name == "decoder.final_layer_norm.weight")
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        hidden = {n: p for n, p in trained.items() if p.ndim == 2 and ".block." in n and "bias" not in n}
        if stable.matrix_lr is None:
            hidden = {}
        rest = {n: p for n, p in trained.items() if n not in hidden}
        self.held: dict[Tensor, Tensor] = {}
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
        self.relative = [_relative_rate(name, stable) for name in rest]

    @torch.no_grad()
    def hold(self) -> None:
        """From now on these keep the size that they have; for a model that has the weights it goes on from."""
        self.held = {p: rms(p) for p, name in self.names.items() if name.endswith(HELD)}

    @torch.no_grad()
    def step(self, scale: float) -> None:
        if self.matrices is not None:
            for group, base in zip(self.matrices.param_groups, self.base, strict=True):
                group["lr"] = base * scale
        for group, relative in zip(self.vectors.param_groups, self.relative, strict=True):
            group["lr"] = relative * scale * max(rms(group["params"][0]).item(), 1e-3)
        for part in self._parts:
            part.step()
        for parameter, size in self.held.items():
            parameter.mul_(size / rms(parameter))

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


def _relative_rate(name: str, stable: Stable) -> float:
    """The step of what Adam trains, as a share of its size."""
    if name == "shared.weight":
        return stable.embedding_lr
    return stable.position_lr if "relative_attention_bias" in name else stable.vector_lr


def average_gradients(model: torch.nn.Module, processes: int) -> None:
    """Mean gradient over processes, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
