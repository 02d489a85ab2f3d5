"""One backbone's pretraining as its ``pretrain.yaml`` states it."""

from pathlib import Path

import yaml

from autodelta.frozen import Frozen

SENTINELS = 100


class TextSource(Frozen):
    """One part of the text, for the model card."""

    source: str
    licence: str
    megabytes: float
    attribution: str = ""


class TokenizerPlan(Frozen):
    """The vocabulary's size, without sentinels, and how much text it is fitted on."""

    pieces: int
    sample_bytes: int


class Spans(Frozen):
    """Span corruption: tokens an input, share that is corrupted, mean length of a span."""

    input_length: int
    corruption_rate: float
    mean_span_length: float


class Start(Frozen):
    """Embeddings by the company that pieces keep: farthest neighbour, and sightings below which a piece has none."""

    window: int
    least_seen: int


class Mixture(Frozen):
    """What a step trains on, over all processes: span corruption of ``span_rows`` at the longest input length, of as
    many tokens at the others; or, for a share of the steps, ``format_rows`` text-to-text examples."""

    input_lengths: tuple[int, ...]
    span_rows: int
    format_share: float
    format_rows: int


class Stable(Frozen):
    """The stage at a constant step size."""

    warmup_steps: int
    matrix_lr: float | None  # None: no Muon, Adam for all
    vector_lr: float
    embedding_lr: float
    position_lr: float


class Anneal(Frozen):
    """The stage whose step size falls to zero."""

    steps: int


class Plan(Frozen):
    """One backbone's pretraining, as its ``pretrain.yaml`` states it."""

    name: str
    seed: int
    text: tuple[TextSource, ...]
    tokenizer: TokenizerPlan
    shape: dict[str, int | str]
    spans: Spans
    start: Start
    mixture: Mixture
    stable: Stable
    anneal: Anneal


def load_plan(path: Path) -> Plan:
    """The plan in a YAML file."""
    return Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf8")))
