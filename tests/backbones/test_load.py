"""Loading a backbone: frozen, in a safe dtype, and every mistake is one clear line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from safetensors.torch import load_file
from transformers import BertConfig

from autodelta.backbones import load
from autodelta.errors import UserError
from tests.models import umt5
from tests.small import save_backbone, tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("load") / "backbone", v1_1=True)


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_backbone_is_frozen_and_of_the_dtype_asked_for(checkpoint: Path, name: str, dtype: torch.dtype) -> None:
    backbone = load(str(checkpoint), dtype=name)
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {dtype}
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert not backbone.model.training
    assert backbone.dtype_name == name


def test_a_folder_is_known_by_its_full_path_as_recipes_are_used_elsewhere(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    assert load("backbone").name == str(checkpoint)


def test_half_precision_is_refused_since_t5_overflows_in_it(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="choose from: bf16, fp32"):
        load(str(checkpoint), dtype="fp16")


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="only the T5 family"):
        load(str(tmp_path))


@pytest.mark.parametrize("token", ["decoder_start_token_id", "pad_token_id"])
def test_a_config_without_a_token_that_training_needs_says_what_to_write(
    checkpoint: Path, tmp_path: Path, token: str
) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config[token] = None
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"has no {token}; T5's is 0: write it into its config.json"):
        load(str(tmp_path))


def test_pickled_weights_are_read_only_on_request(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(checkpoint / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="--allow-pickle"):
        load(str(tmp_path))
    assert load(str(tmp_path), allow_pickle=True).sha256 == load(str(checkpoint)).sha256


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def _other_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "d_ff": config["d_ff"] + 8}))


@pytest.mark.parametrize("harm", [_cut, _pointer, _other_config])
def test_weights_that_cannot_be_loaded_are_one_line(checkpoint: Path, tmp_path: Path, harm: Any) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(checkpoint, folder)
    harm(folder)
    with pytest.raises(
        UserError, match=r"the weights of backbone .* are damaged, only a git-LFS pointer, or not"
    ) as said:
        load(str(folder))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ["google/no-such-t5", "/nowhere/at/all"])
def test_a_backbone_that_is_nowhere_is_one_line_that_says_what_to_do(name: str) -> None:
    with pytest.raises(UserError, match="check the name and the network, or give a path") as caught:
        load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("`tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`."),
        ImportError("\nT5Tokenizer requires the SentencePiece library, sentencepiece library, not found\n"),
    ],
)
def test_a_tokenizer_that_lacks_its_reader_says_what_to_install(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As transformers says it for a checkpoint that has spiece.model alone."""

    def read(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("autodelta.backbones.loading.AutoTokenizer.from_pretrained", read)
    with pytest.raises(UserError, match="install sentencepiece and protobuf") as caught:
        load(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="no readable Hugging Face checkpoint"):
        load(str(tmp_path))


def test_umt5_is_refused_where_transformers_gets_it_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    umt5().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert load(str(tmp_path), dtype="fp32").shape.gated
    monkeypatch.setattr("autodelta.backbones.loading.TRANSFORMERS", Version("5.17.0"))
    with pytest.raises(UserError, match=r"needs 5\.18\.0"):
        load(str(tmp_path))
