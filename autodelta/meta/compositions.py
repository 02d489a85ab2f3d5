"""Compositions of deltas as the meta-learner sees them: one token a delta; and recorded tables as its sources.

A token: method, stacks, groups of roles, which part of the depth, log of size, parameters and learning rate, and the
numbers and choices of the method's config. The settings are those of training, with the whole's size. A
configuration's key is its candidate's JSON, so that a portfolio can be trained again."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from autodelta.candidate import TOGETHER, Candidate, Delta
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.errors import UserError
from autodelta.meta.features import BACKBONE, ENCODER, FEATURES
from autodelta.meta.folds import family
from autodelta.meta.problem import Configurations, Floats, Layout, Points, Source, Sources, gathered
from autodelta.meta.records import About, Record, Table
from autodelta.shape import BackboneShape, Site

SIZES = ("rank", "bottleneck", "length", "dimension", "budget", "hidden")  # of a method: the logarithm counts
GROUPS: Mapping[str, tuple[str, ...]] = {
    "attention_qk": ("q", "k"),
    "attention_vo": ("v", "o", "keys_values"),
    "sublayer": ("self_attn", "cross_attn"),
    "ffn": ("ffn", "in", "gate", "out"),
    "norm": ("norm", "final_norm"),
    "table": ("tokens", "positions", "embeddings", "lm_head"),
}
PLACES = ("encoder", "decoder", "cross", *GROUPS, "depth_from", "depth_to", "log_sites", "log_parameters", "log_rate")
SCHEDULES = ("linear", "cosine", "constant")
TRAINING = ("log_steps", "log_batch", "warmup", "log_decay", "in_sequence", *SCHEDULES, "log_total", "deltas")
LEAST_DECAY = 1e-4
KEPT = 8192  # encoded candidates


def layout() -> Layout:
    """The columns of compositions: all methods that are registered, and the features of a task on its backbone."""
    kinds = tuple(specs())
    return Layout(kinds, (*PLACES, *_config_columns()), TRAINING, (*FEATURES, *ENCODER, *BACKBONE))


def configurations(candidates: Iterable[Candidate], shape: BackboneShape) -> Configurations:
    """Candidates on a backbone.

    Raises:
        UserError: one of them does not fit it.
    """
    return gathered(layout(), (_encoded(candidate, shape) for candidate in candidates))


@lru_cache(maxsize=KEPT)  # a sampler meets a study's candidates again at each ask
def _encoded(candidate: Candidate, shape: BackboneShape) -> tuple[str, list[Floats], Floats]:
    """A candidate's key, tokens and settings."""
    try:
        tokens = [_token(delta, shape) for delta in candidate.deltas]
        return candidate.model_dump_json(), tokens, _settings(candidate, shape)
    except ValueError as error:
        raise UserError(f"candidate {candidate.key} does not fit the backbone: {error}") from error


def sources(*tables: Table) -> Sources:
    """Recorded trials as sources.

    Trials that failed or did not fit have no score and teach nothing of it. Of a trial each point of its curve counts.
    A task that several tables of one backbone hold with the same features is one source.
    What a candidate is depends on the backbone, as its sizes do: on another shape it is a configuration of its own,
    whose key is the candidate's JSON with spaces behind.

    Raises:
        UserError: a table does not say of which backbone it is.
    """
    rows: dict[tuple[str, BackboneShape], int] = {}
    every: list[tuple[str, Candidate, BackboneShape]] = []
    shapes: Counter[str] = Counter()
    tasks: dict[Hashable, tuple[Table, BackboneShape, list[Record]]] = {}
    for table in tables:
        if table.about is None:
            raise UserError("a table without table.json cannot be learned from: its backbone is not known")
        for record in table.records:
            if record.teaches:
                key = record.candidate.model_dump_json()
                if (key, table.about.shape) not in rows:
                    rows[key, table.about.shape] = len(rows)
                    every.append((key + " " * shapes[key], record.candidate, table.about.shape))
                    shapes[key] += 1
                one = _one_task(table, table.about, record.task)
                tasks.setdefault(one, (table, table.about.shape, []))[2].append(record)
    columns = [replace(configurations([candidate], shape), keys=(key,)) for key, candidate, shape in every]
    found = tuple(_source(table, shape, records, rows) for table, shape, records in tasks.values())
    return Sources(layout(), _stacked(columns), found)


def _one_task(table: Table, about: About, task: str) -> Hashable:
    """What tables of one task agree on."""
    known = table.tasks.get(task)
    return about.backbone_sha256, about.shape, task, known and frozenset(known.features.items())


def _stacked(found: Sequence[Configurations]) -> Configurations:
    """All in one."""
    rows = [(one.keys[0], list(one.tokens[0][one.present[0]]), one.settings[0]) for one in found]
    return gathered(layout(), rows)


def _source(
    table: Table, shape: BackboneShape, records: Sequence[Record], rows: Mapping[tuple[str, BackboneShape], int]
) -> Source:
    """The task of some records. Costs belong to whole trials: they stand at the last point alone, a curve's highest."""
    task = records[0].task
    known = table.tasks.get(task)
    features = np.array([(known.features if known else {}).get(name, math.nan) for name in layout().features])
    points = [
        (
            rows[record.candidate.model_dump_json(), shape],
            min(1.0, point.step / record.candidate.training.steps),
            point.score,
            math.log(record.device_seconds) if point is record.curve[-1] and _whole(record) else math.nan,
            math.log(record.memory_bytes) if record.memory_bytes else math.nan,
        )
        for record in records
        for point in record.curve
    ]
    at, rungs, scores, seconds, memory = np.array(points, dtype=np.float64).T
    return Source(task, family(task), features, Points(at.astype(np.int64), rungs, scores), seconds, memory)


def _whole(record: Record) -> bool:
    return record.state == "complete" and record.device_seconds > 0


# --- tokens ----------------------------------------------------------------------------------------------------------


def _token(delta: Delta, shape: BackboneShape) -> Floats:
    """One delta, (kinds + values,)."""
    values = {
        **_standing(delta.sites(shape), shape),
        "log_parameters": math.log(max(1, delta.count_parameters(shape))),
        "log_rate": math.log(delta.learning_rate),
    }
    kinds = [float(name == delta.method) for name in specs()]
    return np.array([*kinds, *(values[name] for name in PLACES), *_sized(delta.config)], dtype=np.float64)


@lru_cache(maxsize=1024)  # a space has few places
def _standing(sites: tuple[Site, ...], shape: BackboneShape) -> Mapping[str, float]:
    """Where a delta stands: what share of its sites is what, from which depth to which."""
    blocks = [(site.block + 0.5) / shape.blocks(site.stack) for site in sites if site.block is not None]
    stacks = [site.stack for site in sites]
    parts = [site.part.rsplit(".", 1)[-1] for site in sites]
    return {
        "encoder": stacks.count("encoder") / len(sites),
        "decoder": stacks.count("decoder") / len(sites),
        "cross": sum("cross_attn" in site.part for site in sites) / len(sites),
        **{group: sum(part in names for part in parts) / len(sites) for group, names in GROUPS.items()},
        "depth_from": min(blocks, default=0.0),
        "depth_to": max(blocks, default=0.0),
        "log_sites": math.log(len(sites)),
    }


@lru_cache(maxsize=1024)
def _sized(config: MethodConfig) -> tuple[float, ...]:
    """A method's sizes and choices, a value for each of ``_config_columns``."""
    found = dict(config)
    return tuple(_config_value(found, column) for column in _config_columns())


@cache
def _config_columns() -> tuple[str, ...]:
    """One for each number of a method's config, one for each choice of a list: `rank`, `placement=serial`."""
    found: dict[str, None] = {}
    for method in specs().values():
        for name, kind in get_type_hints(method.config).items():
            if name in method.config.model_fields:
                choices = get_args(kind) if get_origin(kind) is Literal else ()
                found |= dict.fromkeys([f"{name}={choice}" for choice in choices] or [name])
    return tuple(sorted(found))


def _config_value(config: Mapping[str, Any], column: str) -> float:
    name, _, choice = column.partition("=")
    value = config.get(name)
    if choice:
        return float(value == choice)
    if value is None:
        return 0.0
    return math.log1p(float(value)) if name in SIZES else float(value)


def _settings(candidate: Candidate, shape: BackboneShape) -> Floats:
    training = candidate.training
    return np.array(
        [
            math.log(training.steps),
            math.log(training.batch_size),
            training.warmup,
            math.log(training.weight_decay + LEAST_DECAY),
            float(training.sequence != TOGETHER),
            *(float(training.schedule == name) for name in SCHEDULES),
            math.log(max(1, candidate.count_parameters(shape))),
            float(len(candidate.deltas)),
        ],
        dtype=np.float64,
    )
