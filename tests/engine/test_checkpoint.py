"""A trial from a checkpoint is the one that was never interrupted, bit for bit; other files are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autodelta.backbones import weights_sha256
from autodelta.candidate import Candidate
from autodelta.deltas.spec import specs
from autodelta.engine import checkpoint
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.failures import BrokenCheckpoint
from autodelta.engine.report import Report
from autodelta.engine.worker import Worker
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from tests.deltas.conformance import candidate_of
from tests.engine.samples import candidate, sequential

STEPS = 8
METHODS = [(name, variant) for name, spec in specs().items() for variant in range(len(spec.small))]


def assignment(plan: Candidate, *, seed: int = 1, at: tuple[int, ...] = (3, 6)) -> Assignment:
    return Assignment(number=0, candidate=plan, seed=seed, report_at=at)


def one(method: str, variant: int, shape: BackboneShape) -> Candidate:
    plan = candidate_of(shape, (method, specs()[method].small[variant])).model_dump()
    plan["deltas"][0]["learning_rate"] = 0.05
    return Candidate.model_validate({**plan, "training": {"steps": STEPS, "batch_size": 8, "weight_decay": 0.1}})


def broken_off(worker: Worker, order: Assignment, path: Path, *, after: int) -> list[Report]:
    """Runs a trial until it has so many reports, saves it and leaves it."""
    reports = []
    for report in worker.run(order):
        reports.append(report)
        if len(reports) == after:
            worker.save(path)
            worker.close_trial()
            break
    return reports


def ended(
    worker: Worker, order: Assignment, path: Path, start: Path | None = None
) -> tuple[list[Report], dict[str, Tensor]]:
    """All reports of a trial, and all that it holds at its end."""
    reports = list(worker.run(order, start=start))
    worker.save(path)
    worker.close_trial()
    return reports, load_file(path)


def untimed(reports: list[Report]) -> list[dict[str, Any]]:
    return [report.model_dump(exclude={"device_seconds", "held_seconds", "evaluation_seconds"}) for report in reports]


def assert_goes_on_as_if_unbroken(
    worker: Worker, order: Assignment, folder: Path, *, after: int = 1, second: Worker | None = None
) -> None:
    whole, at_end = ended(worker, order, folder / "whole")
    before = broken_off(worker, order, folder / "rung", after=after)
    found, resumed_end = ended(second or worker, order, folder / "resumed", start=folder / "rung")
    assert found[:after] == before
    assert untimed(found) == untimed(whole)
    assert resumed_end.keys() == at_end.keys()
    assert all(torch.equal(resumed_end[name], at_end[name]) for name in at_end)


@pytest.mark.parametrize(("method", "variant"), METHODS)
def test_every_method_goes_on_bit_for_bit(worker: Worker, tmp_path: Path, method: str, variant: int) -> None:
    assert_goes_on_as_if_unbroken(worker, assignment(one(method, variant, worker.backbone.shape)), tmp_path)


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_sequence_goes_on_bit_for_bit_within_a_phase_and_at_its_end(
    worker: Worker, tmp_path: Path, after: int
) -> None:
    order = assignment(sequential("prompt > lora > bitfit", steps=12), at=(2, 4, 6, 12))
    assert_goes_on_as_if_unbroken(worker, order, tmp_path, after=after)


def test_a_phase_of_no_steps_is_passed_over_once(worker: Worker, tmp_path: Path) -> None:
    order = assignment(sequential("prompt > lora > bitfit", steps=2), at=(1,))
    assert_goes_on_as_if_unbroken(worker, order, tmp_path)


def test_another_worker_goes_on_bit_for_bit_in_bf16(spec: WorkerSpec, tmp_path: Path) -> None:
    half = spec.model_copy(update={"dtype": "bf16"})
    order = assignment(candidate(20), at=(7, 13))
    assert_goes_on_as_if_unbroken(Worker(half), order, tmp_path, after=2, second=Worker(half))


def test_a_trial_that_was_done_gives_its_reports_and_weights_again(worker: Worker, tmp_path: Path) -> None:
    order = assignment(candidate(6), at=(3,))
    whole, at_end = ended(worker, order, tmp_path / "whole")
    assert list(worker.run(order, start=tmp_path / "whole")) == whole
    weights = worker.weights()
    worker.close_trial()
    assert all(torch.equal(weights[name], at_end[f"weights.{name}"]) for name in weights)


def test_seconds_go_on_from_those_of_the_checkpoint(worker: Worker, tmp_path: Path) -> None:
    order = assignment(candidate(6), at=(3,))
    (first,) = broken_off(worker, order, tmp_path / "rung", after=1)
    *_, last = ended(worker, order, tmp_path / "end", start=tmp_path / "rung")[0]
    assert last.device_seconds > first.device_seconds > first.evaluation_seconds > 0
    assert last.evaluation_seconds > first.evaluation_seconds


def test_saving_changes_nothing(worker: Worker, tmp_path: Path) -> None:
    order = assignment(candidate(6), at=(2, 4))
    whole, at_end = ended(worker, order, tmp_path / "whole")
    reports = []
    for report in worker.run(order):
        reports.append(report)
        worker.save(tmp_path / "rung")
    worker.close_trial()
    assert untimed(reports) == untimed(whole)
    assert all(torch.equal(tensor, at_end[name]) for name, tensor in load_file(tmp_path / "rung").items())


def test_a_trial_reads_and_moves_no_global_generator(worker: Worker) -> None:
    """So that no random state has to be kept beside the tensors."""
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        losses.append([report.train_loss for report in worker.run(assignment(sequential("prompt > lora", steps=6)))])
        worker.close_trial()
        assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1]


# --- files that are not the trial's --------------------------------------------------------------------------------


@pytest.fixture
def saved(worker: Worker, tmp_path: Path) -> Path:
    broken_off(worker, assignment(candidate(6)), tmp_path / "rung.safetensors", after=1)
    return tmp_path / "rung.safetensors"


def refused(worker: Worker, order: Assignment, path: Path, kind: type[Exception]) -> str:
    before = weights_sha256(worker.backbone.model)
    with pytest.raises(kind) as caught:
        next(worker.run(order, start=path))
    assert weights_sha256(worker.backbone.model) == before
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (assignment(candidate(6), seed=2), "seed 1, not 2"),
        (assignment(candidate(7)), "candidate"),
    ],
)
def test_a_checkpoint_of_another_trial_is_refused(worker: Worker, saved: Path, other: Assignment, said: str) -> None:
    message = refused(worker, other, saved, UserError)
    assert "another trial" in message
    assert said in message


@pytest.mark.parametrize("field", ["backbone", "dtype", "data"])
def test_a_checkpoint_on_another_backbone_or_other_rows_is_refused(worker: Worker, saved: Path, field: str) -> None:
    order = assignment(candidate(6))
    origin = worker._origin(order)
    found = checkpoint.read(saved, origin)
    checkpoint.write(
        saved, checkpoint.Checkpoint(origin.model_copy(update={field: "odd"}), found.progress, found.tensors)
    )
    assert f"of another trial: {field} odd" in refused(worker, order, saved, UserError)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _beheaded(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _zeroed(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-64] + bytes(64))


def _removed(path: Path) -> None:
    path.unlink()


def _weights_alone(path: Path) -> None:
    save_file({"0.lora.a": torch.zeros(2)}, path)


def _of_other_fields(path: Path) -> None:
    save_file({}, path, metadata={checkpoint.KEY: json.dumps({"schema": 1, "origin": {}, "progress": {}})})


@pytest.mark.parametrize("damage", [_cut, _beheaded, _emptied, _zeroed, _removed, _weights_alone, _of_other_fields])
def test_a_damaged_file_is_told_from_one_of_another_trial(
    worker: Worker, saved: Path, damage: Callable[[Path], None]
) -> None:
    damage(saved)
    refused(worker, assignment(candidate(6)), saved, BrokenCheckpoint)
    assert len(list(worker.run(assignment(candidate(6))))) == 2
    worker.close_trial()


def test_a_checkpoint_of_a_newer_schema_is_refused_and_not_called_broken(worker: Worker, saved: Path) -> None:
    save_file({}, saved, metadata={checkpoint.KEY: json.dumps({"schema": 2})})
    with pytest.raises(UserError, match="of a newer AutoDelta; this one reads 1") as caught:
        next(worker.run(assignment(candidate(6)), start=saved))
    assert not isinstance(caught.value, BrokenCheckpoint)


def test_a_failed_save_keeps_the_checkpoint_before_it(
    worker: Worker, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    reports = worker.run(assignment(candidate(6)))
    next(reports)
    with pytest.raises(OSError, match="No space left"):
        worker.save(saved)
    worker.close_trial()
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_nothing_is_saved_where_no_trial_is_open(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no trial is open"):
        worker.save(tmp_path / "rung")
