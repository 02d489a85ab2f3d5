"""A recipe gives the same labels wherever it is applied, and refuses any other backbone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import T5ForConditionalGeneration

from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.errors import UserError
from autodelta.recipe import Recipe
from autodelta.recipe.recipe import RECIPE_FILE, WEIGHTS_FILE
from autodelta.recipe.use import predict, reference, train
from tests.small import save_backbone, save_task

CANDIDATE = Candidate.model_validate(
    {
        "deltas": [
            {"method": "lora", "roles": ["encoder.self_attn.q"], "config": {"rank": 2}, "learning_rate": 0.03},
            {"method": "prompt", "roles": ["encoder.embeddings"], "config": {"length": 3}, "learning_rate": 0.1},
        ],
        "training": {"steps": 20, "batch_size": 8},
    }
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    save_backbone(folder / "backbone")
    save_backbone(folder / "gated", v1_1=True)
    save_task(folder / "data")
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Recipe:
    """Made as a search makes one: trained and scored by the engine."""
    backbone = WorkerSpec(backbone=str(place / "backbone"), task="small", dtype="fp32").load_backbone()
    plan = Recipe(
        candidate=CANDIDATE,
        parameters=0,
        backbone=reference(backbone),
        task={"name": "small"},
        seed=7,
        scores=(),
    )
    return train(plan, to=place / "recipe", data=place / "data")


def test_prediction_on_a_fresh_backbone_gives_the_recorded_test_score(trained: Recipe, place: Path) -> None:
    found = predict(Recipe.load(place / "recipe"), data=place / "data", to=place / "labels.jsonl")
    assert found == trained.scores[1]
    assert len((place / "labels.jsonl").read_text().splitlines()) == found.rows == 16


def test_training_again_at_the_same_seed_gives_the_same_weights(trained: Recipe, place: Path, tmp_path: Path) -> None:
    again = train(trained, to=tmp_path / "again", data=place / "data")
    assert again.scores == trained.scores
    assert all(torch.equal(tensor, again.weights()[name]) for name, tensor in trained.weights().items())
    other = train(trained, to=tmp_path / "other", data=place / "data", seed=8)
    assert not all(torch.equal(tensor, other.weights()[name]) for name, tensor in trained.weights().items())


def test_applying_and_detaching_leaves_a_plain_model(trained: Recipe, place: Path) -> None:
    model = T5ForConditionalGeneration.from_pretrained(place / "backbone")
    ids = torch.tensor([[3, 4, 5, 1]])
    before = model.generate(ids, max_new_tokens=4, output_logits=True, return_dict_in_generate=True).logits[0]
    attached = trained.apply(model)
    changed = model.generate(ids, max_new_tokens=4, output_logits=True, return_dict_in_generate=True).logits[0]
    attached.detach()
    after = model.generate(ids, max_new_tokens=4, output_logits=True, return_dict_in_generate=True).logits[0]
    assert torch.equal(before, after)
    assert not torch.allclose(before, changed)


def test_a_backbone_of_another_shape_is_refused_with_the_difference(trained: Recipe, place: Path) -> None:
    with pytest.raises(UserError, match="gated False, not True"):
        predict(trained, data=place / "data", backbone=str(place / "gated"))


def test_a_backbone_with_other_weights_of_the_same_shape_is_refused(trained: Recipe, place: Path) -> None:
    model = T5ForConditionalGeneration.from_pretrained(place / "backbone")
    with torch.no_grad():
        model.shared.weight[0, 0] += 1
    with pytest.raises(UserError, match="of the same shape"):
        trained.apply(model)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_folder_that_holds_a_recipe_is_not_overwritten_by_training(trained: Recipe, place: Path) -> None:
    with pytest.raises(UserError, match="already"):
        train(trained, to=place / "recipe", data=place / "data")


def _without(key: str) -> Any:
    def change(data: dict[str, Any]) -> None:
        del data[key]

    return change


def _newer(data: dict[str, Any]) -> None:
    data["schema_version"] = 99


@pytest.mark.parametrize(
    ("change", "said"), [(_without("candidate"), "candidate"), (_without("backbone"), "backbone"), (_newer, "99")]
)
def test_a_recipe_that_cannot_be_read_is_one_clear_line(
    trained: Recipe, tmp_path: Path, change: Any, said: str
) -> None:
    data = yaml.safe_load((trained.folder / RECIPE_FILE).read_text())
    change(data)
    (tmp_path / RECIPE_FILE).write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=said) as caught:
        Recipe.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_one_clear_line(trained: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=RECIPE_FILE):
        Recipe.load(tmp_path)
    (tmp_path / RECIPE_FILE).write_bytes((trained.folder / RECIPE_FILE).read_bytes())
    with pytest.raises(UserError, match="missing or damaged"):
        Recipe.load(tmp_path).weights()
    (tmp_path / WEIGHTS_FILE).write_bytes((trained.folder / WEIGHTS_FILE).read_bytes()[:100])
    with pytest.raises(UserError, match="missing or damaged"):
        Recipe.load(tmp_path).weights()


def test_the_card_names_methods_parameters_and_scores(trained: Recipe) -> None:
    card = (trained.folder / "README.md").read_text()
    assert "# lora + prompt for small" in card
    assert f"{trained.parameters:,} trainable" in card
    assert f"| test | accuracy | {trained.scores[1].value:.4f} | 16 | 7 |" in card


def test_a_recipe_that_was_trained_over_labels_alone_says_so_and_predicts_so(
    trained: Recipe, place: Path, tmp_path: Path
) -> None:
    training = CANDIDATE.training.model_copy(update={"loss": "labels"})
    plan = trained.model_copy(update={"candidate": CANDIDATE.model_copy(update={"training": training})})
    found = train(plan, to=tmp_path / "recipe", data=place / "data")
    again = Recipe.load(tmp_path / "recipe")
    assert again.candidate.training.loss == "labels"
    assert predict(again, data=place / "data") == found.scores[1]
    assert "label words alone" in (tmp_path / "recipe" / "README.md").read_text()
    assert "label words alone" not in (trained.folder / "README.md").read_text()
