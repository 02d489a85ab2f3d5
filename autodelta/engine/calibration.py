"""Measures this machine for the cost model of packs: a few steps of a few packs, in well under a minute, once."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256

import numpy as np
import torch
from pydantic import ValidationError

from autodelta import __version__
from autodelta.backbones import Backbone
from autodelta.candidate import Candidate
from autodelta.engine import pace
from autodelta.engine.activations import Activations
from autodelta.engine.costs import TERMS, Costs, Work
from autodelta.engine.devices import called
from autodelta.engine.encode import Encoded
from autodelta.engine.memory import keep_freed
from autodelta.engine.pack import Pack
from autodelta.engine.packing import fitted
from autodelta.engine.train import Trial
from autodelta.engine.worker import single_threaded
from autodelta.files import cache_folder, write_text

SECONDS = 20.0  # after these no further batch size is begun
BATCHES = ((4, 16), (16, 20), (32, 64))  # rows, tokens a row
MEMBERS = ((0,), (1,), (2,), (3,), (0, 0), (1, 1), (2, 3), (0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 2, 3))  # of each pack
STEPS = 4  # of each pack, of which the first is left out


def calibrated(backbone: Backbone, say: Callable[[str], object]) -> Costs:
    """What packs cost on this machine: as it was measured before, or measured now and kept in the user's cache.

    Args:
        backbone: is only read.
        say: is told if something has to be measured.
    """
    device = str(backbone.device)
    of = (platform.node(), called(device), backbone.sha256, backbone.dtype_name)
    versions = (torch.__version__, __version__, *TERMS)
    file = cache_folder() / "packing" / f"{sha256('|'.join((*of, *versions)).encode()).hexdigest()[:16]}.json"
    try:
        return Costs.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        say(f"measuring once what it costs here to train several candidates at a time: about {SECONDS:.0f} s")
    with single_threaded(backbone.device.type):
        found = calibrate(backbone)
    with suppress(OSError):  # what cannot be kept is measured again
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, found.model_dump_json())
    return found


def calibrate(backbone: Backbone, *, seconds: float = SECONDS) -> Costs:
    """What packs cost on this backbone and its device, measured on batches of noise.

    Args:
        backbone: is only read.
        seconds: about as long as it may take; the first batch size is always measured.
    """
    if backbone.device.type == "cpu":
        keep_freed()  # as workers do
    began = clock(backbone.device)
    passes: list[Sequence[Work]] = []
    measured: list[float] = []
    for rows, length in BATCHES:
        if measured and clock(backbone.device) - began > seconds / 4:
            break
        for works, took in _measured(backbone, rows, length):
            passes.append(works)
            measured.append(took)
    return fitted(called(str(backbone.device)), passes, measured, may_overlap=backbone.device.type != "cpu")


def clock(device: torch.device) -> float:
    """Seconds, for differences: of this process's work on a CPU, which others may share; of the wall on a GPU, after
    all that was launched there."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return pace.now()


def uniform(backbone: Backbone, rows: int, length: int, *, seed: int = 0) -> Encoded:
    """One row of noise over and over, so that all batches are one, with two labels."""
    rng = np.random.default_rng(seed)
    inputs = (rng.integers(3, backbone.shape.vocab_size, length),) * rows
    targets = (np.array([5, 1]), np.array([6, 1]))
    return Encoded(inputs, rng.integers(0, 2, rows), targets, pad=backbone.tokenizer.pad_token_id)


def _measured(backbone: Backbone, rows: int, length: int) -> Iterator[tuple[list[Work], float]]:
    """The work of packs of one candidate and of several, and a step's seconds; in turn, as a machine's speed drifts."""
    packs = []
    for members in MEMBERS:
        pack = Pack(backbone, kept=Activations())
        for number, which in enumerate(members):
            pack.enter(
                Trial(backbone, _candidate(backbone, which, rows), seed=0), uniform(backbone, rows, length, seed=number)
            )
        packs.append(pack)
    times: list[list[float]] = [[] for _ in packs]
    for _ in range(STEPS):
        for pack, took in zip(packs, times, strict=True):
            began = clock(backbone.device)
            pack.step()
            took.append(clock(backbone.device) - began)
    for pack, took in zip(packs, times, strict=True):
        yield [trial.demand.at(rows, length, 2) for trial in pack.trials], statistics.median(took[1:])


def _candidate(backbone: Backbone, number: int, rows: int) -> Candidate:
    """One of a few candidates that differ in what they need."""
    kinds = backbone.shape.kinds()
    linear = [role for role in kinds if role.split(".", 1)[1] in ("self_attn.q", "self_attn.v", "ffn.in", "ffn.out")]
    decoder = [role for role in linear if role.startswith("decoder")]
    deltas = (
        {"method": "lora", "roles": linear, "config": {"rank": 8}},
        {"method": "lora", "roles": decoder, "config": {"rank": 8}},
        {"method": "bitfit", "roles": linear},
        {
            "method": "adapter",
            "roles": ["encoder.ffn", "decoder.ffn"],
            "config": {"bottleneck": min(24, backbone.shape.d_model)},
        },
    )
    training = {"steps": 2 * STEPS, "batch_size": rows}
    return Candidate.model_validate({"deltas": [{**deltas[number], "learning_rate": 1e-4}], "training": training})
