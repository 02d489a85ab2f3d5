"""Backbone shapes of every sort, and a way to write a space's file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autodelta.shape import BackboneShape
from autodelta.space import Space

TINY = BackboneShape(
    vocab_size=64,
    d_model=16,
    d_kv=4,
    d_ff=32,
    num_heads=2,
    encoder_blocks=2,
    decoder_blocks=1,
    gated=False,
    tied=True,
    relative_buckets=8,
)
SMALL = TINY.model_copy(
    update={
        "vocab_size": 512,
        "d_model": 32,
        "d_kv": 6,
        "encoder_blocks": 5,
        "decoder_blocks": 3,
        "gated": True,
        "tied": False,
    }
)
DEEP = SMALL.model_copy(update={"encoder_blocks": 24, "decoder_blocks": 24, "positions_in_blocks": True})
SHAPES = {"tiny": TINY, "small": SMALL, "deep": DEEP}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> BackboneShape:
    return SHAPES[request.param]


@pytest.fixture
def small() -> BackboneShape:
    return SMALL


@pytest.fixture
def space(tmp_path: Path) -> Callable[..., Space]:
    """Binds a space written as YAML to a backbone."""

    def bound(text: str, shape: BackboneShape = SMALL) -> Space:
        path = tmp_path / "own.yaml"
        path.write_text(text)
        return Space.load(path, shape)

    return bound
