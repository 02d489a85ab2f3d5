"""The weights that pretraining starts from know which words keep company, and where a sentinel finds itself."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from autodelta.backbones.pretrain.plan import Start
from autodelta.backbones.pretrain.start import STEEPEST, begin, word_company

PIECES, WIDTH = 40, 16
START = Start(window=2, least_seen=5)


def text() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Stretches that draw from pieces 0-9, or from 10-19, never from both; piece 30 stands there twice."""
    rng = np.random.default_rng(0)
    stretches = [rng.integers(0, 10, size=20) + 10 * rng.integers(2) for _ in range(400)]
    return np.concatenate([*stretches, [30, 30]]).astype(np.uint16)


def model(heads: int = 6, d_kv: int = 8) -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"d_model": WIDTH, "d_kv": d_kv, "d_ff": 24, "num_heads": heads, "num_layers": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=PIECES, num_decoder_layers=2, **shape)).eval()


def test_pieces_that_keep_company_have_embeddings_that_point_the_same_way() -> None:
    found = word_company(text(), PIECES, WIDTH, START)
    company = found[:20, :-1]
    alike = company @ company.T / WIDTH
    same = np.kron(np.eye(2), np.ones((10, 10))).astype(bool)
    assert alike[same].mean() > alike[~same].mean() + 0.3


def test_rows_have_the_scale_of_t5_and_rare_pieces_none() -> None:
    found = word_company(text(), PIECES, WIDTH, START)
    assert np.allclose(np.sqrt((found[:20, :-1] ** 2).mean(axis=1)), 1, atol=1e-5)
    assert np.isnan(found[20:]).all()


def test_the_last_component_is_how_often_the_text_holds_a_piece() -> None:
    skewed = np.concatenate([text(), np.repeat(np.arange(5, dtype=np.uint16), 400)])
    frequency = word_company(skewed, PIECES, WIDTH, START)[:20, -1]
    assert abs(frequency.mean()) < 1e-5
    assert frequency[:5].min() > frequency[5:].max()


def test_rare_pieces_keep_their_random_draw() -> None:
    t5, before = model(), model().shared.weight.detach().clone()
    company = torch.from_numpy(word_company(text(), PIECES, WIDTH, START))
    begin(t5, company, seed=1)
    assert torch.equal(t5.shared.weight[:20], company[:20])
    assert torch.equal(t5.shared.weight[20:], before[20:])


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for seed in (1, 1, 2):
        t5 = model()
        begin(t5, torch.full((PIECES, WIDTH), torch.nan), seed=seed)
        weights.append(t5.encoder.block[1].layer[0].SelfAttention.v.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_on_another_device_than_the_embeddings_can_begin() -> None:
    t5 = model().to("meta")
    begin(t5, torch.from_numpy(word_company(text(), PIECES, WIDTH, START)), seed=1)
    assert {weight.device.type for weight in t5.parameters()} == {"meta"}


@pytest.mark.parametrize(("heads", "d_kv"), [(6, 8), (2, 8), (1, 16)])
def test_a_decoder_token_finds_itself_among_the_inputs(heads: int, d_kv: int) -> None:
    t5 = model(heads, d_kv)
    begin(t5, torch.full((PIECES, WIDTH), torch.nan), seed=1)
    cross = t5.decoder.block[0].layer[1].EncDecAttention
    words = torch.nn.functional.normalize(t5.shared.weight.detach(), dim=1)
    scores = (words @ cross.q.weight.T) @ (words @ cross.k.weight.T).T
    assert (scores.argmax(dim=1) == torch.arange(PIECES)).float().mean() > 0.9


def test_heads_look_left_and_right_of_a_token() -> None:
    t5 = model()
    begin(t5, torch.full((PIECES, WIDTH), torch.nan), seed=1)
    bias = t5.encoder.block[0].layer[0].SelfAttention.compute_bias(9, 9)[0]
    assert bias[3, 4].argmax() == 3
    assert bias[4, 4].argmax() == 5
    assert torch.equal(bias[0], STEEPEST * torch.eye(9))


def test_a_piece_of_one_text_finds_its_likes_in_the_other() -> None:
    t5 = model(d_kv=16)
    begin(t5, torch.full((PIECES, WIDTH), torch.nan), seed=1)
    words = torch.randperm(PIECES, generator=torch.Generator().manual_seed(0))[:10]
    twice = torch.cat([words, words[torch.arange(9, -1, -1)]])[None]
    seen = t5.encoder(twice, output_attentions=True).attentions
    for attention in seen:
        assert torch.equal(attention[0, 0].argmax(dim=1), torch.arange(19, -1, -1))


def test_a_decoder_looks_back_only_and_its_nearest_views_differ() -> None:
    t5 = model()
    begin(t5, torch.full((PIECES, WIDTH), torch.nan), seed=1)
    bias = t5.decoder.block[0].layer[0].SelfAttention.compute_bias(9, 9)[0]
    assert bias[3, 6, :7].argmax() == 5
    assert bias[4, 6, :7].argmax() == 4
