"""With what a search starts: the past where it fits, nothing where it does not, and one line about either."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autodelta.backbones import Backbone, load
from autodelta.errors import UserError
from autodelta.meta import past, saved
from autodelta.meta.compositions import layout
from autodelta.search import resume, transfer
from autodelta.search import search as search_from_python
from autodelta.search.events import Notice
from autodelta.search.knowledge import encoded, known
from autodelta.search.request import Request, checked
from autodelta.search.run import open_run
from autodelta.search.samplers import Scene
from autodelta.search.transfer import Chosen, chosen
from autodelta.space import Space
from autodelta.tasks import Task
from autodelta.tasks import load as load_task
from autodelta.tasks.task import Row
from tests.meta.pasts import a_past, learned
from tests.search import fakes
from tests.small import save_backbone, save_task

SPACE = """
methods:
  lora: {roles: "*_attn.q", sizes: {rank: [1, 2, 4]}, learning_rate: {low: 1e-4, high: 1e-2, log: true}}
  bitfit: {roles: "*_attn.q", learning_rate: 0.001}
  prompt: {stacks: encoder, sizes: {length: [2, 4]}, learning_rate: 0.1}
training: {steps: [12, 24], batch_size: 8}
"""
WIDER = SPACE.replace("training:", "  ia3: {roles: '*_attn.k', learning_rate: 0.01}\ntraining:")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    save_backbone(folder / "backbone")
    save_task(folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    backbone = load(str(folder / "backbone"))
    learned(folder, a_past(Space.load(folder / "space.yaml", backbone.shape), sha256=backbone.sha256))
    return folder


@pytest.fixture(scope="module")
def backbone(place: Path) -> Backbone:
    return load(str(place / "backbone"))


@pytest.fixture(scope="module")
def task(place: Path) -> Task:
    return load_task("small", data=place / "data")


@pytest.fixture(autouse=True)
def _nothing_ships(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "BUNDLED", place / "none")


def begun(
    asked: str | None, meta: Path | None, task: Task, backbone: Backbone, space: str = SPACE
) -> tuple[Chosen, list[str]]:
    said: list[str] = []
    bound = Space.of_text(space, backbone.shape, name="small")
    return chosen(asked, meta, space=bound, task=task, backbone=backbone, say=said.append), said


def copied(place: Path, to: Path) -> Path:
    to.mkdir()
    for name in ("meta.json", "meta.safetensors", "past.json"):
        (to / name).write_bytes((place / "model" / name).read_bytes())
    return to


def test_a_past_that_fits_is_used_and_said(place: Path, task: Task, backbone: Backbone) -> None:
    for asked in (None, "meta"):
        found, said = begun(asked, place / "model", task, backbone)
        assert found.sampler == "meta"
        assert found.features is not None
        assert set(layout().features) <= found.features.keys()
        assert said == ["sampler meta, learned from 8 other tasks"]


def test_a_row_that_holds_the_paddings_token_is_looked_at_whole(task: Task, backbone: Backbone) -> None:
    rows = (Row(("the <pad> dog runs",), "yes"), Row(("cat",), "no"))
    odd = task.model_copy(update={"rows": {**task.rows, "train": rows}})
    ids = torch.tensor([backbone.tokenizer(odd.examples("train")[0].input)["input_ids"]])
    expected = backbone.model.get_encoder()(input_ids=ids).last_hidden_state.mean(1)
    assert 0 in ids
    torch.testing.assert_close(torch.from_numpy(encoded(odd, backbone)[0][:1]), expected.float(), atol=1e-2, rtol=1e-2)


def test_without_any_model_nothing_is_said_unless_it_was_asked_for(task: Task, backbone: Backbone) -> None:
    assert begun(None, None, task, backbone) == (Chosen("tpe"), [])
    assert begun("random", None, task, backbone) == (Chosen("random"), [])
    found, said = begun("meta", None, task, backbone)
    assert (found, len(said)) == (Chosen("tpe"), 1)
    assert "none ships with this version" in said[0]


def test_what_ships_is_the_default_where_it_fits_space_and_backbone(
    place: Path, task: Task, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "BUNDLED", place / "model")
    assert begun(None, None, task, backbone)[0].sampler == "meta"
    assert begun("tpe", None, task, backbone) == (Chosen("tpe"), [])
    assert begun(None, None, task, backbone, WIDER) == (Chosen("tpe"), [])
    other = load(str(save_backbone(place / "other", v1_1=True)))
    assert begun(None, None, task, other) == (Chosen("tpe"), [])
    found, said = begun("meta", None, task, other)
    assert (found.sampler, len(said)) == ("meta", 2)
    assert "of another backbone" in said[0]


def newer(folder: Path) -> None:
    data = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(data | {"version": 99}))


def newer_past(folder: Path) -> None:
    data = json.loads((folder / "past.json").read_text())
    (folder / "past.json").write_text(json.dumps(data | {"version": 99}))


def torn(folder: Path) -> None:
    whole = (folder / "meta.safetensors").read_bytes()
    (folder / "meta.safetensors").write_bytes(whole[: len(whole) // 2])


def of_another_layout(folder: Path) -> None:
    data = json.loads((folder / "meta.json").read_text())
    data["layout"]["kinds"] = ["unheard_of", *data["layout"]["kinds"][1:]]
    (folder / "meta.json").write_text(json.dumps(data))


def with_another_feature(folder: Path) -> None:
    data = json.loads((folder / "meta.json").read_text())
    data["layout"]["features"] = ["unheard_of", *data["layout"]["features"][1:]]
    (folder / "meta.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (newer, "a model of version 99"),
        (newer_past, "of version 99"),
        (torn, "no readable weights"),
        (of_another_layout, "the records are of another space: kinds differ"),
        (with_another_feature, "features differ in"),
    ],
)
def test_whatever_is_wrong_with_a_model_is_one_line_and_the_search_goes_on(
    place: Path, task: Task, backbone: Backbone, tmp_path: Path, harm: object, words: str
) -> None:
    folder = copied(place, tmp_path / "model")
    harm(folder)  # type: ignore[operator]
    for asked in (None, "meta"):
        found, said = begun(asked, folder, task, backbone)
        assert (found, len(said)) == (Chosen("tpe"), 1)
        assert "nothing is known from other tasks, so the sampler is tpe: " in said[0]
        assert words in said[0]
        assert "\n" not in said[0]


def test_records_of_another_space_are_one_line(place: Path, task: Task, backbone: Backbone) -> None:
    found, said = begun("meta", place / "model", task, backbone, WIDER)
    assert (found, len(said)) == (Chosen("tpe"), 1)
    assert "the records are of another space: they have no scored trial of 'ia3'" in said[0]


def test_a_task_of_one_class_has_features(place: Path, task: Task, backbone: Backbone) -> None:
    rows = {split: tuple(Row(row.fields, "yes") for row in found) for split, found in task.rows.items()}
    alone = task.model_copy(update={"rows": rows})
    assert all(value == value for value in known(alone, backbone)[0].values())
    assert begun("meta", place / "model", alone, backbone)[0].sampler == "meta"


def test_features_that_cannot_be_computed_are_one_line(place: Path, task: Task, backbone: Backbone) -> None:
    empty = task.model_copy(update={"rows": task.rows | {"validation": ()}})
    found, said = begun("meta", place / "model", empty, backbone)
    assert (found, len(said)) == (Chosen("tpe"), 1)
    assert "the task's features cannot be computed" in said[0]


def test_a_model_for_another_sampler_or_at_no_place_is_a_mistake(place: Path, tmp_path: Path) -> None:
    def asked(sampler: str | None, meta: Path) -> None:
        request = Request(
            task="small", budget="1trials", data=place / "data", backbone=str(place / "backbone"), sampler=sampler,
            meta=meta, space=str(place / "space.yaml"), runs=tmp_path / "runs", executor="local", workers=1,
        )  # fmt: skip
        checked(request, lambda event: None)

    with pytest.raises(UserError, match="--meta is for the sampler 'meta', not for 'random'"):
        asked("random", place / "model")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        for sampler in (None, "meta"):
            with pytest.raises(UserError, match=f"no model in '{folder}': meta.json is missing"):
                asked(sampler, folder)


def test_a_run_keeps_its_model_and_is_told_when_that_is_another(place: Path, tmp_path: Path) -> None:
    folder = copied(place, tmp_path / "model")
    given = {"data": place / "data", "backbone": str(place / "backbone"), "space": place / "space.yaml"}
    search_from_python(
        "small", budget="2trials", meta=folder, runs=tmp_path, name="one", executor="local", workers=1, dtype="fp32",
        confirm_share=0.0, **given,  # type: ignore[arg-type]
    )  # fmt: skip
    settings = open_run("one", tmp_path).settings
    assert (settings.sampler, settings.meta) == ("meta", Path("meta"))
    shutil.rmtree(folder)
    (tmp_path / "one").rename(tmp_path / "moved")
    assert gone_on(tmp_path, "3trials") == []
    kept = tmp_path / "moved" / "meta" / "past.json"
    kept.write_text(kept.read_text().replace('"trials": ', '"trials": 1'))
    said = gone_on(tmp_path, "4trials")
    assert len(said) == 1
    assert "any more, so the sampler is tpe: the model in" in said[0]
    assert "is not the one that the search began with" in said[0]


def test_a_model_that_was_fitted_anew_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(on=lambda *known: None, text=(folder / "meta.json").read_text())

    monkeypatch.setattr(saved, "load", load)
    monkeypatch.setattr(past, "read", lambda folder: None)
    scene = Scene(Space.of_text(fakes.SPACE, fakes.SHAPE, name="small"), None, tmp_path)
    for text in ("first", "second"):
        (tmp_path / "meta.json").write_text(text)
        read: Any = transfer.fitted(scene)
        assert read.text == text


def gone_on(runs: Path, budget: str) -> list[str]:
    """Takes the run up as another process would; what it says of what is known from other tasks."""
    transfer._loaded.cache_clear()
    said: list[str] = []

    def listen(event: object) -> None:
        said.extend([event.text] if isinstance(event, Notice) else [])

    run = resume("moved", runs=runs, budget=budget, listener=listen)
    assert sum(trial.counts for trial in run.trials) == int(budget.removesuffix("trials"))
    return [text for text in said if "other tasks" in text]
