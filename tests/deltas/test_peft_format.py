"""Folders that peft loads, and folders that peft wrote."""

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import attach
from autodelta.deltas.peft_format import from_peft, to_peft
from autodelta.errors import UserError
from tests.deltas.conformance import logits, perturb
from tests.models import batch, gated, original, wide_heads

TRAINING = Training(steps=1, batch_size=1)


def delta(method: str, *roles: str, blocks: tuple[int, ...] | None = None, **config: object) -> Delta:
    return Delta.model_validate(
        {"method": method, "roles": roles, "config": config, "learning_rate": 1e-3, "encoder_blocks": blocks}
    )


CANDIDATES = {
    "lora": (delta("lora", "encoder.self_attn.q", "decoder.ffn.out", "decoder.lm_head", rank=3, alpha=5),),
    "ranks": (
        delta("lora", "encoder.self_attn.q", "decoder.cross_attn.v", rank=2, alpha=4),
        delta("lora", "encoder.ffn.in", blocks=(0,), rank=5, alpha=3),
        delta("lora", "encoder.ffn.out", rank=2, alpha=7),
    ),
    "rslora": (delta("lora", "encoder.ffn.in", rank=4, rslora=True),),
    "dora": (delta("lora", "decoder.self_attn.o", "encoder.ffn.out", rank=2, dora=True),),
    "ia3": (delta("ia3", "encoder.self_attn.k", "decoder.cross_attn.v", "decoder.ffn.out"),),
    "prompt": (delta("prompt", "encoder.embeddings", length=4),),
}


@pytest.mark.parametrize("backbone", [original, gated, wide_heads])
@pytest.mark.parametrize("name", CANDIDATES)
def test_peft_loads_what_we_write_and_we_load_it_again(name: str, backbone: Any, tmp_path: Path) -> None:
    model = backbone()
    candidate = Candidate(deltas=CANDIDATES[name], training=TRAINING)
    with attach(model, candidate) as attached:
        perturb(attached, scale=0.1)
        state = attached.state_dict()
        expected = logits(model, batch(padded=True))
    to_peft(model, candidate, state, tmp_path)

    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(tmp_path))
    torch.testing.assert_close(logits(theirs, batch(padded=True)), expected, atol=1e-5, rtol=1e-5)

    again, loaded = from_peft(model, tmp_path, training=TRAINING, learning_rate=1e-3)
    with attach(model, again) as attached:
        attached.load_state_dict(loaded)
        torch.testing.assert_close(logits(model, batch(padded=True)), expected, atol=1e-5, rtol=1e-5)
    if name not in ("prompt", "ranks"):  # how a prompt was initialised, and how roles were grouped, peft forgets
        assert again == candidate


@pytest.mark.parametrize("fails", ["safetensors.torch.save_file", "autodelta.deltas.peft_format.write_text"])
def test_a_crash_leaves_no_config_beside_weights_of_another(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    model = original()
    older, newer = (Candidate(deltas=CANDIDATES[name], training=TRAINING) for name in ("lora", "rslora"))
    with attach(model, older) as attached:
        to_peft(model, older, attached.state_dict(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(fails, crash)
    with attach(model, newer) as attached, pytest.raises(OSError, match="No space"):
        to_peft(model, newer, attached.state_dict(), tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before if "save_file" in fails else after.keys() == {"adapter_model.safetensors"}


def test_a_folder_may_be_named_by_a_text(tmp_path: Path) -> None:
    candidate = Candidate(deltas=CANDIDATES["ia3"], training=TRAINING)
    with attach(original(), candidate) as attached:
        to_peft(attached.model, candidate, attached.state_dict(), f"{tmp_path}/peft")
    assert from_peft(original(), f"{tmp_path}/peft", training=TRAINING, learning_rate=1e-3)[0] == candidate


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(
            task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=9, target_modules=["q", "v"], init_lora_weights=False
        ),
        peft.LoraConfig(
            task_type="SEQ_2_SEQ_LM", r=2, target_modules="all-linear", use_dora=True, init_lora_weights=False
        ),
        peft.LoraConfig(
            task_type="SEQ_2_SEQ_LM",
            r=2,
            target_modules=["q", "wo"],
            alpha_pattern={r".*SelfAttention\.q": 32, r"^decoder\.block\.1\..*wo": 5},
            init_lora_weights=False,
        ),
        peft.IA3Config(task_type="SEQ_2_SEQ_LM", init_ia3_weights=False),
        peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3),
    ],
    ids=["lora", "dora", "alphas", "ia3", "prompt"],
)
def test_we_load_what_peft_writes(config: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)  # peft draws its weights; how far float32 is off hangs on them
    model = gated()
    theirs = peft.get_peft_model(copy.deepcopy(model), config).eval()
    expected = logits(theirs, batch(padded=True))
    theirs.save_pretrained(str(tmp_path))
    candidate, state = from_peft(model, tmp_path, training=TRAINING, learning_rate=1e-3)
    with attach(model, candidate) as attached:
        attached.load_state_dict(state)
        torch.testing.assert_close(logits(model, batch(padded=True)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        (
            (delta("prefix", "decoder.self_attn.keys_values", length=2),),
            "one of lora, ia3, prompt at a time, not prefix",
        ),
        ((*CANDIDATES["ia3"], *CANDIDATES["lora"]), "not lora \\+ ia3"),
        ((delta("prompt", "encoder.embeddings", "decoder.embeddings", length=2),), "at encoder.embeddings alone"),
        ((*CANDIDATES["rslora"], *CANDIDATES["dora"]), "rslora and dora must be the same"),
    ],
)
def test_what_peft_cannot_hold_is_refused(deltas: tuple[Delta, ...], message: str, tmp_path: Path) -> None:
    model = original()
    candidate = Candidate(deltas=deltas, training=TRAINING)
    with attach(model, candidate) as attached, pytest.raises(UserError, match=message):
        to_peft(model, candidate, attached.state_dict(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_our_deltas_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = original()
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        from_peft(model, tmp_path, training=TRAINING, learning_rate=1e-3)
    to_peft(model, *_some(model), tmp_path)
    file = tmp_path / "adapter_config.json"
    whole = json.loads(file.read_text())
    for change, message in (
        ({"peft_type": "OFT"}, "unknown kind of peft folder 'OFT'"),
        ({"bias": "all"}, "deltas hold no bias"),
        ({"modules_to_save": ["lm_head"]}, "deltas hold no modules_to_save"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4' changes the backbone's weights"),
    ):
        file.write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=message):
            from_peft(model, tmp_path, training=TRAINING, learning_rate=1e-3)
    file.write_text(json.dumps({key: value for key, value in whole.items() if key != "lora_alpha"}))
    with pytest.raises(UserError, match="has no lora_alpha"):
        from_peft(model, tmp_path, training=TRAINING, learning_rate=1e-3)
    file.write_text(json.dumps(whole))
    with pytest.raises(UserError, match="which this backbone has not"):
        from_peft(original(num_layers=1), tmp_path, training=TRAINING, learning_rate=1e-3)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="a peft folder has"):
        from_peft(model, tmp_path, training=TRAINING, learning_rate=1e-3)


def _some(model: Any) -> tuple[Candidate, dict[str, torch.Tensor]]:
    candidate = Candidate(deltas=CANDIDATES["rslora"], training=TRAINING)
    with attach(model, candidate) as attached:
        return candidate, attached.state_dict()
