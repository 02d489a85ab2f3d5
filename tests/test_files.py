"""Files written whole: who may read them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autodelta.files import write_text, write_whole


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
