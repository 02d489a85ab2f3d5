"""What a search does that was told little."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autodelta
from autodelta.errors import UserError
from autodelta.search import events, placement
from autodelta.search.placement import Place
from autodelta.search.request import Request, checked
from autodelta.search.typed import typed
from autodelta.space import find
from autodelta.studies.suggest import suggest


@pytest.mark.parametrize(("device", "space"), [("cpu", "default"), ("cuda", "thorough")])
def test_the_space_suits_the_device_unless_one_is_named(
    device: str, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Place("local", device, workers=1, dtype="fp32", cluster=True)  # the device is another machine's
    monkeypatch.setattr(placement, "place", lambda **asked: there)
    asked = Request(task="demo/entailment", budget="1trials", backbone="nano", sampler="random", runs=tmp_path)
    heard: list[events.Event] = []
    _, settings, _ = checked(asked, heard.append)
    assert settings.space == find(space).read_text()
    assert any(isinstance(one, events.Notice) and f"--space {space}" in one.text for one in heard)


def test_an_open_ended_task_begins_without_the_past_and_says_what_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "free"
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps({"name": "free", "inputs": ["text"], "max_new_tokens": 6}))
    rows = [{"text": f"row {number}", "label": "word " * (20 if number < 3 else 1)} for number in range(8)]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = Request(
        task="free", budget="1trials", data=folder.parent, backbone="nano", executor="local", workers=1, device="cpu",
        runs=tmp_path,
    )  # fmt: skip
    heard: list[events.Event] = []
    _, settings, _ = checked(asked, heard.append)
    assert settings.sampler == "tpe"
    texts = [one.text for one in heard if isinstance(one, events.Notice)]
    assert "3 of 8 answers of train are longer than max_new_tokens (6): they are cut at their end" in texts
    with pytest.raises(UserError, match="'free' is open-ended, and what is known is of tasks with labels"):
        suggest("free", data=folder.parent, backbone="nano")


@pytest.mark.parametrize(("looked_at", "said"), [(1000, "3 of 8 rows of train"), (4, "3 of the first 4 rows of train")])
def test_rows_that_are_cut_are_said_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: int, said: str
) -> None:
    monkeypatch.setattr("autodelta.search.request.LOOKED_AT", looked_at)
    folder = tmp_path / "data" / "long"
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps({"name": "long", "labels": ["a", "b"], "inputs": ["text"]}))
    rows = [{"text": "word " * (300 if number < 3 else 20), "label": "ab"[number % 2]} for number in range(8)]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = Request(
        task="long", budget="1trials", data=folder.parent, backbone="nano", sampler="random", executor="local",
        workers=1, device="cpu", runs=tmp_path,
    )  # fmt: skip
    heard: list[events.Event] = []
    checked(asked, heard.append)
    texts = [one.text for one in heard if isinstance(one, events.Notice)]
    assert any(text.startswith(f"{said} are longer than 256 tokens") for text in texts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": 3}, "budget: Input should be a valid string, not 3"),
        ({"workers": "2"}, "workers: Input should be a valid integer, not '2'"),
        ({"seed": True}, "seed: Input should be a valid integer, not True"),
        ({"seed": None}, "seed: Input should be a valid integer, not None"),
        ({"confirm_share": "all"}, "confirm_share: Input should be a valid number, not 'all'"),
        ({"data": 3}, "data: Input is not a valid path.*, not 3"),
        ({"space": 3}, "space: Input should be a valid string, not 3"),
        ({"task": None}, "task: Input should be a valid string, not None"),
    ],
)
def test_what_is_not_of_its_kind_is_one_line(given: dict[str, Any], said: str) -> None:
    options: dict[str, Any] = {"task": "demo/entailment", "budget": "1trials", **given}
    for begin in (autodelta.search, partial(autodelta.search_sizes, train_sizes=(100, "all"))):
        with pytest.raises(UserError, match=f"^{said}$"):
            begin(**options)


def test_numbers_may_be_those_of_numpy_and_places_texts(tmp_path: Path) -> None:
    given = {"seed": np.int64(3), "workers": np.int32(2), "confirm_share": np.float64(0.5)}
    found = typed(Request, task="small", budget="1trials", space=tmp_path / "a.yaml", runs=str(tmp_path), **given)
    assert (found.seed, found.workers, found.confirm_share) == (3, 2, 0.5)
    assert type(found.seed) is int
    assert (found.space, found.runs) == (str(tmp_path / "a.yaml"), tmp_path)
    with pytest.raises(TypeError, match="a search is not asked for 'worker'"):
        typed(Request, task="small", budget="1trials", worker=2)
