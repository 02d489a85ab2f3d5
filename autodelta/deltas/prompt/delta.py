"""Prompt tuning's modules: Lester et al. 2021, arXiv:2104.08691, section 2; initial weights as in section 3.2.

A prompt from the label words starts at the embedding of each (the mean, of a word of several tokens), and goes on with
rows of the vocabulary when it is longer than there are labels. Departure: a prompt from the vocabulary starts at rows
drawn from the whole token table; the paper draws from the 5,000 most common tokens, but no order of frequency is known
of an arbitrary tokenizer.
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

    def __init__(self, config: PromptConfig, place: Place, draw: Draw) -> None:
        super().__init__()
        generator, table = draw.generator(place.site), frozen_weight(place)
        if config.init == "random":
            start = torch.empty(config.length, table.shape[1]).uniform_(-0.5, 0.5, generator=generator)
        else:
            rows = torch.randint(table.shape[0], (config.length,), generator=generator)
            start = table[rows.to(table.device)].float()
        if config.init == "labels":
            said = [ids for ids in draw.label_ids if ids]  # a word may come to no token at all
            for position, ids in enumerate(said[: config.length]):
                start[position] = table[list(ids)].float().mean(dim=0)
        self.embeddings = nn.Parameter(start)

    def forward(self, embeddings: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        length = self.embeddings.shape[0]
        prompt = self.embeddings.to(embeddings.dtype).expand(embeddings.shape[0], -1, -1)
        return torch.cat((prompt, embeddings), dim=1), None if mask is None else pad(mask, (length, 0), value=1)


def build(config: PromptConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one soft prompt."""
    return DeltaModule({place.site: PromptSlot(config, place, draw) for place in places})
