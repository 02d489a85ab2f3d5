import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from autodelta.candidate import Candidate
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.meta.records import Record
from autodelta.search.attempt import CHECKPOINT
from autodelta.search.budget import Budget, parse
from autodelta.search.events import BudgetSpent, Event
from autodelta.search.executors import Executor
from autodelta.search.executors.local import InProcess
from autodelta.search.executors.processes import Processes
from autodelta.search.executors.table import Replayed, Table, VirtualClock, replayed
from autodelta.search.ledger import FLUSH_SECONDS, Ledger, Spending, read
from autodelta.search.pool import Pool, entries
from autodelta.search.pruning import pruner, rungs
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import PoolEntry, sampler
from autodelta.search.session import NOT_WORTH, Session
from autodelta.search.simulation import ranking, simulate
from autodelta.search.storage import FILE, quiet
from autodelta.search.study import Study, load_trials, trial_folder
from autodelta.search.work import Accounts
from autodelta.search.worth import Enough
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
    with pytest.raises(UserError, match=r"lacks a score at step 10, a rung of the space; it has: "):
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


def walked(folder: Path, space: Space, budget: str, *, clock: VirtualClock) -> list[TrialRecord]:
    """The trials of a grid search in simulated time, taken up again if there is one."""
    with quiet(), closing(Study(folder, space, sampler=sampler("grid"), seed=3)) as study:
        ledger = Ledger(folder / "ledger.jsonl", clock=clock)
        accounts = Accounts(parse(budget), ledger, emit=lambda event: None, confirm_share=0.0, clock=clock)
        found = [tables.a_record(space, cell) for cell in space.grid()]
        Table(replays(found), clock, workers=1).run(Session(folder, study, accounts, workers=1))
        ledger.close()
        return study.trials()


@pytest.mark.parametrize(
    ("steps", "budget"),
    [("[40, 400]", "20cpu-s"), ("[40, 100, 200, 300, 400]", "20cpu-s"), ("[400, 300, 200, 100, 40]", "28cpu-s")],
)
def test_a_grid_passes_over_what_the_budget_cannot_hold_until_a_larger_one_can(
    tmp_path: Path, steps: str, budget: str
) -> None:
    space = fakes.space(tmp_path, fakes.FINITE.replace("steps: 40", f"steps: {steps}"))
    shortest = {cell for cell in space.grid() if cell.training.steps == 40}
    clock = VirtualClock()
    first = walked(tmp_path, space, budget, clock=clock)
    assert shortest <= {trial.candidate for trial in first if trial.state == "complete"}
    assert any(trial.refused for trial in first)
    more = walked(tmp_path, space, "1cpu-h", clock=clock)
    assert {trial.candidate for trial in more if trial.state == "complete"} == set(space.grid())


@pytest.mark.parametrize("budget", ["100cpu-s", "140cpu-s"])
def test_a_slow_trial_goes_on_only_where_its_own_speed_lets_it(tmp_path: Path, budget: str) -> None:
    """Else it would be stopped at once, at the rung that it came from, and asked for again."""
    space = fakes.space(tmp_path, fakes.SPACE.replace("steps: [40, 80]", "steps: 90"))
    found = [paced(record, 1.0 if place % 10 == 9 else 0.1) for place, record in enumerate(records(space, 30))]
    simulated = simulate(
        space, pool(space, found), replays(found), parse(budget), sampler_name="random", pruner_name="none", seed=1
    )
    assert any(trial.reason == "budget" for trial in simulated.trials)
    assert all(trial.step > trial.began_at for trial in simulated.trials if trial.continues is not None)


class Killed(BaseException):
    """In the middle of anything."""


def test_a_search_killed_again_and_again_spends_no_more_than_its_budget_and_a_rung(
    tmp_path: Path, space: Space
) -> None:
    found, clock, before = records(space, 24), VirtualClock(), set[tuple[int, str, float | None]]()
    table, kills = Table(replays(found), clock), (5, 9, 14, 4, 11, 3)
    for kill in (*kills, 0):
        events = itertools.count(1)

        def emit(event: Event, events: Iterator[int] = events, kill: int = kill) -> None:
            if not isinstance(event, BudgetSpent) and next(events) == kill:
                raise Killed

        with quiet():
            tried = {trial.candidate for trial in load_trials(tmp_path)} if (tmp_path / FILE).exists() else set()
            left = Pool([one for one in pool(space, found) if one[0] not in tried], ranking("random"))
            study = Study(tmp_path, space, sampler=sampler("random"), seed=3, plan=left, pruner=pruner("asha", RUNGS))
            ledger = Ledger(tmp_path / "ledger.jsonl", clock=clock)
            accounts = Accounts(parse("10cpu-s"), ledger, emit=emit, confirm_share=0.0, clock=clock)
            session = Session(tmp_path, study, accounts, workers=1)
            with closing(study), suppress(Killed):
                table.run(session)
                session.stop_running()
                ledger.close()
        ended = {(t.number, t.state, t.score) for t in load_trials(tmp_path) if t.state != "running"}
        assert before <= ended
        before = ended
    assert len(before) == len(load_trials(tmp_path)) > len(kills)
    rung = max(b.device_seconds - a.device_seconds for one in found for a, b in itertools.pairwise(one.curve))
    booked = sum(read(tmp_path / "ledger.jsonl")[kind] for kind in Spending)
    assert 7 < booked <= 10 + rung
    assert clock.now - booked <= len(kills) * (FLUSH_SECONDS + rung)  # what nobody was there to write down


class Replay:
    """A search among records in simulated time that is taken up again, on the same table, with other budgets."""

    def __init__(self, space: Space, found: Sequence[Record]) -> None:
        self.clock = VirtualClock()
        self.ledger = Ledger(None, clock=self.clock)
        self.table = Table(replays(found), self.clock)
        plan = Pool(pool(space, found), ranking("random"))
        self.study = Study(None, space, sampler=sampler("random"), seed=1, plan=plan, can_continue=lambda number: True)

    def session(self, budget: str, enough: Enough = lambda trials: None) -> Session:
        accounts = Accounts(parse(budget), self.ledger, emit=lambda event: None, confirm_share=0.0, clock=self.clock)
        return Session(None, self.study, accounts, workers=1, enough=enough)

    def go_on(self, budget: str, enough: Enough = lambda trials: None) -> Session:
        session = self.session(budget, enough)
        self.table.run(session)
        session.stop_running()
        return session


def test_what_was_cut_short_goes_on_where_no_whole_trial_would_fit(tmp_path: Path) -> None:
    space = fakes.space(tmp_path, fakes.SPACE.replace("steps: [40, 80]", "steps: 90"))
    with quiet():
        search = Replay(space, [paced(record, 0.1) for record in records(space, 4)])
        search.go_on("5cpu-s")
        assert [(trial.state, trial.step, trial.reason) for trial in search.study.trials()] == [
            ("pruned", 30, "budget")
        ]
        session = search.go_on("10cpu-s")  # of which the rest takes six, and a whole trial nine
    assert [(trial.state, trial.continues) for trial in search.study.trials()[1:]] == [("complete", 0)]
    assert session.end_reason == "budget"


@pytest.mark.parametrize(("lost", "goes_on"), [(1.5, True), (3.5, False)])
def test_a_trial_whose_worker_died_goes_on_only_where_the_rest_of_its_rung_fits(
    tmp_path: Path, lost: float, goes_on: bool
) -> None:
    space = fakes.space(tmp_path, fakes.SPACE.replace("steps: [40, 80]", "steps: 90"))
    with quiet():
        search = Replay(space, [paced(record, 0.1) for record in records(space, 4)])
        session = search.session("5cpu-s")
        order = session.next()
        assert order is not None
        session.holds(0, Spending.TRAINING, trials=(order.number,))
        search.clock.now += 1
        assert session.report(order.number, Report(step=10, score=0.5, train_loss=1.0, device_seconds=1.0, done=False))
        search.clock.now += lost
        session.lost(order.number, "its worker died")
        again = session.next()  # the next rung takes two seconds
    (trial,) = search.study.trials()
    assert (again is not None) == goes_on
    assert (trial.state, trial.reason) == (("running", "") if goes_on else ("pruned", "budget"))


def test_a_search_goes_on_until_its_last_trial_has_ended(tmp_path: Path) -> None:
    space = fakes.space(tmp_path, fakes.SPACE.replace("steps: [40, 80]", "steps: 90"))
    with quiet():
        search = Replay(space, [paced(record, 0.1) for record in records(space, 4)])
        session = search.go_on("1trials")
        assert session.outlook.standing()[1] == 0
        session = search.session("2trials")
        assert session.outlook.standing()[1] == pytest.approx(9)
        assert session.next() is not None
        assert session.outlook.standing()[1] == pytest.approx(9)  # of the one under way


def test_what_goes_on_is_not_asked_again_about_rungs_before_its_checkpoint(tmp_path: Path) -> None:
    space = fakes.space(tmp_path, fakes.SPACE.replace("steps: [40, 80]", "steps: [100, 250]"))  # rungs at 28 and 84
    short = [record for record in records(space, 8) if record.candidate.training.steps == 100]
    with quiet():
        search = Replay(space, [paced(short[0], 0.1)])
        search.go_on("9cpu-s")
        search.go_on("10.5cpu-s")  # the rest takes 1.6 of the 2.1 left; from the first rung to the second it took 5.6
    assert [(trial.state, trial.step) for trial in search.study.trials()] == [("pruned", 84), ("complete", 100)]


def test_whether_a_trial_is_worth_it_is_not_asked_where_none_may_start(space: Space) -> None:
    def enough(trials: Sequence[TrialRecord]) -> str | None:
        return "nothing is to be gained" if len(trials) >= 4 else None

    with quiet():
        search = Replay(space, records(space, 6))
        session = search.go_on("4trials", enough)
        assert (session.end_reason, session.ended_early) == ("budget", "")
        session = search.go_on("5trials", enough)
    assert (session.end_reason, session.ended_early) == (NOT_WORTH, "nothing is to be gained")
    assert len(search.study.trials()) == 4


def paced(record: Record, seconds: float) -> Record:
    """The same trial with so many seconds a step."""
    curve = [point.model_copy(update={"device_seconds": seconds * point.step}) for point in record.curve]
    return record.model_copy(update={"curve": tuple(curve), "device_seconds": curve[-1].device_seconds})


@pytest.mark.parametrize("name", ["nsga2", "grid"])
def test_a_sampler_that_cannot_rank_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}' cannot rank recorded candidates; choose from: gp, random, tpe"):
        ranking(name)
