"""Prompt tuning's modules: Lester et al. 2021, arXiv:2104.08691, section 2; initial weights as in section 3.2.

Departure: a prompt from the vocabulary starts at rows drawn from the whole token table; the paper draws from the 5,000
most common tokens, but no order of frequency is known of an arbitrary tokenizer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from autodelta.deltas.base import DeltaModule, Draw, Place, Slot, frozen_weight
from autodelta.deltas.prompt.spec import PromptConfig
from autodelta.shape import BackboneShape


class PromptSlot(Slot):
    """[P; E] for embeddings E ``(batch, length, d_model)``; everybody sees the prompt, also in a padded batch."""

    def __init__(self, config: PromptConfig, place: Place, generator: torch.Generator) -> None:
        super().__init__()
        table = frozen_weight(place)
        if config.init == "vocabulary":
            rows = torch.randint(table.shape[0], (config.length,), generator=generator)
            start = table[rows.to(table.device)].float().clone()
        else:
            start = torch.empty(config.length, table.shape[1]).uniform_(-0.5, 0.5, generator=generator)
        self.embeddings = nn.Parameter(start)

    def forward(self, embeddings: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        length = self.embeddings.shape[0]
        prompt = self.embeddings.to(embeddings.dtype).expand(embeddings.shape[0], -1, -1)
        return torch.cat((prompt, embeddings), dim=1), None if mask is None else pad(mask, (length, 0), value=1)


def build(config: PromptConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one soft prompt."""
    return DeltaModule({place.site: PromptSlot(config, place, draw.generator(place.site)) for place in places})
