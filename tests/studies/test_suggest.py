"""Suggestions on a tiny T5, from a past on which LoRA of a high rank was best."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from autodelta.backbones import load
from autodelta.cli import app
from autodelta.cli.suggest import _words
from autodelta.meta import past
from autodelta.meta.saved import ABOUT
from autodelta.recipe import Recipe
from autodelta.space import Space
from autodelta.studies.suggest import _foretold, _front, _lines, _Pool
from tests.meta.pasts import a_past, learned
from tests.search.fakes import SHAPE
from tests.small import save_backbone, save_task

SPACE = """
methods:
  lora: {roles: "*_attn.q", sizes: {rank: [1, 2, 4]}, learning_rate: {low: 1e-4, high: 1e-2, log: true}}
  bitfit: {roles: "*_attn.q", learning_rate: 0.001}
  prompt: {stacks: encoder, sizes: {length: [2, 4]}, learning_rate: 0.1}
training: {steps: [40, 80], batch_size: 8}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone, a task, a space and a model of a past on them."""
    folder = tmp_path_factory.mktemp("suggest")
    save_backbone(folder / "backbone")
    save_task(folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    backbone = load(str(folder / "backbone"))
    space = Space.load(folder / "space.yaml", backbone.shape)
    learned(folder, a_past(space, sha256=backbone.sha256))
    return folder


def call(place: Path, *more: str, **changed: str) -> Any:
    options = {
        "task": "small",
        "data": str(place / "data"),
        "backbone": str(place / "backbone"),
        "space": str(place / "space.yaml"),
        "meta": str(place / "model"),
        **changed,
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return CliRunner().invoke(app, ["suggest", *words, *more], catch_exceptions=False)


def as_json(place: Path, *more: str, **changed: str) -> dict[str, Any]:
    said = call(place, "--json", *more, **changed)
    assert said.exit_code == 0, said.stderr
    found = json.loads(said.stdout)
    assert isinstance(found, dict)
    return found


def test_the_front_rises_from_small_to_good_and_ends_at_what_was_good_before(place: Path) -> None:
    found = as_json(place)
    front = found["front"]
    assert [one["number"] for one in front] == list(range(1, len(front) + 1))
    for name in ("parameters", "score"):
        values = [one[name] for one in front]
        assert values == sorted(values)
        assert len(set(values)) == len(values)
    assert all(0 <= one["low"] <= one["score"] <= one["high"] <= 1 for one in front)
    assert "lora" in front[-1]["methods"]
    assert "prompt" not in front[-1]["methods"]
    assert found["pick"] == len(front)
    assert {one["task"] for one in found["nearest"]} <= {f"task{number}" for number in range(8)}
    assert any(one["gene"] in ("lora", "prompt") for one in found["mattered"])
    assert as_json(place) == found


def test_a_suggested_recipe_is_trained_and_then_predicts(place: Path, tmp_path: Path) -> None:
    found = as_json(place, "--to", str(tmp_path / "recipe"), "--pick", "1")
    recipe = Recipe.load(tmp_path / "recipe")
    assert recipe.candidate.model_dump(mode="json") == found["front"][0]["candidate"]
    card = (tmp_path / "recipe" / "README.md").read_text()
    assert "nobody has trained it" in card
    assert "predicted accuracy" in card
    data = ["--data", str(place / "data")]
    early = CliRunner().invoke(app, ["predict", "--recipe", str(tmp_path / "recipe"), *data])
    assert (early.exit_code, early.stderr.count("\n")) == (2, 1)
    assert "autodelta train --recipe" in early.stderr
    words = ["train", "--recipe", str(tmp_path / "recipe"), *data, "--to", str(tmp_path / "trained")]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    done = CliRunner().invoke(app, ["predict", "--recipe", str(tmp_path / "trained"), *data], catch_exceptions=False)
    assert "accuracy" in done.stdout


def test_people_see_the_front_the_reason_and_what_comes_next(place: Path, tmp_path: Path) -> None:
    said = call(place, "--to", str(tmp_path / "recipe")).stdout
    for words in (
        "Predicted for small",
        "most like",
        "what matters:",
        "train:",
        "search: autodelta search --task small",
    ):
        assert words in said


def test_the_search_that_comes_next_is_of_the_same_rows_backbone_and_space() -> None:
    words = _words(
        "hf:a", None, Path("my past"), backbone="b", space="s.yaml", inputs=["x", "y"], label="z", metric=None
    )
    assert words["setting"] == " --backbone b --space s.yaml --input x --input y --label z"
    assert (words["data"], words["meta"]) == ("", " --meta 'my past'")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "smal"}, "did you mean 'small'?"),
        ({"meta": "nowhere"}, "/nowhere': No such file"),
        ({"pick": "99"}, "--pick is the number of a line of the front, from 1 to"),
        ({"space": "paper-combinations"}, "the records are of another space"),
    ],
)
def test_a_mistake_is_one_line(place: Path, options: dict[str, str], said: str) -> None:
    found = call(place, **options)
    assert (found.exit_code, found.stderr.count("\n"), found.stdout) == (2, 1, "")
    assert said in found.stderr


def test_a_recipe_that_is_there_is_kept(place: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    found = call(place, to=str(tmp_path))
    assert (found.exit_code, (tmp_path / "recipe.yaml").read_text()) == (2, "mine")


def test_without_a_model_there_is_nothing_to_suggest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "BUNDLED", place / "none")
    words = ["suggest", "--task", "small", "--data", str(place / "data"), "--backbone", str(place / "backbone")]
    found = CliRunner().invoke(app, words)
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
    assert "none ships with this version" in found.stderr


def test_records_of_another_backbone_are_said(place: Path, tmp_path: Path) -> None:
    save_backbone(tmp_path / "gated", v1_1=True)
    notes = as_json(place, backbone=str(tmp_path / "gated"))["notes"]
    assert any("of another backbone" in note for note in notes)


def test_a_past_that_does_not_foretell_its_own_tasks_is_said(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "model")
    about = json.loads((tmp_path / "model" / ABOUT).read_text())
    about["found"]["opening"] = None
    (tmp_path / "model" / ABOUT).write_text(json.dumps(about))
    said = "do not predict even their own tasks"
    assert not any(said in note for note in as_json(place)["notes"])
    assert any(said in note for note in as_json(place, meta=str(tmp_path / "model"))["notes"])


def test_what_is_foretold_ends_where_its_metric_does() -> None:
    import numpy as np

    on = SimpleNamespace(
        predict=lambda pool: (np.full(len(pool), 1.2), None),
        interval=lambda pool, share: (np.full(len(pool), -40.0), np.full(len(pool), 1.5)),
        costs=lambda pool: np.zeros((len(pool), 2)),
    )
    model: Any = SimpleNamespace(portfolio=SimpleNamespace(keys=()))
    space = Space.of_text(SPACE, SHAPE, name="small")
    found = _foretold(model, on, space, np.random.default_rng(0), ends=(0.0, 1.0))  # type: ignore[arg-type]
    assert set(found.scores) == {1.0}
    lines = _lines(on, found, [0, 3], space, ends=(0.0, 1.0))  # type: ignore[arg-type]
    assert [(one.number, one.low, one.score, one.high) for one in lines] == [(1, 0.0, 1.0, 1.0), (2, 0.0, 1.0, 1.0)]


def test_of_what_lies_close_together_on_the_front_the_smallest_is_shown(place: Path) -> None:
    import numpy as np

    space = Space.load(place / "space.yaml", load(str(place / "backbone")).shape)
    rng = np.random.default_rng(0)
    scores = np.array([0.5, 0.501, 0.6, 0.601, 0.7, 0.4])
    candidates = [space.sample(rng) for _ in scores]
    pool = _Pool(candidates, 6, np.arange(6), scores, np.full((6, 2), np.nan))
    found = _front(pool)
    assert scores[found].tolist() == [0.5, 0.6, 0.7]
    on = SimpleNamespace(interval=lambda pool, share: (np.zeros(len(pool)), np.ones(len(pool))))
    assert _lines(on, pool, found, space, ends=(0.0, 1.0))[0].device_seconds is None  # type: ignore[arg-type]


def test_a_front_that_rises_in_small_steps_is_shown_from_end_to_end() -> None:
    import numpy as np

    scores = np.linspace(0.5, 0.9, 40)  # each step is less than what counts as apart
    pool = _Pool([], 0, np.arange(40), scores, np.zeros((40, 2)))
    shown = scores[_front(pool)]
    assert len(shown) == 8
    assert (shown[0], shown[-1]) == (0.5, 0.9)
    assert np.diff(shown).max() < 0.15
