"""The cost model finds what a machine is like, packs where that pays, and tells the seconds of a pack apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autodelta.candidate import Candidate
from autodelta.deltas.compose import compose
from autodelta.engine import calibration
from autodelta.engine.calibration import calibrate, calibrated
from autodelta.engine.costs import PLAIN, TERMS, Costs, Work, counted
from autodelta.engine.forward import Forward
from autodelta.engine.packing import Demand, fitted
from autodelta.engine.worker import Worker
from autodelta.files import CACHE

# Seconds for a block, a slot, a candidate, 10^9 products, and a million of numbers moved, joined and trained.
LAUNCHING = (1e-3, 1e-4, 1e-3, 1e-6, 1e-6, 1e-6, 1e-4)  # next to no arithmetic
COMPUTING = (1e-6, 1e-6, 1e-6, 0.1, 1e-3, 5e-2, 1e-4)  # and joining is dear


def costs(seconds_per: tuple[float, ...], *, overlaps: bool = False) -> Costs:
    return Costs(device="paper", seconds_per=seconds_per, overlaps=overlaps, error=0.0)


def work(flops: float = 1e9, **other: Any) -> Work:
    given = {"blocks": 8, "slots": 30, "memory_flops": 0.0, "memory": None, "moved": 1e6}
    return Work(flops=flops, **{**given, "trained": 10**5, "apart": False, **other})


def demand(worker: Worker, method: str, *roles: str, **config: Any) -> Demand:
    delta = {"method": method, "roles": roles, "config": config, "learning_rate": 0.01}
    plan = Candidate.model_validate({"deltas": [delta], "training": {"steps": 1, "batch_size": 1}})
    composition = compose(worker.backbone.model, plan)
    return Demand(worker.backbone.shape, composition, Forward(worker.backbone.model, composition).first_delta)


def test_where_launches_are_what_costs_all_go_together() -> None:
    model = costs(LAUNCHING)
    assert model.gain([work()] * 8) > 1.5
    assert model.groups([work()] * 8) == [[*range(8)]]


def test_where_arithmetic_is_what_costs_nobody_is_packed() -> None:
    model = costs(COMPUTING)
    assert model.gain([work()] * 4) < 1
    assert model.groups([work()] * 4) == [[0], [1], [2], [3]]


def test_a_gain_smaller_than_what_the_model_may_be_wrong_by_is_none() -> None:
    model = costs(LAUNCHING)
    share = 1 - model.seconds([work()] * 2) / (2 * model.seconds([work()]))
    assert model.model_copy(update={"error": share * 2 + 0.01}).groups([work()] * 2) == [[0], [1]]


def test_an_overlapping_device_gains_until_its_arithmetic_balances_its_launches() -> None:
    model = costs((1e-3, 0.0, 0.0, 1e-3, 0.0, 0.0, 0.0), overlaps=True)
    gains = [model.gain([work()] * size) for size in (1, 2, 4, 8, 16)]
    assert gains == pytest.approx([1, 2, 4, 8, 8])
    assert model.groups([work()] * 8) == [[*range(8)]]


def test_products_of_its_own_keep_a_candidate_alone(worker: Worker) -> None:
    own = [demand(worker, "full", "encoder.ffn.in"), demand(worker, "subspace", "decoder.ffn.in", dimension=8)]
    shared = [demand(worker, "norm", "encoder.ffn.norm"), demand(worker, "bitfit", "encoder.ffn.in")]
    works = [one.at(4, 16, 2) for one in (*own, *shared)]
    assert [one.apart for one in works] == [True, True, False, False]
    assert costs(LAUNCHING).groups(works) == [[0], [1], [2, 3]]


def test_what_is_counted_follows_depth_rows_and_size(worker: Worker) -> None:
    encoder = demand(worker, "lora", "encoder.ffn.in", rank=2)
    decoder = demand(worker, "lora", "decoder.ffn.in", rank=2)
    shape = worker.backbone.shape
    assert (encoder.live, decoder.live) == (shape.encoder_blocks, 0)
    assert encoder.trained == 2 * (shape.d_model + shape.d_ff)
    small, large = encoder.at(2, 8, 2), encoder.at(4, 8, 2)
    assert large.flops == 2 * small.flops
    assert decoder.at(2, 8, 2).flops < small.flops
    blocks, slots, candidates, *_ = counted([small, decoder.at(2, 8, 2)])
    assert (blocks, slots, candidates) == (small.blocks, 2, 2)


def test_a_memory_that_several_read_is_read_once(worker: Worker) -> None:
    above, below = demand(worker, "lora", "decoder.ffn.in", rank=2), demand(worker, "lora", "encoder.ffn.in", rank=2)

    def flops(one: Demand, *names: str | None) -> float:
        return float(counted([one.at(4, 16, 2, memory=name) for name in names])[TERMS.index("gigaflops")])

    assert flops(above, "a", "a") < flops(above, "a", "b") == flops(above, None, None)
    assert flops(below, "a", "a") == flops(below, "a", "b")


@pytest.mark.parametrize("overlaps", [False, True])
def test_the_fit_finds_the_machine_that_made_the_measurements(overlaps: bool) -> None:
    rng = np.random.default_rng(0)
    truth = costs((2e-3, 1e-5, 5e-4, 2e-3, 1e-3, 5e-4, 1e-3), overlaps=overlaps)

    def drawn() -> list[Work]:
        flops, moved = 10 ** rng.uniform(8, 11, 2)
        one = work(flops, blocks=int(rng.integers(2, 9)), slots=int(rng.integers(4, 60)), moved=moved / 1e3)
        return [one._replace(trained=int(rng.integers(10**6)))] * int(rng.integers(1, 9))

    passes = [drawn() for _ in range(60)]
    found = fitted("paper", passes, [truth.seconds(works) for works in passes], may_overlap=True)
    assert found.overlaps == overlaps
    assert found.error < 0.02
    for works in [drawn() for _ in range(20)]:
        assert found.seconds(works) == pytest.approx(truth.seconds(works), rel=0.2)


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(ValueError, match=f"at least {len(TERMS)} passes"):
        fitted("paper", [[work()]] * 3, [1.0] * 3, may_overlap=False)


def test_seconds_are_told_apart_by_work_and_scaled_to_what_was_held() -> None:
    small, large = work(1e8), work(1e9)
    model = costs(LAUNCHING)
    spent = model.apart([[(0, small), (1, large)]], held=10.0)
    assert sum(held for _, held in spent.values()) == pytest.approx(10.0)
    assert sum(alone for alone, _ in spent.values()) == pytest.approx(10.0 * model.gain([small, large]))
    one_by_one = model.apart([[(0, small)], [(1, large)]], held=10.0)
    assert all(alone == pytest.approx(held) for alone, held in one_by_one.values())


def test_a_calibration_measures_this_machine_and_is_data(worker: Worker) -> None:
    found = calibrate(worker.backbone, seconds=0.0)
    assert Costs.model_validate_json(found.model_dump_json()) == found
    assert found.device == "cpu"
    assert not found.overlaps
    assert max(found.seconds_per) > 0
    assert found.seconds([work()]) > 0


def test_a_machine_is_measured_once_for_each_backbone_and_dtype(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, said = costs(LAUNCHING), list[str]()
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setattr(calibration, "calibrate", lambda backbone: measured)
    assert [calibrated(worker.backbone, said.append) for _ in range(2)] == [measured] * 2
    assert len(said) == 1
    assert calibrated(replace(worker.backbone, dtype=torch.bfloat16), said.append) == measured
    assert len(said) == 2
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    assert calibrated(worker.backbone, said.append) == measured
    assert len(said) == 3


def test_an_uncalibrated_machine_packs_nothing() -> None:
    assert PLAIN.groups([work(1e6)] * 4) == [[0], [1], [2], [3]]
