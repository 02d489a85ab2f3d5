"""Files written whole: who may read them, and where they can be put."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autodelta.files import no_place, put_text, write_text, write_whole


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def test_weights_are_for_whom_the_text_beside_them_is(tmp_path: Path, umask: int) -> None:
    """safetensors makes a file that is the user's alone, and replaces one that is there."""
    weights = {"weight": torch.zeros(2)}
    write_text(tmp_path / "recipe.yaml", "task: small\n")
    for _ in range(2):
        write_whole(tmp_path / "delta.safetensors", lambda path: save_file(weights, path))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("recipe.yaml", "delta.safetensors"), 0o666 & ~umask)


def test_a_link_or_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "labels")
    put_text(link, "yes\n")
    assert link.is_symlink()
    assert (tmp_path / "labels").read_text() == "yes\n"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    put_text(pipe, "no\n")
    assert os.read(end, 9) == b"no\n"
    os.close(end)
    assert pipe.is_fifo()


def test_a_place_for_a_file_is_a_folder_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "labels.csv"
    assert no_place(file) is None
    assert no_place(tmp_path) == f"{str(tmp_path)!r} is a folder"
    assert no_place(tmp_path / "no" / "labels.csv") == f"there is no folder {str(tmp_path / 'no')!r}"
    monkeypatch.setattr("autodelta.files.os.access", lambda path, mode: path != tmp_path)
    assert no_place(file) == f"the folder {str(tmp_path)!r} cannot be written"
    (tmp_path / "pipe").symlink_to("/dev/null")
    assert no_place(tmp_path / "pipe") is None
