"""A recipe gives the same labels wherever it is applied, and refuses any other backbone."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import T5ForConditionalGeneration

from autodelta import tasks
from autodelta.backbones import load
from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.encode import encode, encode_unlabelled
from autodelta.engine.worker import Worker
from autodelta.errors import UserError
from autodelta.recipe import Recipe, use
from autodelta.recipe.card import card
from autodelta.recipe.recipe import CARD_FILE, RECIPE_FILE, WEIGHTS_FILE
from autodelta.recipe.use import label, predict, reference, train
from autodelta.tasks.files import inputs_of
from autodelta.tasks.tables import records
from tests.models import original
from tests.small import WORDS, save_backbone, save_task, tokenizer

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
    spec = WorkerSpec(backbone=str(place / "backbone"), task="small", data=place / "data", dtype="fp32")
    backbone = spec.load_backbone()
    plan = Recipe(
        candidate=CANDIDATE,
        parameters=0,
        backbone=reference(backbone),
        task=spec.load_task().view(),
        seed=7,
        scores=(),
    )
    return train(plan, to=place / "recipe", data=place / "data")


def test_prediction_on_a_fresh_backbone_gives_the_recorded_test_score(trained: Recipe, place: Path) -> None:
    found = predict(Recipe.load(place / "recipe"), data=str(place / "data"), to=str(place / "labels.jsonl"))
    assert found == trained.scores[1]
    assert len((place / "labels.jsonl").read_text().splitlines()) == found.rows == 16


def test_a_recipe_is_found_by_its_file_too(trained: Recipe) -> None:
    again = Recipe.load(trained.folder / "recipe.yaml")
    assert (again, again.folder) == (trained, trained.folder)


def test_training_again_at_the_same_seed_gives_the_same_weights(trained: Recipe, place: Path, tmp_path: Path) -> None:
    again = train(trained, to=tmp_path / "again", data=place / "data")
    assert again.scores == trained.scores
    assert all(torch.equal(tensor, again.weights()[name]) for name, tensor in trained.weights().items())
    other = train(trained, to=str(tmp_path / "other"), data=str(place / "data"), seed=8)
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


def test_a_model_is_as_it_was_after_weights_that_cannot_be_applied(
    trained: Recipe, place: Path, tmp_path: Path
) -> None:
    model = T5ForConditionalGeneration.from_pretrained(place / "backbone")
    (tmp_path / RECIPE_FILE).write_bytes((trained.folder / RECIPE_FILE).read_bytes())
    (tmp_path / WEIGHTS_FILE).write_bytes((trained.folder / WEIGHTS_FILE).read_bytes()[:100])
    others = {name.replace("self_attn", "ffn"): tensor for name, tensor in trained.weights().items()}
    for _ in range(2):
        with pytest.raises(UserError):
            Recipe.load(tmp_path).apply(model)
        assert not any(module._forward_hooks for module in model.modules())
        assert any(parameter.requires_grad for parameter in model.parameters())
        save_file(others, tmp_path / WEIGHTS_FILE)
    trained.apply(model).detach()


def test_a_recipe_of_a_part_of_train_trains_again_on_as_much(trained: Recipe, place: Path, tmp_path: Path) -> None:
    part = trained.model_copy(update={"train_rows": 16})
    found = train(part, to=tmp_path / "part", data=place / "data")
    assert found.train_rows == 16
    assert not all(torch.equal(tensor, trained.weights()[name]) for name, tensor in found.weights().items())
    assert "Trained on 16 rows, drawn by class, for 20 steps" in (tmp_path / "part" / CARD_FILE).read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'.*choose from: cpu, cuda"),
        ({"device": "cuda"}, "torch finds no GPU"),
        ({"backbone": "shallow"}, "encoder has blocks 0-0, not 1"),
    ],
)
def test_training_again_where_it_cannot_be_is_one_line(
    trained: Recipe, place: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    if change.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    if "backbone" in change:
        deep = trained.candidate.deltas[0].model_copy(update={"encoder_blocks": (1,)})
        trained = trained.model_copy(update={"candidate": trained.candidate.model_copy(update={"deltas": (deep,)})})
        original(num_layers=1).save_pretrained(tmp_path / "shallow")
        tokenizer().save_pretrained(tmp_path / "shallow")
        change = {"backbone": str(tmp_path / "shallow")}
    with pytest.raises(UserError, match=said):
        train(trained, to=tmp_path / "to", data=place / "data", **change)


def test_a_folder_that_holds_a_recipe_is_not_overwritten_by_training(trained: Recipe, place: Path) -> None:
    with pytest.raises(UserError, match="already"):
        train(trained, to=place / "recipe", data=place / "data")


def test_somebodys_readme_is_not_replaced_by_a_card(
    trained: Recipe, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / CARD_FILE).write_text("mine")
    monkeypatch.setattr(Worker, "run", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(UserError, match=f"has a {CARD_FILE} that is no recipe's"):
        train(trained, to=tmp_path, data=place / "data")
    with pytest.raises(UserError, match=f"has a {CARD_FILE} that is no recipe's"):
        trained.write(tmp_path, trained.weights())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(CARD_FILE, "mine")]
    again = trained.write(tmp_path / "new", trained.weights()).write(tmp_path / "new", trained.weights())
    assert (again.folder / CARD_FILE).read_text() == card(trained)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_place_that_no_recipe_can_be_written_to_is_refused_before_training(
    trained: Recipe, place: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Worker, "run", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(UserError, match="no recipe can be written"):
        train(trained, to=tmp_path / where, data=place / "data")


def test_a_recipe_that_cannot_be_written_after_training_is_one_clear_line(
    trained: Recipe, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recipe, "write", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(trained, to=tmp_path / "to", data=place / "data")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_is_none_is_refused(trained: Recipe, place: Path, tmp_path: Path, seed: int) -> None:
    with pytest.raises(UserError, match=f"a seed lies from 0 to below.*{seed}"):
        train(trained, to=tmp_path / "to", data=place / "data", seed=seed)


@pytest.mark.parametrize(
    ("to", "said"), [("", "' is a folder"), ("nowhere/labels.jsonl", "there is no folder '.*nowhere'")]
)
def test_labels_that_have_no_place_are_refused_before_predicting(
    trained: Recipe, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, said: str
) -> None:
    monkeypatch.setattr(use, "load", None)
    with pytest.raises(UserError, match=f"--to names a file for the labels: .*{said}"):
        predict(trained, data=place / "data", to=tmp_path / to)


@pytest.mark.parametrize("name", ["labels.csv.gz", "labels.parquet", "labels.json"])
def test_labels_that_would_not_be_what_the_name_says_are_refused_before_predicting(
    trained: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(use, "load", None)
    with pytest.raises(UserError, match=f"rows are written as .jsonl, .csv or .tsv, not to '{name}'"):
        predict(trained, to=tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_labels_are_written_as_their_file_is_called(trained: Recipe, place: Path, tmp_path: Path, suffix: str) -> None:
    for name in ("labels.jsonl", f"labels{suffix}"):
        predict(trained, data=place / "data", to=tmp_path / name)
    lines, table = (tmp_path / "labels.jsonl").read_text().splitlines(), tmp_path / f"labels{suffix}"
    assert [row for _, row in records(table)] == [json.loads(line) for line in lines]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_rows_without_labels_have_those_that_they_have_in_a_split(
    trained: Recipe, place: Path, tmp_path: Path, suffix: str
) -> None:
    predict(trained, data=place / "data", to=tmp_path / "of-the-split")
    split = [json.loads(line)["predicted"] for line in (tmp_path / "of-the-split").read_text().splitlines()]
    whole = tasks.load("small", data=place / "data")
    test = whole.rows["test"]
    rows = tmp_path / f"rows.{suffix}"
    with rows.open("w", newline="") as file:
        if suffix == "csv":
            csv.writer(file).writerows([["id", "sentence"], *([n, row.fields[0]] for n, row in enumerate(test))])
        else:
            file.writelines(json.dumps({"sentence": row.fields[0]}) + "\n" for row in test)
    backbone = load(place / "backbone")
    alike = encode_unlabelled(backbone, whole, inputs_of(whole, rows))
    known = encode(backbone, whole, "test")
    assert [ids.tolist() for ids in alike.inputs] == [ids.tolist() for ids in known.inputs]
    assert [ids.tolist() for ids in alike.targets] == [ids.tolist() for ids in known.targets]
    assert list(label(trained, rows, to=tmp_path / "labels")) == split
    assert [json.loads(line) for line in (tmp_path / "labels").read_text().splitlines()] == [
        {"predicted": one} for one in split
    ]


def test_a_recipe_of_an_open_ended_task_writes_the_same_answers_everywhere(
    trained: Recipe, place: Path, tmp_path: Path
) -> None:
    rows = [{"sentence": f"the {colour} {animal} runs", "label": f"{colour} {animal}"}
            for colour in ("red", "blue", "green") for animal in ("dog", "cat", "bird")]  # fmt: skip
    (tmp_path / "what").mkdir()
    (tmp_path / "what" / "task.json").write_text(json.dumps({"name": "what", "inputs": ["sentence"]}))
    for split in ("train", "validation", "test"):
        (tmp_path / "what" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = train(trained, to=tmp_path / "recipe", task="what", data=tmp_path, backbone=str(place / "backbone"))
    again = predict(found, data=tmp_path, to=tmp_path / "answers")
    assert (again.metric, again.value) == ("exact_match", found.scores[1].value)
    answers = [json.loads(line) for line in (tmp_path / "answers").read_text().splitlines()]
    assert [one["label"] for one in answers] == [row["label"] for row in rows]
    assert list(label(found, tmp_path / "what" / "test.jsonl")) == [one["predicted"] for one in answers]
    assert "The model answers with a text of at most 32 tokens." in (tmp_path / "recipe" / CARD_FILE).read_text()


def save_data_set(folder: Path, train: list[Any], test: list[Any]) -> None:
    """Rows of the columns ``sentence`` and ``answer``."""
    folder.mkdir(parents=True)
    for split, answers in (("train", train), ("test", test)):
        rows = [{"sentence": f"the {WORDS[at % 6]} runs", "answer": answer} for at, answer in enumerate(answers)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_columns_that_leave_the_metric_unsaid_are_read_with_the_recipes(
    trained: Recipe, place: Path, tmp_path: Path
) -> None:
    """As the command line names them: without it, a test answer that train never shows would be an unknown label."""
    for name in ("own", "other"):
        save_data_set(tmp_path / name, ["red dog", "cat"] * 12, [f"{name} bird", "cat"])
    columns = tasks.Columns(inputs=("sentence",), label="answer", metric="token_f1", max_new_tokens=3, test="test")
    of_answers = train(trained, to=tmp_path / "answers", task="hf:own", data=tmp_path, columns=columns)
    said = tasks.Columns(inputs=("sentence",), label="answer")
    assert predict(of_answers, data=tmp_path, columns=said) == predict(of_answers, data=tmp_path)
    found = predict(of_answers, task="hf:other", data=tmp_path, columns=said)
    assert (found.metric, found.rows) == ("token_f1", 2)
    again = train(of_answers, to=tmp_path / "again", task="hf:other", data=tmp_path, columns=said)
    assert again.columns == columns.model_copy(update={"test": None})
    assert again.task["max_new_tokens"] == 3
    labels = tasks.Columns(inputs=("sentence",), label="answer", metric="accuracy")
    with pytest.raises(UserError, match="unknown label 'other bird'"):
        train(of_answers, to=tmp_path / "labels", task="hf:other", data=tmp_path, columns=labels)


def test_numbers_between_a_recipes_labels_are_read_without_naming_these_again(trained: Recipe, tmp_path: Path) -> None:
    numbers = {"name": "hf:own", "labels": ["0", "1", "2"], "words": {"0": "no", "1": "a", "2": "yes"}}
    ordinal = trained.model_copy(update={"task": trained.task | numbers | {"metric": "pearson"}})
    said = tasks.Columns(inputs=("sentence",), label="answer")
    for name, rows in (("fractions", [0.3, 1.0, 1.8] * 8), ("integers", [0, 2, 1] * 8)):
        save_data_set(tmp_path / name, rows, rows)
        predict(ordinal, task=f"hf:{name}", data=tmp_path, columns=said, to=tmp_path / "labels")
        gold = [json.loads(line)["label"] for line in (tmp_path / "labels").read_text().splitlines()]
        assert gold == [str(round(number)) for number in rows]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.jsonl", '{"text": "a"}\n', "rows.jsonl:1: the column 'sentence' is missing; there are: text"),
        ("rows.jsonl", '{"sentence": null}\n', "must hold a text or a number, not None"),
        ("rows.csv", "sentence\n", "has no rows"),
        ("rows.txt", "a\n", "files that end in .jsonl, .jsonl.gz, .csv"),
        ("missing/rows.csv", None, "cannot be read: No such file or directory"),
    ],
)
def test_rows_that_cannot_be_labelled_are_one_line(
    trained: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, said: str
) -> None:
    monkeypatch.setattr(use, "load", None)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        label(trained, tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_cannot_be_written_leave_those_that_are_there(
    trained: Recipe, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    to = tmp_path / "labels"
    to.write_text("older")
    (tmp_path / "link").symlink_to(to)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"cannot be written to .*No space left"):
        predict(trained, data=place / "data", to=to)
    monkeypatch.undo()
    assert to.read_text() == "older"
    assert {path.name for path in tmp_path.iterdir()} == {"labels", "link"}
    predict(trained, data=place / "data", to=tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(to.read_text().splitlines()) == 16


def test_labels_do_not_replace_the_rows_that_they_are_for(
    trained: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use, "load", None)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"sentence": "a"}\n')
    (tmp_path / "link.jsonl").symlink_to(rows)
    with pytest.raises(UserError, match="the labels would replace the rows"):
        label(trained, rows, to=tmp_path / "link.jsonl")
    assert rows.read_text() == '{"sentence": "a"}\n'


@pytest.mark.parametrize("name", ["test.jsonl", "train.csv", "task.json", "link"])
def test_labels_do_not_replace_a_file_of_a_task(
    trained: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(use, "load", None)
    folder = save_task(tmp_path) / "small"
    (folder / "link").symlink_to(folder / "test.jsonl")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(UserError, match=f"the labels would stand for a file of a task: .*{name}'; choose another file"):
        predict(trained, data=tmp_path, to=folder / name)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    with pytest.raises(TypeError):  # it goes on, to a backbone that is not there
        predict(trained, data=tmp_path, to=folder / "labels.csv")


def test_a_card_is_well_formed_whatever_things_are_called(trained: Recipe) -> None:
    name = 'T5s/my "best": #1'
    task = trained.task | {"template": "read `this`:\n{sentence}", "words": {"yes": "``y``", "no": "n"}}
    odd = trained.model_copy(update={"backbone": trained.backbone.model_copy(update={"name": name}), "task": task})
    text = card(odd)
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == name
    assert f"load({json.dumps(name)}).model" in text
    assert r"`` read `this`:\n{sentence} ``. The model answers with one of: ``` ``y`` ```, `n`." in text


def _without(key: str) -> Any:
    def change(data: dict[str, Any]) -> None:
        del data[key]

    return change


def _without_a_template(data: dict[str, Any]) -> None:
    del data["task"]["template"]


def _methods(data: dict[str, Any]) -> None:
    data["candidate"]["deltas"][0]["method"] = ["lora"]


def _newer(data: dict[str, Any]) -> None:
    data["schema_version"] = 99


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("candidate"), "candidate"),
        (_without("backbone"), "backbone"),
        (_without_a_template, "template"),
        (_methods, "method"),
        (_newer, "99"),
    ],
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


@pytest.mark.parametrize("text", ["run: 2026-13-45\n", f"seed: {'9' * 5000}\n", "[" * 9999, ""])
def test_a_recipe_that_yaml_itself_cannot_make_anything_of_is_one_line_too(tmp_path: Path, text: str) -> None:
    (tmp_path / RECIPE_FILE).write_text(text)
    with pytest.raises(UserError, match=r"recipe\.yaml cannot be read: ") as caught:
        Recipe.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_missing_and_damaged_files_are_one_clear_line(trained: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=RECIPE_FILE):
        Recipe.load(tmp_path)
    (tmp_path / RECIPE_FILE).write_bytes((trained.folder / RECIPE_FILE).read_bytes())
    with pytest.raises(UserError, match="missing or damaged"):
        Recipe.load(tmp_path).weights()
    (tmp_path / WEIGHTS_FILE).write_bytes((trained.folder / WEIGHTS_FILE).read_bytes()[:100])
    with pytest.raises(UserError, match="missing or damaged"):
        Recipe.load(tmp_path).weights()


def test_weights_that_a_killed_export_left_under_an_older_recipe_are_refused(
    trained: Recipe, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed's have the same names and shapes, and the scores would not be theirs."""
    other = {name: tensor + 1 for name, tensor in trained.weights().items()}
    kept = trained.write(tmp_path, trained.weights())
    assert Recipe.load(tmp_path).weights().keys() == other.keys()
    monkeypatch.setattr("autodelta.recipe.recipe.write_text", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception, match="killed"):
        kept.write(tmp_path, other)
    with pytest.raises(UserError, match=r"has other weights than those that recipe\.yaml is of") as caught:
        Recipe.load(tmp_path).weights()
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert kept.write(tmp_path, other).weights().keys() == other.keys()


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
