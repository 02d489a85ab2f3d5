"""The bundled backbone: its hash is checked, it knows some English, and it stays small."""

import shutil
from pathlib import Path

import pytest
import torch

from autodelta import backbones
from autodelta.backbones import bundled, load
from autodelta.errors import UserError

FOLDER = Path(backbones.__file__).parent / "nano"
# Written for this test: the missing words are common ones that their sentence asks for.
GAPS = [
    ("He was born in <extra_id_0> of London.", "<extra_id_0> the city"),
    ("She was the <extra_id_0> of the king.", "<extra_id_0> daughter"),
    ("It is one of <extra_id_0> most important cities in the world.", "<extra_id_0> the"),
    ("They went to <extra_id_0> house and sat down by the fire.", "<extra_id_0> the"),
]


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

    def loss(model: torch.nn.Module) -> float:
        losses = []
        for text, target in GAPS:
            ids = backbone.tokenizer(text, return_tensors="pt")["input_ids"]
            labels = backbone.tokenizer(target, return_tensors="pt")["input_ids"]
            losses.append(model(input_ids=ids, labels=labels).loss.item())
        return sum(losses) / len(losses)

    assert loss(backbone.model) < 0.5 * loss(fresh)


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
