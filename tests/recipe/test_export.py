"""From a run to a recipe or to a folder of peft's, from Python and from the command line."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import T5ForConditionalGeneration
from typer.testing import CliRunner

import autodelta
from autodelta.cli import app
from autodelta.errors import UserError
from autodelta.search import Run
from tests.small import save_backbone, save_task

TRAINING = "training: {steps: 12, batch_size: 8}\n"
SPACES = {
    "lora": "methods:\n  lora: {roles: '*_attn.q, ffn.*', sizes: {rank: [2, 4]}, learning_rate: 0.03}\n" + TRAINING,
    "bitfit": "methods:\n  bitfit: {roles: '*_attn.*', learning_rate: 0.03}\n" + TRAINING,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    save_backbone(folder / "backbone")
    save_task(folder / "data")
    return folder


def run_of(place: Path, method: str, *, name: str | None = None) -> Run:
    """A search of two trials with one method."""
    (place / f"{method}.yaml").write_text(SPACES[method])
    return autodelta.search(
        "small", budget="2trials", data=place / "data", backbone=str(place / "backbone"), runs=place / "runs",
        space=place / f"{method}.yaml", name=name or method, executor="local", workers=1, dtype="fp32",
        confirm_share=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lora(place: Path) -> Run:
    return run_of(place, "lora")


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7, 1], [8, 9, 1, 0]])
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, attention_mask=ids.ne(0).long(), labels=ids).logits
    return found


def test_from_python_a_run_becomes_a_recipe(lora: Run, tmp_path: Path) -> None:
    best = lora.best
    assert best is not None
    found = autodelta.export(lora, to=tmp_path / "recipe", trial=best.number)
    assert (found.folder, found.candidate, found.trial) == (tmp_path / "recipe", best.candidate, best.number)
    assert autodelta.Recipe.load(tmp_path / "recipe") == found
    assert autodelta.export(lora).folder == lora.path / "recipe"


@pytest.mark.parametrize("by", ["python", "command"])
def test_peft_loads_what_a_run_exports_and_answers_alike(lora: Run, place: Path, tmp_path: Path, by: str) -> None:
    model = T5ForConditionalGeneration.from_pretrained(place / "backbone").eval()
    with autodelta.export(lora, to=tmp_path / "recipe").apply(model):
        expected = logits(model)
    if by == "python":
        assert autodelta.export_peft(lora, to=tmp_path / "peft") == tmp_path / "peft"
    else:
        words = ["export", str(lora.path), "--format", "peft", "--to", str(tmp_path / "peft")]
        assert CliRunner().invoke(app, words).stdout.split() == [str(tmp_path / "peft")]
    assert not torch.equal(expected, logits(model))
    theirs = peft.PeftModel.from_pretrained(model, str(tmp_path / "peft"))
    torch.testing.assert_close(logits(theirs), expected, atol=1e-5, rtol=1e-5)


def test_a_folder_that_holds_something_else_is_not_overwritten(lora: Run, tmp_path: Path) -> None:
    assert autodelta.export_peft(lora) == autodelta.export_peft(lora) == lora.path / "peft"
    autodelta.export_peft(lora, to=tmp_path / "peft")
    autodelta.export(lora, to=tmp_path / "recipe")
    for name, said in (("peft", "there is a peft folder in"), ("recipe", "there is a recipe in")):
        with pytest.raises(UserError, match=f"{said} '{tmp_path / name}' already; choose another folder"):
            autodelta.export_peft(lora, to=tmp_path / name)


def test_weights_that_are_damaged_are_one_line(place: Path, tmp_path: Path) -> None:
    run = run_of(place, "lora", name="damaged")
    best = run.best
    assert best is not None
    run.weights(best.number).write_bytes(b"half")
    for write in (autodelta.export, autodelta.export_peft):
        with pytest.raises(UserError, match=r"delta\.safetensors is missing or damaged: "):
            write(run, to=tmp_path / "there", trial=best.number)
    assert not (tmp_path / "there").exists()


def test_what_peft_has_no_form_for_is_one_line(place: Path) -> None:
    run = run_of(place, "bitfit")
    with pytest.raises(UserError, match=r"not bitfit; of the front it holds: none$"):
        autodelta.export_peft(run)
    assert not (run.path / "peft").exists()
    refused = CliRunner().invoke(app, ["export", str(run.path), "--format", "onnx"])
    assert (refused.exit_code, refused.stderr) == (2, "error: unknown format 'onnx'; choose from: peft, recipe\n")
