"""One backbone's pretraining as its ``pretrain.yaml`` states it."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

SENTINELS = 100


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSource(_Section):
    """One part of the text, for the model card."""

    source: str
    licence: str
    megabytes: float
    attribution: str = ""


class TokenizerPlan(_Section):
    """The vocabulary's size, without sentinels, and how much text it is fitted on."""

    pieces: int
    sample_bytes: int


class Spans(_Section):
    """Span corruption: tokens an input, share that is corrupted, mean length of a span."""

    input_length: int
    corruption_rate: float
    mean_span_length: float


class Start(_Section):
    """Embeddings by the company that pieces keep: farthest neighbour, and sightings below which a piece has none."""

    window: int
    least_seen: int


class Stable(_Section):
    """The stage at a constant step size; rows a step over all processes."""

    batch_size: int
    warmup_steps: int
    matrix_lr: float | None  # None: no Muon, Adam for all
    vector_lr: float


class Anneal(_Section):
    """The stage whose step size falls to zero: the input lengths that its span corruption draws from, with as many
    tokens a step at each; the share of its steps that are text-to-text."""

    steps: int
    input_lengths: tuple[int, ...]
    format_share: float
    format_batch_size: int


class Plan(_Section):
    """One backbone's pretraining, as its ``pretrain.yaml`` states it."""

    name: str
    seed: int
    text: tuple[TextSource, ...]
    tokenizer: TokenizerPlan
    shape: dict[str, int | str]
    spans: Spans
    start: Start
    stable: Stable
    anneal: Anneal


def load_plan(path: Path) -> Plan:
    """The plan in a YAML file."""
    return Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf8")))
