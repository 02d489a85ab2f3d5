from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertLMHeadModel

from autodelta.backbones import roles
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Kind, Site
from tests.models import TINY, gated, original


@pytest.mark.parametrize("tiny", TINY)
def test_every_site_of_the_shape_has_a_module_and_every_parameter_a_site(tiny: str) -> None:
    model = TINY[tiny]()
    shape = BackboneShape.of(model)
    found = roles.modules(model)
    assert list(found) == list(shape.sites())
    weights = {id(module.weight) for module in found.values() if hasattr(module, "weight")}
    assert weights == {id(parameter) for parameter in model.parameters()}
    for site, module in found.items():
        if shape.kind(site) not in (Kind.SUBLAYER, Kind.KEYS_VALUES, Kind.EMBEDDINGS):
            assert tuple(module.weight.shape) == shape.weight_shape(site)


@pytest.mark.parametrize("tiny", TINY)
def test_sites_share_a_weight_exactly_where_the_shape_says_so(tiny: str) -> None:
    model = TINY[tiny]()
    shape, found = BackboneShape.of(model), roles.modules(model)
    weighted = [site for site, module in found.items() if hasattr(module, "weight")]
    for one in weighted:
        for two in weighted:
            assert (found[one].weight is found[two].weight) == (shape.owner(one) == shape.owner(two))


def test_the_gate_is_what_the_activation_follows() -> None:
    model = gated()
    network = model.encoder.block[0].layer[-1].DenseReluDense
    found = roles.modules(model)
    assert found[Site("encoder", 0, "ffn.gate")] is network.wi_0
    assert found[Site("encoder", 0, "ffn.in")] is network.wi_1
    x = torch.randn(2, 16)
    expected = network.wo(network.act(network.wi_0(x)) * network.wi_1(x))
    torch.testing.assert_close(network(x), expected)


def test_what_is_no_t5_is_refused_in_one_line() -> None:
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    bert = BertLMHeadModel(BertConfig(vocab_size=20, is_decoder=True, **sizes))
    with pytest.raises(UserError, match="not a BertLMHeadModel"):
        roles.modules(bert)


def test_weights_that_contradict_the_config_are_refused() -> None:
    model = original()
    model.encoder.block[0].layer[0].SelfAttention.q = nn.Linear(16, 12, bias=False)
    with pytest.raises(UserError, match=r"encoder\.0\.self_attn\.q has the shape \(12, 16\)"):
        roles.modules(model)
