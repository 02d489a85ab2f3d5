"""Running out of memory halves the rows that go at once and changes nothing else; what is needed is measured."""

import copy
import os
import platform
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.encode import batches
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.failures import OutOfMemory
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.memory import Rows, in_memory
from autodelta.engine.meter import Meter
from autodelta.engine.pack import Pack
from autodelta.engine.train import Trial
from autodelta.engine.worker import Worker
from autodelta.errors import UserError
from tests.engine.samples import LINEAR, candidate, sequential, uneven

EXHAUSTED = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 4 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried to "
                 "allocate 4096 bytes."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                 "to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]  # fmt: skip
NEEDED = [2_684_354_560, 4096, 4096, None, None]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Gives the backbone room for so many rows in the encoder; returns how many rows came, call by call."""
    begin = Forward.begin

    def limit(rows: int, error: Exception = EXHAUSTED[0]) -> list[int]:
        seen: list[int] = []

        def enter(forward: Forward, ids: torch.Tensor, mask: torch.Tensor | None) -> Memory:
            seen.append(len(ids))
            if len(ids) > rows:
                raise error
            return begin(forward, ids, mask)

        monkeypatch.setattr(Forward, "begin", enter)
        return seen

    return limit


def assignment(plan: Candidate, at: tuple[int, ...] = (2,)) -> Assignment:
    return Assignment(number=0, candidate=plan, seed=1, report_at=at)


def test_rows_are_halved_until_they_fit_and_stay_so() -> None:
    seen: list[int] = []

    def action(rows: int) -> str:
        seen.append(rows)
        if rows > 3:
            raise EXHAUSTED[0]
        return "done"

    rows = Rows(13)
    assert rows.fit(action) == rows.fit(action) == "done"
    assert seen == [13, 6, 3, 3]


@pytest.mark.parametrize(("error", "needed"), list(zip(EXHAUSTED, NEEDED, strict=True)))
def test_every_kind_of_exhausted_memory_is_named_with_what_it_asked_for(error: Exception, needed: int | None) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(OutOfMemory) as caught:
        in_memory(fail)
    assert caught.value.needed_bytes == needed
    assert ("GiB needed" in str(caught.value)) == (needed is not None)
    assert caught.value.__context__ is caught.value.__cause__ is None  # nothing holds the tensors of the attempt


def test_what_torch_itself_says_here_is_understood() -> None:
    with pytest.raises(OutOfMemory) as caught:
        in_memory(lambda: torch.empty(2**60, dtype=torch.uint8))
    assert caught.value.needed_bytes == 2**60


def test_a_measured_pass_that_fails_holds_none_of_its_tensors() -> None:
    """What a backward pass would need is freed, so that half the rows have room."""
    weight, left = torch.ones(8, requires_grad=True), []

    def fail() -> None:
        found = weight.exp()  # its backward pass needs the output itself
        left.append(weakref.ref(found))
        raise MemoryError

    with suppress(MemoryError), Meter(torch.device("cpu")).forward(1):
        fail()
    assert left[0]() is None


FAULTS = """
import os, resource, threading
import torch
from autodelta.engine.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [torch.ones(2 << 20, dtype=torch.uint8) for _ in range(40)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def measure():
    os.environ["MALLOC_CHECK_"] = "0"
    keep_freed()
    chosen = faults()
    del os.environ["MALLOC_CHECK_"]
    keep_freed()
    faults()
    print(chosen, faults())

threading.Thread(target=measure).start()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how malloc works elsewhere is left alone")
def test_what_a_step_has_freed_is_there_for_the_next_one_unless_the_user_chose_otherwise() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    said = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    chosen, kept = map(int, said.stdout.split())
    assert chosen > 10_000  # pages of 4 KiB: 200,000 were written to
    assert kept < 1_000


def test_a_backbone_larger_than_the_device_is_one_line(spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise EXHAUSTED[0]

    monkeypatch.setattr("autodelta.backbones.load", load)
    with pytest.raises(UserError, match=r"does not fit the memory of cpu: CUDA out of memory. Tried to allocate 2.50"):
        spec.open()


def test_another_error_is_left_alone() -> None:
    def fail() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_memory(fail)


# --- training and evaluation in parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(worker: Worker, rows: int) -> None:
    """In float64, with targets of unlike lengths: a mean of the parts' means would differ."""
    wide = replace(worker.backbone, model=copy.deepcopy(worker.backbone.model).double(), dtype=torch.float64)
    train = replace(worker._train, targets=(worker._train.targets[0], worker._train.targets[1].repeat(3)))
    batch = next(batches(train, batch_size=8, seed=0))
    assert len(set(batch.targets.ne(-100).sum(1).tolist())) == 2
    trial = Trial(wide, sequential("together"), seed=1)
    trial.composition.double()
    for parameter in trial.composition.parameters():
        parameter.data.add_(0.1)

    def gradients(number: int) -> tuple[float, list[torch.Tensor]]:
        loss = trial.gradients(batch, number)
        return loss, [p.grad.clone() for p in trial.composition.parameters() if p.grad is not None]

    loss, whole = gradients(8)
    found, parts = gradients(rows)
    assert found == pytest.approx(loss, rel=1e-12)
    assert len(parts) == len(whole) > 3
    for part, expected in zip(parts, whole, strict=True):
        assert torch.allclose(part, expected, rtol=1e-6, atol=1e-9)  # T5's norms compute their variance in float32


@pytest.mark.parametrize("error", EXHAUSTED)
def test_a_trial_that_runs_out_of_memory_goes_on_with_smaller_parts_and_the_same_loss(
    worker: Worker, room: Callable[..., list[int]], error: Exception
) -> None:
    whole = list(worker.run(assignment(candidate(4))))
    seen = room(3, error)
    found = list(worker.run(assignment(candidate(4))))
    worker.close_trial()
    assert seen[:3] == [8, 4, 2]
    assert [report.micro_batch for report in whole] == [8, 8]
    assert [report.micro_batch for report in found] == [2, 2]
    assert [report.train_loss for report in found] == pytest.approx([r.train_loss for r in whole], rel=1e-4)
    assert [report.score for report in found] == [report.score for report in whole]


def test_one_step_tries_the_larger_parts_and_no_other(worker: Worker, room: Callable[..., list[int]]) -> None:
    trial = Trial(worker.backbone, candidate(4), seed=1)
    seen = room(4)
    assert len(list(islice(trial.steps(worker._train), 3))) == 3
    assert seen == [8, 4, 4, 4, 4, 4, 4]


def test_an_attempt_that_failed_late_leaves_no_gradient_behind(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second part of four fails: what the first one added is not counted twice."""
    calls: list[int] = []
    backward = torch.Tensor.backward

    def failing(self: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise EXHAUSTED[0]
        backward(self, *args, **kwargs)

    def step(rows: int) -> float:
        trial = Trial(worker.backbone, candidate(4), seed=1)
        trial.rows.at_once = rows
        *_, (_, loss) = islice(trial.steps(worker._train), 2)
        return loss

    expected = step(1)
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "backward", failing)
        assert step(2) == expected
    assert len(calls) == 2 + 8 + 8


def test_no_room_for_one_row_ends_the_trial_with_what_is_needed(worker: Worker, room: Callable[..., list[int]]) -> None:
    seen = room(0)
    with pytest.raises(OutOfMemory, match=r"2\.50 GiB needed") as caught:
        list(worker.run(assignment(candidate(4))))
    assert seen == [8, 4, 2, 1]
    assert caught.value.needed_bytes == NEEDED[0]
    with pytest.raises(RuntimeError, match="no trial"):
        worker.weights()


def test_fewer_rows_than_a_batch_are_halved_from_their_own_number(
    worker: Worker, room: Callable[..., list[int]]
) -> None:
    few = worker._train.only(worker._train.by_length()[:5])
    trial = Trial(worker.backbone, candidate(4), seed=1)
    seen = room(2)
    next(trial.steps(few))
    assert seen == [5, 2, 2, 1]


def test_the_optimiser_running_out_of_memory_ends_the_trial(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EXHAUSTED[0]

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(OutOfMemory):
        list(worker.run(assignment(candidate(4))))


def test_a_trial_goes_on_from_a_checkpoint_with_its_smaller_parts(
    worker: Worker, room: Callable[..., list[int]], tmp_path: Path
) -> None:
    seen = room(3)
    whole = list(worker.run(assignment(candidate(6))))
    for _ in worker.run(assignment(candidate(6))):
        worker.save(tmp_path / "rung")
        break
    seen.clear()
    found = list(worker.run(assignment(candidate(6)), start=tmp_path / "rung"))
    worker.close_trial()
    assert max(seen) == 2
    assert found[-1].train_loss == whole[-1].train_loss
    assert found[-1].micro_batch == 2


def test_an_evaluation_takes_fewer_rows_at_once_and_remembers_it(
    worker: Worker, room: Callable[..., list[int]]
) -> None:
    expected = label_log_likelihoods(Forward(worker.backbone.model), worker._validation)
    seen, rows = room(5), Rows(16)
    for _ in range(2):
        found = label_log_likelihoods(Forward(worker.backbone.model), worker._validation, rows=rows)
        assert found == pytest.approx(expected, abs=1e-4)
    assert seen == [16, 8, *[4] * 4, *[4] * 4]


# --- measuring -------------------------------------------------------------------------------------------------------


def peak(worker: Worker, plan: Candidate) -> int:
    *_, last = worker.run(assignment(plan))
    worker.close_trial()
    return last.memory_bytes


def test_memory_is_weights_gradients_moments_and_what_is_kept_for_the_backward_pass(worker: Worker) -> None:
    """Everything once: no parameter again where it is kept for the backward pass, no storage for each of its views."""
    batch = next(batches(worker._train, batch_size=8, seed=0))
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    trial = Trial(worker.backbone, candidate(4), seed=1)
    own = [*worker.backbone.model.parameters(), *trial.composition.parameters()]
    with saved_tensors_hooks(note, lambda tensor: tensor):
        loss = trial.forward.loss(trial.forward.encode(batch.input_ids, batch.mask), batch.targets)
    loss.backward()
    held = {tensor.untyped_storage().data_ptr() for tensor in own}
    assert seen.keys() & held
    kept = sum(size for storage, size in seen.items() if storage not in held)
    weights = sum(tensor.nbytes for tensor in own)
    trained = sum(parameter.nbytes for parameter in trial.composition.parameters())
    trial.gradients(batch, 8)
    assert trial.meter.peak == pytest.approx(weights + 3 * trained + kept, rel=1e-3)


def test_a_later_phase_that_takes_more_is_measured_though_its_batches_are_no_larger(worker: Worker) -> None:
    *_, before, last = worker.run(assignment(sequential("bitfit > prompt > lora", steps=6), at=(2, 4)))
    worker.close_trial()
    assert last.memory_bytes > before.memory_bytes


def test_a_larger_batch_and_deltas_deeper_down_take_more_memory(worker: Worker) -> None:
    above = {"method": "bitfit", "roles": ["decoder.final_norm"], "config": {}, "learning_rate": 0.01}
    training = {"steps": 2, "batch_size": 8}
    top = Candidate.model_validate({"deltas": [above], "training": training})
    below = Candidate.model_validate({"deltas": [{**above, "roles": LINEAR}], "training": training})
    assert (
        peak(worker, top) < peak(worker, below) < peak(worker, candidate(2)) < peak(worker, candidate(2, batch_size=32))
    )


def test_smaller_parts_take_less_memory(worker: Worker, room: Callable[..., list[int]]) -> None:
    whole = peak(worker, candidate(4))
    room(2)
    assert peak(worker, candidate(4)) < whole


def test_only_passes_larger_than_all_before_are_looked_at(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    import autodelta.engine.meter as module

    looked: list[int] = []
    tokens: list[int] = []
    hooks = module.saved_tensors_hooks
    monkeypatch.setattr(module, "saved_tensors_hooks", lambda *given: looked.append(1) or hooks(*given))
    trial = Trial(worker.backbone, candidate(9), seed=1)
    gradients = Pack.gradients
    monkeypatch.setattr(Pack, "gradients", lambda *given: tokens.append(given[1][0].batch.tokens) or gradients(*given))
    assert len(list(trial.steps(uneven(worker._train)))) == 9
    assert len(looked) == sum(now > max(tokens[:at], default=0) for at, now in enumerate(tokens)) < 9


def test_where_torch_counts_memory_a_pass_is_known_by_its_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every pass were larger than all before, and no trial on a GPU would ever go with others."""
    meter = Meter(torch.device("cpu"))
    monkeypatch.setattr(meter, "_on_gpu", True)
    with meter.forward(5):
        pass
    assert meter.largest == 5
