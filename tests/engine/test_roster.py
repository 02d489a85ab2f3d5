"""Trials that train at a time do what each does alone, and what happens comes in one order, also after a kill."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.costs import MOST, Costs
from autodelta.engine.failures import NotFinite, Violated
from autodelta.engine.pack import Pack
from autodelta.engine.report import Report
from autodelta.engine.train import Trial
from autodelta.engine.worker import Worker
from autodelta.limits import Limits
from tests.engine.samples import candidate, sequential

LAUNCHING = Costs(device="paper", seconds_per=(1e-3, 0.0, 0.0, 1e-6, 0.0, 0.0, 0.0), overlaps=False, error=0.0)
COMPUTING = Costs(device="paper", seconds_per=(0.0, 0.0, 0.0, 1e-3, 0.0, 1.0, 0.0), overlaps=False, error=0.0)
PLANS = (candidate(12), candidate(9, 0.01, batch_size=4), sequential("bitfit > prompt", steps=10))
ENTERED = (0, 0, 4)


@pytest.fixture(scope="module")
def packing(spec: WorkerSpec) -> Worker:
    return Worker(spec.model_copy(update={"costs": LAUNCHING}))


@pytest.fixture(autouse=True)
def _closed(packing: Worker) -> Iterator[None]:
    yield
    packing.close_trial()


def assignment(number: int, plan: Candidate | None = None, **more: object) -> Assignment:
    chosen = plan or PLANS[number]
    return Assignment.model_validate(
        {"number": number, "candidate": chosen, "seed": 3, "report_at": (3, 6), "entered": ENTERED[number], **more}
    )


def happening(worker: Worker, *, save: Path | None = None) -> Iterator[tuple[int, Report | Exception]]:
    """All that happens until every trial has ended; perhaps each is saved at its reports, as a search does."""
    while worker._roster.members:
        number, found = worker.advance()
        if isinstance(found, Report) and not found.done and save is not None:
            worker.save(save / str(number), number)
        yield number, found
        if isinstance(found, Report) and found.done:
            worker.leave(number)


@torch.no_grad()
def poison(trial: Trial) -> None:
    for parameter in trial.composition.parameters():
        parameter.fill_(math.nan)


def scores(happened: list[tuple[int, Report | Exception]], number: int) -> list[tuple[int, float]]:
    return [(found.step, found.score) for n, found in happened if n == number and isinstance(found, Report)]


def test_trials_that_train_together_report_the_scores_that_they_have_alone(worker: Worker, packing: Worker) -> None:
    for number in range(3):
        packing.enter(assignment(number))
    happened = list(happening(packing))
    for number in range(3):
        alone = [(report.step, report.score) for report in worker.run(assignment(number))]
        assert [step for step, _ in alone] == [step for step, _ in scores(happened, number)]
        assert [score for _, score in scores(happened, number)] == pytest.approx([s for _, s in alone], abs=1e-6)


def test_what_they_share_is_held_once_and_each_is_told_what_it_would_have_taken(packing: Worker) -> None:
    for number in range(2):
        packing.enter(assignment(number))
    reports = [found for _, found in happening(packing) if isinstance(found, Report)]
    assert all(report.held_seconds < report.device_seconds for report in reports)


def test_what_happens_comes_by_time_and_number_also_when_each_goes_on_from_its_last_report(
    packing: Worker, tmp_path: Path
) -> None:
    for number in range(3):
        packing.enter(assignment(number))
    whole = [(number, found.step) for number, found in happening(packing) if isinstance(found, Report)]
    assert whole == [(0, 3), (1, 3), (0, 6), (1, 6), (2, 3), (1, 9), (2, 6), (0, 12), (2, 10)]
    for killed_after in (2, 3, 6):
        folder = tmp_path / str(killed_after)
        for number in range(3):
            packing.enter(assignment(number))
        before = [next(all_) for all_ in [happening(packing, save=folder)] for _ in range(killed_after)]
        ended = {number for number, found in before if isinstance(found, Report) and found.done}
        packing.close_trial()
        for number in {*range(3)} - ended:
            start = folder / str(number)
            packing.enter(assignment(number), start=start if start.exists() else None)
        told = [(n, found.step) for n, found in before if isinstance(found, Report)]
        after = [(n, found.step) for n, found in happening(packing) if isinstance(found, Report)]
        assert [one for one in after if one not in told] == whole[killed_after:]


def test_one_that_diverges_or_leaves_lets_the_others_go_on(worker: Worker, packing: Worker) -> None:
    packing.enter(assignment(0))
    packing.enter(assignment(1))
    packing.enter(assignment(2))
    happened = []
    for number, found in happening(packing):
        happened.append((number, found))
        reached = isinstance(found, Report) and found.step == 3
        if reached and number == 1:
            poison(packing._roster.members[1].trial)
        if reached and number == 2:
            packing.leave(2)  # as one that is not among the best
    assert [type(found) for number, found in happened if number == 1] == [Report, NotFinite]
    assert [step for step, _ in scores(happened, 2)] == [3]
    alone = [(report.step, report.score) for report in worker.run(assignment(0))]
    assert [score for _, score in scores(happened, 0)] == pytest.approx([score for _, score in alone], abs=1e-6)


def test_one_that_breaks_a_limit_never_joins(packing: Worker) -> None:
    packing.enter(assignment(0))
    with pytest.raises(Violated):
        packing.enter(assignment(1, limits=Limits(memory_bytes=1)))
    assert [number for number, _ in happening(packing)] == [0, 0, 0]


def test_an_error_of_the_pass_itself_ends_those_that_were_in_it(
    packing: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Pack) -> None:
        raise RuntimeError("no kernel for this")

    for number in range(2):
        packing.enter(assignment(number))
    monkeypatch.setattr(Pack, "step", broken)
    assert [(number, str(found)) for number, found in happening(packing)] == [
        (0, "no kernel for this"),
        (1, "no kernel for this"),
    ]


def test_there_is_room_as_long_as_the_costs_say_that_one_more_pays(spec: WorkerSpec, packing: Worker) -> None:
    for number in range(MOST):
        assert packing.room()
        packing.enter(assignment(0).model_copy(update={"number": number}))
    assert not packing.room()
    for costs in (None, COMPUTING):
        other = Worker(spec.model_copy(update={"costs": costs}))
        assert other.room()
        other.enter(assignment(0))
        assert not other.room()


def test_nobody_joins_one_under_which_a_worker_died(packing: Worker) -> None:
    packing.enter(assignment(0, alone=True))
    assert not packing.room()
