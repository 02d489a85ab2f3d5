"""Budgets, kills and searches that go on, in simulated time."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from autodelta.engine.report import Report
from autodelta.meta.records import Record
from autodelta.search.budget import parse
from autodelta.search.events import BudgetSpent, Event
from autodelta.search.executors.table import Table, VirtualClock
from autodelta.search.ledger import FLUSH_SECONDS, Ledger, Spending, read
from autodelta.search.pool import Pool
from autodelta.search.pruning import pruner
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import sampler
from autodelta.search.session import NOT_WORTH, Session
from autodelta.search.simulation import ranking, simulate
from autodelta.search.storage import FILE, quiet
from autodelta.search.study import Study, load_trials
from autodelta.search.work import Accounts
from autodelta.search.worth import Enough
from autodelta.space import Space
from tests.search import fakes, tables
from tests.search.test_table import RUNGS, WIDE, pool, records, replays


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return fakes.space(tmp_path, WIDE)


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
