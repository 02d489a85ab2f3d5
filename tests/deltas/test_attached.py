import pytest
import torch

from autodelta import deltas
from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas import attached as putting_on
from autodelta.deltas.attached import attach
from autodelta.deltas.compose import compose
from autodelta.deltas.spec import spec, specs
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site
from tests.deltas.conformance import candidate_of, logits, perturb
from tests.models import batch, original, wide_heads

TRAINING = Training(steps=1, batch_size=1)


def delta(method: str, *roles: str, **config: object) -> Delta:
    return Delta.model_validate({"method": method, "roles": roles, "config": config, "learning_rate": 1e-3})


def candidate(*deltas: Delta) -> Candidate:
    return Candidate(deltas=deltas, training=TRAINING)


LORA = delta("lora", "encoder.self_attn.q", rank=2)


def test_names_are_the_folders_and_attach_is_at_hand_from_the_package() -> None:
    assert {"lora", "adapter", "prompt", "bitfit", "full"} <= set(deltas.names())
    with deltas.attach(original(), candidate(LORA), seed=1) as attached:
        assert len(list(attached.parameters())) == 4


def test_tensors_are_named_by_delta_method_site_and_tensor() -> None:
    with attach(original(), candidate(LORA, delta("prompt", "encoder.embeddings", length=2))) as attached:
        assert list(attached.state_dict()) == [
            "0.lora.encoder.0.self_attn.q.a",
            "0.lora.encoder.0.self_attn.q.b",
            "0.lora.encoder.1.self_attn.q.a",
            "0.lora.encoder.1.self_attn.q.b",
            "1.prompt.encoder.embeddings.embeddings",
        ]


@pytest.mark.parametrize("method", specs())
def test_initial_weights_depend_on_the_seed_and_not_on_company(method: str) -> None:
    model = original()
    shape = BackboneShape.of(model)
    alone = candidate_of(shape, (method, spec(method).small[0]))
    other = "bitfit" if method != "bitfit" else "lora"
    joined = candidate_of(shape, (method, spec(method).small[0]), (other, spec(other).small[0]))
    number = joined.methods.index(method)
    together = compose(model, joined, seed=4).tensors()
    for name, tensor in compose(model, alone, seed=4).tensors().items():
        assert torch.equal(tensor, together[name.replace("0.", f"{number}.", 1)]), name


def test_two_sites_draw_different_weights() -> None:
    tensors = compose(original(), candidate(LORA)).tensors()
    one, two = (tensors[f"0.lora.encoder.{block}.self_attn.q.a"] for block in (0, 1))
    assert not torch.equal(one, two)


def test_another_seed_draws_other_weights() -> None:
    model = original()
    name = "0.lora.encoder.0.self_attn.q.a"
    one, two = (compose(model, candidate(LORA), seed=seed).tensors()[name] for seed in (1, 2))
    assert not torch.equal(one, two)


def test_groups_name_each_delta_with_its_parameters() -> None:
    first, second = delta("bitfit", "encoder.final_norm"), LORA
    with attach(original(), candidate(first, second)) as attached:
        groups = attached.groups()
        assert [(found.method, len(parameters)) for found, parameters in groups] == [("lora", 4), ("bitfit", 1)]
        assert [p for _, parameters in groups for p in parameters] == list(attached.parameters())


def test_deltas_apply_in_the_documented_order_at_one_site() -> None:
    model = original()
    at = "decoder.self_attn.o"
    with attach(model, candidate(delta("bitfit", at), delta("lora", at, rank=2), delta("full", at))) as attached:
        slots = attached.composition.at(Site("decoder", 0, "self_attn.o"))
        assert [type(slot).__name__ for slot in slots] == ["TrainedDifference", "LoraSlot", "BitfitSlot"]


def test_tied_embeddings_train_one_difference() -> None:
    model = original()
    roles = ("encoder.tokens", "decoder.tokens", "decoder.lm_head")
    with attach(model, candidate(delta("full", *roles))) as attached:
        (difference,) = attached.parameters()
        assert list(attached.state_dict()) == ["0.full.encoder.tokens.delta"]
        perturb(attached)
        changed = logits(model, batch())
    with torch.no_grad():
        model.shared.weight += difference
    torch.testing.assert_close(logits(model, batch()), changed, atol=1e-4, rtol=1e-4)


def test_full_fine_tuning_is_a_change_of_the_weights_themselves() -> None:
    model = wide_heads().double()
    shape = BackboneShape.of(model)
    everything = candidate_of(shape, ("full", spec("full").small[0]))
    assert everything.count_parameters(shape) == sum(parameter.numel() for parameter in model.parameters())
    with attach(model, everything) as attached:
        attached.composition.double()
        perturb(attached, scale=0.05)
        changed = logits(model, batch(padded=True))
        from autodelta.backbones.roles import modules

        done = set()
        with torch.no_grad():
            for site, (slot,) in attached.composition.slots.items():
                weight = modules(model)[site].weight
                if id(weight) not in done:
                    done.add(id(weight))
                    weight += slot.delta
    torch.testing.assert_close(logits(model, batch(padded=True)), changed, atol=1e-5, rtol=1e-5)


def test_a_difference_counts_behind_another_method() -> None:
    """At a linear layer a difference that stands first is taken into the weight; lora stands before selective."""
    model, at = original().double(), "decoder.self_attn.o"
    alone, behind = candidate(delta("selective", at)), candidate(delta("lora", at, rank=2), delta("selective", at))
    seen = []
    for planned in (alone, behind):
        with attach(model, planned) as attached:
            attached.composition.double()
            for name, tensor in attached.composition.tensors().items():
                if ".selective." in name:
                    tensor.data.normal_(generator=torch.Generator().manual_seed(4))
            seen.append(logits(model, batch()))
    torch.testing.assert_close(*seen, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(seen[0], logits(model, batch()), atol=1e-3)


def test_a_model_that_refuses_keys_and_values_is_left_as_it_was() -> None:
    model = original()
    model.decoder.config._attn_implementation = "flex_attention"
    with pytest.raises(UserError, match="sdpa or eager attention, not 'flex_attention'"):
        attach(model, candidate(LORA, delta("prefix", "decoder.self_attn.keys_values", length=2)))
    assert not any(module._forward_hooks for module in model.modules())
    attach(model, candidate(LORA)).detach()


def test_a_model_on_which_deltas_were_being_put_at_ctrl_c_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = original()

    def interrupted(hf_model: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(putting_on, "_freeze", interrupted)
        with pytest.raises(KeyboardInterrupt):
            attach(model, candidate(LORA))
    assert not any(module._forward_hooks for module in model.modules())


def test_one_model_takes_one_candidate_at_a_time() -> None:
    model = original()
    attached = attach(model, candidate(LORA))
    with pytest.raises(UserError, match="has deltas on it already"):
        attach(model, candidate(LORA))
    attached.detach()
    attached.detach()
    attach(model, candidate(delta("bitfit", "encoder.final_norm"))).detach()


def test_switching_between_two_trained_candidates_loses_nothing() -> None:
    model = original()
    one, two = (
        candidate(LORA),
        candidate(delta("prompt", "encoder.embeddings", length=2), delta("bitfit", "encoder.ffn.in")),
    )
    trained = {}
    for which in (one, two):
        with attach(model, which) as attached:
            perturb(attached)
            trained[which] = ({k: v.clone() for k, v in attached.state_dict().items()}, logits(model, batch()))
    for which in (two, one, two):
        with attach(model, which, seed=8) as attached:
            attached.load_state_dict(trained[which][0])
            assert torch.equal(logits(model, batch()), trained[which][1])


def test_weights_of_another_candidate_are_refused_and_change_nothing() -> None:
    model = original()
    with attach(model, candidate(LORA)) as attached:
        before = {name: tensor.clone() for name, tensor in attached.state_dict().items()}
        with pytest.raises(UserError, match=r"lack '0\.lora\.encoder\.0\.self_attn\.q\.a'"):
            attached.load_state_dict({})
        other = {**before, "0.lora.encoder.1.self_attn.q.b": torch.zeros(16, 3)}
        with pytest.raises(UserError, match=r"has the shape \(16, 3\), not \(16, 2\)"):
            attached.load_state_dict(other)
        assert all(torch.equal(tensor, before[name]) for name, tensor in attached.state_dict().items())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: candidate(delta("lora", "encoder.ffn.gate")), "no role 'encoder.ffn.gate'"),
        (lambda: candidate(delta("lora", "encoder.self_attn.q", rank=17)), "17 > 16"),
        (lambda: candidate(delta("adapter", "encoder.ffn", bottleneck=17)), "17 > 16"),
        (lambda: candidate(delta("lora", "encoder.self_attn.q", rank=0)), "rank"),
        (lambda: candidate(LORA, LORA), "stands twice"),
        (lambda: candidate(delta("lora", "encoder.cross_attn.q")), "no role 'encoder.cross_attn.q'"),
        (lambda: candidate(delta("lora", "encoder.ffn")), "lora cannot stand at 'encoder.ffn'"),
        (lambda: candidate(LORA.model_copy(update={"encoder_blocks": (0, 2)})), "blocks 0-1, not 2"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_touched(bad: object, message: str) -> None:
    model = original()
    with pytest.raises(ValueError, match=message):
        attach(model, bad())  # type: ignore[operator]
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["T5EncoderModel", "T5ForSequenceClassification", "BartForConditionalGeneration"])
def test_a_model_without_the_parts_of_a_t5_is_refused_in_one_line(kind: str) -> None:
    import transformers

    made = getattr(transformers, kind)
    small = {"d_model": 16, "vocab_size": 50}
    t5 = {"num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 8}
    bart = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    model = made(made.config_class(**small, **(bart if "Bart" in kind else t5)))
    with pytest.raises(UserError, match=f"deltas fit a T5 with a language-model head, not a {kind}"):
        attach(model, candidate(LORA))


def test_gradients_flow_under_gradient_checkpointing() -> None:
    model = original(dropout_rate=0.0)
    both = candidate(delta("adapter", "encoder.ffn", "decoder.cross_attn", bottleneck=2, placement="parallel"), LORA)
    with attach(model, both) as attached:
        perturb(attached)
        gradients = []
        for checkpointing in (False, True):
            if checkpointing:
                model.gradient_checkpointing_enable()
            model.train()
            attached.composition.zero_grad()
            model(**batch()).loss.backward()
            gradients.append([parameter.grad.clone() for parameter in attached.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])
