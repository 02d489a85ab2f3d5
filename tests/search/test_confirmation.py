"""What confirmation and the look at test ask for, by what the budget has left."""

from pathlib import Path

from autodelta.engine.report import Report
from autodelta.search.answer.entrants import Entrant
from autodelta.search.answer.results import Confirmed
from autodelta.search.attempt import Order
from autodelta.search.budget import parse
from autodelta.search.confirmation import Confirmation, Field, Results
from autodelta.search.confirmation import Testing as Scoring
from autodelta.search.ledger import Ledger, Spending
from autodelta.search.records import TrialRecord
from autodelta.search.work import LEAST_SILENCE, SILENCE, Accounts
from tests.search import fakes

CANDIDATE = fakes.a_candidate()
ENTRANT = Entrant(name="bitfit (trial 0)", kind="finalist", candidate=CANDIDATE, parameters=10, trial=0)


def a_trial(seconds: float, *, evaluating: float) -> TrialRecord:
    """A trial that took so long, a part of which it was evaluated once."""
    report = Report(
        step=40, score=0.5, train_loss=1.0, device_seconds=seconds, evaluation_seconds=evaluating, done=True
    )
    return TrialRecord(
        number=0, state="complete", candidate=CANDIDATE, methods=("bitfit",), parameters=10, cap=None, score=0.5,
        step=40, device_seconds=seconds, seed=1, reason="", curve=(report,),
    )  # fmt: skip


class Books:
    """Accounts on a clock of their own, and the works that stand on them."""

    def __init__(self, folder: Path, budget: str, trial: TrialRecord, **changes: object) -> None:
        self.clock, self.folder, self.trial = fakes.Clock(), folder, trial
        self.settings = fakes.settings(budget=budget, **changes)
        self.ledger = Ledger(None, clock=self.clock)
        share = self.settings.confirm_share
        self.accounts = Accounts(
            parse(budget), self.ledger, emit=lambda event: None, confirm_share=share, clock=self.clock
        )
        self.results = Results(folder)

    def spend(self, seconds: float) -> None:
        self.ledger.enter(0, Spending.TRAINING)
        self.clock.now += seconds
        self.ledger.tick()
        self.ledger.leave(0)

    def confirmation(self) -> Confirmation:
        return Confirmation(self.field(), self.accounts)

    def testing(self) -> Scoring:
        for number in range(3):
            self.results.add(
                Confirmed(entrant=ENTRANT.name, candidate=CANDIDATE, seed_index=number, seed=number, validation=0.5)
            )
        return Scoring(self.field(), self.accounts, runs=[(ENTRANT.name, number) for number in range(3)])

    def field(self) -> Field:
        return Field(self.folder, self.settings, (ENTRANT,), [self.trial], self.results)


def test_the_time_kept_for_the_end_is_there_for_test(tmp_path: Path) -> None:
    books = Books(tmp_path, "100s", a_trial(10, evaluating=2))
    testing = books.testing()
    books.spend(97)  # of which 5 are kept for the end
    assert testing.next() is not None
    books.spend(2)
    assert testing.next() is None  # it would take two seconds


def test_a_large_test_split_is_not_taken_for_a_worker_that_hangs(tmp_path: Path) -> None:
    rows = {"train": 40, "validation": 40, "test": 40_000}
    order = Books(tmp_path, "9h", a_trial(10, evaluating=2), rows=rows).testing().next()
    assert order is not None
    assert order.silence == SILENCE * 2000 > LEAST_SILENCE


def test_device_seconds_are_confirmed_with_by_many_workers_as_by_one(tmp_path: Path) -> None:
    given = {}
    for workers in (1, 8):
        books = Books(tmp_path, "100cpu-s", a_trial(10, evaluating=0), workers=workers)
        books.spend(70)
        given[workers] = orders(books.confirmation())
    assert len(given[8]) == len(given[1]) == 3


def test_what_a_run_under_way_has_spent_is_counted_once(tmp_path: Path) -> None:
    books = Books(tmp_path, "100cpu-s", a_trial(10, evaluating=0), workers=2)
    books.spend(79)
    confirmation = books.confirmation()
    assert confirmation.next() is not None
    books.ledger.enter(0, Spending.CONFIRMATION)
    books.clock.now += 9
    assert confirmation.next() is not None  # twelve seconds are left: one for the first run, ten for another


def test_a_run_gives_up_before_it_takes_the_time_for_test(tmp_path: Path) -> None:
    books = Books(tmp_path, "100s", a_trial(10, evaluating=2))
    books.testing()  # three runs wait to be scored
    books.spend(70)
    order = books.confirmation().next()
    assert order is not None
    assert order.assignment.seconds == 95 - 70 - 3 * 2


def orders(work: Confirmation) -> list[Order]:
    """All that it gives out at once."""
    found = []
    while (order := work.next()) is not None:
        found.append(order)
    return found
