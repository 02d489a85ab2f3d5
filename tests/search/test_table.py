import itertools
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.meta.records import Record
from autodelta.search.attempt import CHECKPOINT
from autodelta.search.budget import Budget, parse
from autodelta.search.executors import Executor
from autodelta.search.executors.local import InProcess
from autodelta.search.executors.processes import Processes
from autodelta.search.executors.table import Replayed, Table, VirtualClock, replayed
from autodelta.search.ledger import Ledger
from autodelta.search.pool import Pool, entries
from autodelta.search.pruning import pruner, rungs
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import PoolEntry, sampler
from autodelta.search.session import Session
from autodelta.search.simulation import ranking, simulate
from autodelta.search.storage import quiet
from autodelta.search.study import Study, trial_folder
from autodelta.search.work import Accounts
from autodelta.space import Space
from tests.search import fakes, replay, tables

WIDE = fakes.SPACE.replace("steps: [40, 80]", "steps: [30, 90]").replace(
    "low: 0.0001, high: 0.01", "low: 1e-5, high: 0.1"
)

RUNGS = rungs(90)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return fakes.space(tmp_path, WIDE)


def records(space: Space, number: int = 24, **changes: Any) -> list[Record]:
    return [tables.a_record(space, candidate, **changes) for candidate in tables.candidates(space, number)]


def pool(space: Space, found: Sequence[Record]) -> list[tuple[Candidate, PoolEntry]]:
    return entries(space, [record.candidate for record in found])


def really(
    executor: Executor,
    folder: Path,
    space: Space,
    found: Sequence[Record],
    budget: Budget,
    *,
    workers: int = 1,
    clock: Any = time.monotonic,
    by: tuple[str, str] = ("tpe", "asha"),
) -> tuple[list[TrialRecord], dict[str, float]]:
    """The trials and the ledger of a search among the records as the driver does it, on disk, by some executor."""
    folder.mkdir()
    with (
        quiet(),
        executor,
        closing(
            Study(
                folder,
                space,
                sampler=sampler(by[0]),
                seed=3,
                pruner=pruner(by[1], rungs(space.settings.most_steps)),
                plan=Pool(pool(space, found), ranking(by[0])),
                can_continue=lambda number: (trial_folder(folder, number) / CHECKPOINT).exists(),
            )
        ) as study,
    ):
        ledger = Ledger(folder / "ledger.jsonl", clock=clock)
        accounts = Accounts(budget, ledger, emit=lambda event: None, confirm_share=0.0, clock=clock)
        session = Session(folder, study, accounts, workers=workers)
        executor.run(session)
        session.stop_running()
        ledger.close()
        return study.trials(), ledger.by_kind()


def spec(folder: Path, found: Sequence[Record], **settings: float) -> replay.ReplaySpec:
    """A worker that goes by the records."""
    (folder / "records.jsonl").write_text("\n".join(record.model_dump_json() for record in found))
    return replay.ReplaySpec(backbone="fake", task=str(folder / "records.jsonl"), **settings)


def replays(found: Sequence[Record]) -> dict[str, Replayed]:
    return {record.candidate.key: replayed(record) for record in found}


def decisions(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """What a search asked, in which order, what it saw, and what it stopped and why; not the traceback's class."""
    return [trial.model_dump(exclude={"seed", "reason"}) | {"why": trial.reason.split(": ")[-1]} for trial in trials]


def trouble(found: Sequence[Record]) -> list[Record]:
    """Some trials fail and some run out of memory after a report or two."""
    states = itertools.cycle([("failed", "a loss of nan"), *[None] * 3, ("infeasible", "3 GiB more"), *[None] * 2])
    return [
        record.model_copy(
            update={"curve": record.curve[: index % 3], "state": ended[0], "reason": ended[1], "device_seconds": 1.5}
        )
        if ended
        else record
        for index, (record, ended) in enumerate(zip(found, states, strict=False))
    ]


@pytest.mark.parametrize(
    ("budget", "by"),
    [
        *itertools.product(["14trials", "9s"], [("tpe", "asha"), ("random", "hyperband"), ("gp", "none")]),
        ("20cpu-s", ("tpe", "asha")),
        ("12trials,25cpu-s", ("tpe", "asha")),
        ("36trials", ("random", "asha")),  # with room for one checkpoint
    ],
)
def test_a_simulated_search_decides_what_the_real_one_decides(
    tmp_path: Path, space: Space, budget: str, by: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if budget == "36trials":
        monkeypatch.setattr("autodelta.search.trial_files.CHECKPOINTS_KEPT", 1)
    found = trouble(records(space, 40 if budget == "36trials" else 24))
    replay.CLOCK.now = 0.0
    worker = InProcess(spec(tmp_path, found))
    real, ledger = really(worker, tmp_path / "run", space, found, parse(budget), clock=replay.CLOCK, by=by)
    simulated = simulate(
        space, pool(space, found), replays(found), parse(budget), sampler_name=by[0], pruner_name=by[1], seed=3
    )
    assert decisions(simulated.trials) == decisions(real)
    assert simulated.spent == pytest.approx(ledger)
    assert {"complete", "failed"} <= {trial.state for trial in real}
    if budget == "36trials":
        assert any(trial.continues is not None for trial in real)


@pytest.mark.slow
def test_two_simulated_workers_decide_what_two_processes_decide(tmp_path: Path, space: Space) -> None:
    budget, by = parse("12trials"), ("tpe", "asha")
    found = records(space, 16)

    def two_workers() -> list[TrialRecord]:
        simulated = simulate(
            space, pool(space, found), replays(found), budget, sampler_name=by[0], pruner_name=by[1], seed=3, workers=2
        )
        return list(simulated.trials)

    second = two_workers()[1].candidate
    found = [out_of_step(record, odd=record.candidate == second) for record in found]
    (tmp_path / "turns").mkdir()
    workers = Processes(spec(tmp_path, found, turns=tmp_path / "turns"), workers=2)
    real, _ = really(workers, tmp_path / "run", space, found, budget, workers=2, by=by)
    assert decisions(two_workers()) == decisions(real)
    assert {"complete", "pruned"} <= {trial.state for trial in real}


def out_of_step(record: Record, *, odd: bool) -> Record:
    """The same trial with reports an even number of seconds apart, the first one after an odd number if that is asked.

    So one of two workers reports at even seconds and the other one at odd ones, however they take turns.
    """
    seconds, curve = float(odd), []
    for point in record.curve:
        seconds += 2 * (1 + int(record.candidate.key, 16) % 3)
        curve.append(point.model_copy(update={"device_seconds": seconds}))
    return record.model_copy(update={"curve": tuple(curve), "device_seconds": seconds})


def test_the_worker_whose_report_comes_first_is_served_first(space: Space) -> None:
    found = records(space, 4)
    seen: list[tuple[float, str]] = []
    clock = VirtualClock()
    with quiet():
        study = Study(None, space, sampler=sampler("random"), seed=1, plan=Pool(pool(space, found), ranking("random")))
        accounts = Accounts(
            parse("4trials"),
            Ledger(None, clock=clock),
            emit=lambda event: seen.append((clock.now, type(event).__name__)),
            confirm_share=0.0,
            clock=clock,
        )
        table = Table(replays(found), clock, workers=3)
        table.run(Session(None, study, accounts, workers=3))
    times = [when for when, _ in seen]
    assert times == sorted(times)
    assert [when for when, what in seen if what == "TrialStarted"][:3] == [0.0, 0.0, 0.0]
    longest = max(record.device_seconds for record in found)
    held = accounts.ledger.by_kind()
    assert held["training"] + held["evaluation"] == pytest.approx(sum(record.device_seconds for record in found))
    assert held["idle"] == 0
    assert accounts.ledger.wall_seconds == clock.now >= longest
    assert table.steps == sum(record.candidate.training.steps for record in found)


def test_a_budget_in_seconds_is_kept_in_virtual_time(space: Space) -> None:
    found = records(space)
    for workers in (1, 3):
        simulated = simulate(
            space, pool(space, found), replays(found), parse("30cpu-s"), pruner_name="none", workers=workers
        )
        assert 20 < sum(simulated.spent.values()) <= 30 * 1.02
        assert simulated.moments[-1].device_seconds == pytest.approx(sum(simulated.spent.values()))


def test_no_candidate_is_tried_twice_and_the_search_ends_with_the_pool(space: Space) -> None:
    found = records(space, 7)
    simulated = simulate(space, pool(space, found), replays(found), parse("50trials"), pruner_name="none")
    assert sorted(trial.candidate.key for trial in simulated.trials if trial.candidate) == sorted(replays(found))
    best = max(found, key=lambda record: record.score or 0.0)
    assert simulated.moments[-1].best == best.candidate.key


def test_a_table_that_lacks_a_rung_of_the_space_is_refused(space: Space) -> None:
    found = [record.model_copy(update={"curve": record.curve[-1:]}) for record in records(space, 3)]
    with pytest.raises(UserError, match=r"lacks a score at step 10, a rung of the space; it has: .*or no pruner"):
        simulate(space, pool(space, found), replays(found), parse("3trials"))


def test_a_search_without_a_pruner_needs_no_rung(space: Space) -> None:
    found = [record.model_copy(update={"curve": record.curve[-1:]}) for record in records(space, 3)]
    simulated = simulate(space, pool(space, found), replays(found), parse("3trials"), pruner_name="none")
    assert [trial.state for trial in simulated.trials] == ["complete"] * 3


def test_a_candidate_outside_of_the_space_is_refused(tmp_path: Path, space: Space) -> None:
    narrow = fakes.space(tmp_path, WIDE.replace("high: 0.1", "high: 0.00002"))
    with pytest.raises(UserError, match=r"lies outside of the space 'space'"):
        pool(narrow, records(space))
    capped = fakes.space(tmp_path, WIDE + "constraints: {trainable_parameters: '<= 300'}\n")
    with pytest.raises(UserError, match=r"breaks a constraint of the space 'space'"):
        pool(capped, records(space))


@pytest.mark.parametrize("name", ["nsga2", "grid"])
def test_a_sampler_that_cannot_rank_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}' cannot rank recorded candidates; choose from: gp, random, tpe"):
        ranking(name)
