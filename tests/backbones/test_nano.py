"""The bundled backbone: its hash is checked, it knows some English, and it stays small."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from autodelta import backbones
from autodelta.backbones import bundled, load
from autodelta.backbones.pretrain.corruption import corrupt
from autodelta.errors import UserError

FOLDER = Path(backbones.__file__).parent / "nano"
# Written for this test.
TEXT = (
    "The town lies on the east bank of the river, about ten miles from the sea. It was first settled by "
    "farmers who came from the north in the early years of the century, and for a long time it was known for "
    "its wool. A church was built there by the sons of the first mayor, and the school was opened after the "
    "war. In the summer the people of the town go down to the water, where there is a small market, and in the "
    "winter most of the houses near the river are empty. The railway came late, and when it was closed the old "
    "station became the office of the local newspaper."
)


def test_nano_is_bundled_small_and_frozen() -> None:
    backbone = load("nano")
    assert "nano" in bundled()
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 25_000_000
    assert 4_000_000 < backbone.shape.count_parameters() < 10_000_000
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_nano_fills_gaps_better_than_random_weights_of_its_shape() -> None:
    backbone = load("nano", dtype="fp32")
    torch.manual_seed(0)
    fresh = type(backbone.model)(backbone.model.config).eval()
    tokens = np.array(backbone.tokenizer(TEXT)["input_ids"][:-1])
    pairs = [
        corrupt(
            tokens[:141],
            np.random.default_rng(seed),
            corruption_rate=0.15,
            mean_span_length=3,
            first_sentinel=8191,
            eos=1,
        )
        for seed in range(8)
    ]
    inputs, labels = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
    ours, theirs = (model(input_ids=inputs, labels=labels).loss.item() for model in (backbone.model, fresh))
    assert ours < 0.6 * theirs


def test_sentinels_are_in_the_layout_of_t5() -> None:
    tokenizer = load("nano").tokenizer
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1 == 8191
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER, tmp_path / "nano")
    weights = bytearray((tmp_path / "nano" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "nano" / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr("autodelta.backbones.loading.BUNDLED", tmp_path)
    with pytest.raises(UserError, match="damaged"):
        load("nano")
