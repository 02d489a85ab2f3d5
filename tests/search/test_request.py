"""What a search does that was told little."""

from pathlib import Path

import pytest

from autodelta.search import events, placement
from autodelta.search.placement import Place
from autodelta.search.request import Request, checked
from autodelta.space import find


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
