"""What a loss asks of the decoder is laid out once, and what a step has found is read once."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from autodelta.engine.pack import totals
from autodelta.engine.wanted import wanted
from autodelta.engine.worker import Worker
from tests.engine.packs import candidate, delta, pack_of, trial, wide


def test_the_decoder_reads_what_stands_before_each_target_that_counts() -> None:
    one, other = torch.tensor([[5, 6, 1], [7, 1, -100]]), torch.tensor([[8, -100]])
    found = wanted([one, other], start=2, pad=0, device=torch.device("cpu"))
    assert [ids.tolist() for ids in found.ids] == [[[2, 5, 6], [2, 7, 1]], [[2, 8]]]
    assert found.where.tolist() == [0, 1, 2, 3, 4, 6]
    assert found.tokens.tolist() == [5, 6, 1, 7, 1, 8]
    assert found.counts == [5, 1]


def test_totals_are_sums_of_parts_in_double_precision() -> None:
    parts = [torch.tensor(0.1), torch.tensor(0.2), torch.tensor(0.7)]
    sums, norms = totals([parts[:2], parts[2:]], torch.tensor(3.0))
    assert sums == [parts[0].item() + parts[1].item(), parts[2].item()]
    assert norms == [3.0]


def test_a_step_reads_the_losses_and_norms_of_all_its_trials_at_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is waited for whenever numbers are read from it; reading is counted here on the CPU."""
    backbone = wide(worker.backbone)
    plan = candidate(delta(backbone.shape, "lora", 0, rate=0.01), steps=6, batch_size=4)
    pack = pack_of([trial(backbone, plan, seed=seed) for seed in range(3)], steps=4)
    read: Counter[str] = Counter()
    for name in ("tolist", "item", "__float__", "__bool__"):
        own = getattr(Tensor, name)

        def counting(self: Tensor, own: object = own, name: str = name) -> object:
            read[name] += self.is_floating_point()
            return own(self)  # type: ignore[operator]

        monkeypatch.setattr(Tensor, name, counting)
    pack.step()
    assert +read == {"tolist": 1}
