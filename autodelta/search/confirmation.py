"""The confirmation of a search: the best of its trials, and plain baselines, trained again at fresh seeds.

These runs are no trials of the study. Each is one line of ``confirmation.jsonl`` when it has ended, and one more when
its test score was taken; its weights lie in ``confirmation/<candidate>-<seed>``. What comes next is decided anew from
those lines each time, so that a search killed in its confirmation goes on with the run that was under way.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.files import Lines
from autodelta.search.answer.answer import to_test
from autodelta.search.answer.entrants import Entrant
from autodelta.search.answer.race import Chooser, Left, next_run, runs_allowed
from autodelta.search.answer.results import Confirmed
from autodelta.search.attempt import Order
from autodelta.search.budget import Spent
from autodelta.search.cost import Costs
from autodelta.search.events import EntrantConfirmed
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome, TrialRecord
from autodelta.search.seeds import Purpose, derived
from autodelta.search.settings import Settings
from autodelta.search.work import LOSSES, Accounts, Work, patience

FILE, FOLDER = "confirmation.jsonl", "confirmation"
Run = tuple[str, int]  # an entrant's name, and the number of its seed


class Results:
    """The confirmation runs of a search that have ended, in a file that is only appended to."""

    def __init__(self, folder: Path) -> None:
        self._lines = Lines(folder / FILE)
        self._runs: dict[Run, Confirmed] = {}
        for row in self._lines.read():
            run = Confirmed.model_validate(row)
            self._runs[run.entrant, run.seed_index] = run

    def all(self) -> list[Confirmed]:
        """Every run, in the order in which they ended, those of former entrants too."""
        return list(self._runs.values())

    def of(self, entrants: Iterable[Entrant]) -> list[Confirmed]:
        """The runs of these entrants, in the order in which they ended."""
        candidates = {entrant.name: entrant.candidate for entrant in entrants}
        return [run for run in self._runs.values() if candidates.get(run.entrant) == run.candidate]

    def add(self, run: Confirmed) -> None:
        """Writes a run down, or what is known of it now."""
        self._lines.append(run.model_dump(mode="json"))
        self._runs[run.entrant, run.seed_index] = run


class Field(NamedTuple):
    """Who is confirmed, and in which search."""

    folder: Path
    settings: Settings
    entrants: tuple[Entrant, ...]
    trials: Sequence[TrialRecord]
    results: Results


class _Orders(Work):
    """Orders that are no trials: each stands for one run of an entrant."""

    def __init__(self, field: Field, accounts: Accounts) -> None:
        super().__init__(field.folder, accounts)
        settings, trials = field.settings, field.trials
        self.results = field.results
        self.entrants = field.entrants
        self.costs = Costs(trials)
        self._seed = settings.seed
        self._workers = settings.workers
        self.scoring_seconds = _evaluation_seconds(trials) * settings.rows["test"] / settings.rows["validation"]
        self._spent = sum(trial.counts for trial in trials)
        self._under_way: dict[int, tuple[Entrant, int]] = {}
        self._since: dict[int, float] = {}  # when each of them was given out
        self._owed: list[tuple[Entrant, int]] = []
        self._losses: dict[Run, int] = {}
        self._given = 0

    def lost(self, number: int, words: str) -> None:
        """Goes on once elsewhere."""
        entrant, seed = self._under_way.pop(number)
        self._losses[entrant.name, seed] = self._losses.get((entrant.name, seed), 0) + 1
        if self._losses[entrant.name, seed] > LOSSES:
            self._under_way[number] = (entrant, seed)
            self.ended(number, Outcome(state="failed", reason=words))
        else:
            self._owed.append((entrant, seed))
            self.notice(f"{entrant.name}: {words}; its run starts again")

    def tick(self) -> None:
        """Books time; says about once a second how the budget stands."""
        self.accounts.tick(self._standing)

    def _standing(self) -> tuple[Spent, float | None]:
        spent = self.accounts.spent(self._spent)
        left = self.accounts.budget.seconds_left(spent)
        return spent, None if left == math.inf else max(0.0, left)

    def _kind(self, kind: Spending) -> Spending:
        return Spending.CONFIRMATION

    def _order(
        self, entrant: Entrant, seed_index: int, *, seconds: float = math.inf, split: str | None = None
    ) -> Order:
        self._given += 1
        number = -self._given  # numbers from 0 on are trials
        self._under_way[number] = (entrant, seed_index)
        self._since[number] = self.accounts.clock()
        assert self.folder is not None
        folder = run_folder(self.folder, entrant, seed_index)
        assignment = Assignment(
            number=number,
            candidate=entrant.candidate,
            seed=derived(self._seed, Purpose.CONFIRMATION, seed_index),
            report_at=(entrant.candidate.training.steps,),
            seconds=None if seconds == math.inf else max(0.0, seconds),
        )
        return Order(assignment=assignment, folder=folder, split=split, silence=self.silence(number))


class Confirmation(_Orders):
    """Entrants over fresh seeds, on validation: the race of finalists and baselines, unless something else chooses."""

    def __init__(self, field: Field, accounts: Accounts, *, choose: Chooser = next_run) -> None:
        super().__init__(field, accounts)
        self._choose = choose
        self._last: dict[int, Report] = {}
        self._runs = math.inf if accounts.budget.timed else runs_allowed(self._spent, accounts.confirm_share)
        if not accounts.confirm_share:
            self._runs = 0

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        """The run that is needed most; one at a time, as each decides about the next."""
        self.tick()
        if beside:
            return None
        if self._owed:
            return self._trained(*self._owed.pop(0))
        done = self.results.of(self.entrants)
        under_way = [(entrant.name, seed) for entrant, seed in self._under_way.values()]
        spent, budget, scoring = self.accounts.spent(), self.accounts.budget, self._scoring(len(under_way) + 1)
        left = Left(
            seconds=budget.wall_left(spent) - scoring / self._workers,
            device_seconds=budget.device_left(spent) - sum(map(self._to_come, self._under_way)) - scoring,
            runs=self._runs - len(done) - len(under_way),
            running=under_way,
            seconds_of=lambda candidate: self.costs.seconds(candidate.training),
        )
        chosen = self._choose(self.entrants, done, left)
        return None if chosen is None else self._trained(*chosen)

    def silence(self, number: int) -> float:
        """As for trials; a run reports at its end alone."""
        return patience(self.costs.seconds(self._under_way[number][0].candidate.training))

    def report(self, number: int, report: Report) -> bool:
        """Remembers the score; the run goes on."""
        self._last[number] = report
        self.tick()
        return True

    def ended(self, number: int, outcome: Outcome) -> None:
        """Writes a run down that came to its end, or failed; one that was stopped is none."""
        self.check_room(outcome)
        entrant, seed_index = self._under_way.pop(number)
        last = self._last.pop(number, None)
        if outcome.state != "pruned":
            run = Confirmed(
                entrant=entrant.name,
                candidate=entrant.candidate,
                seed_index=seed_index,
                seed=derived(self._seed, Purpose.CONFIRMATION, seed_index),
                validation=last.score if last and outcome.state == "complete" else None,
                device_seconds=last.device_seconds if last else 0.0,
                reason=outcome.reason,
            )
            self.results.add(run)
            self.accounts.emit(EntrantConfirmed(entrant=entrant.name, seeds=seed_index + 1, score=run.validation))
        self.tick()

    def _trained(self, entrant: Entrant, seed_index: int) -> Order:
        """A run that gives up before it takes the time that scoring the others on test needs."""
        spent, budget, scoring = self.accounts.spent(), self.accounts.budget, self._scoring(0)
        left = min(budget.wall_left(spent) - scoring / self._workers, budget.device_left(spent) - scoring)
        return self._order(entrant, seed_index, seconds=left)

    def _to_come(self, number: int) -> float:
        """Device-seconds that a run under way has yet to spend, as far as is foreseen."""
        seconds = self.costs.seconds(self._under_way[number][0].candidate.training) or 0.0
        return max(0.0, seconds - (self.accounts.clock() - self._since[number]))

    def _scoring(self, more: int) -> float:
        """Device-seconds for scoring on test all runs that wait for it, and so many more."""
        done = self.results.of(self.entrants)
        tested = {(run.entrant, run.seed_index) for run in done if run.test is not None}
        return (len({*to_test(self.entrants, done)} - tested) + more) * self.scoring_seconds


class Testing(_Orders):
    """The one look at the test split: every run that the answer speaks of, scored once."""

    def __init__(self, field: Field, accounts: Accounts, *, runs: Sequence[Run]) -> None:
        super().__init__(field, accounts)
        by_name = {entrant.name: entrant for entrant in self.entrants}
        done = self.results.of(self.entrants)
        tested = {(run.entrant, run.seed_index) for run in done if run.test is not None}
        self._owed = [(by_name[name], seed) for name, seed in runs if (name, seed) not in tested]

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        """The next run to score, as long as there is time: also that which was kept for the end of the search."""
        self.tick()
        spent, budget = self.accounts.spent(), self.accounts.budget
        on_devices = budget.device_left(spent) - len(self._under_way) * self.scoring_seconds
        if not self._owed or min(budget.whole_wall_left(spent), on_devices) < self.scoring_seconds:
            return None
        return self._order(*self._owed.pop(0), split="test")

    @property
    def owed(self) -> int:
        """Runs that wait to be scored."""
        return len(self._owed)

    def report(self, number: int, report: Report) -> bool:
        """Scoring has no reports."""
        return True

    def silence(self, number: int) -> float:
        """By what scoring takes, which on a large test split is more than training."""
        return patience(self.scoring_seconds or None)

    def ended(self, number: int, outcome: Outcome) -> None:
        """Writes the score and the predictions down beside the run."""
        self.check_room(outcome)
        entrant, seed_index = self._under_way.pop(number)
        if outcome.state == "complete":
            run = next(r for r in self.results.of([entrant]) if (r.entrant, r.seed_index) == (entrant.name, seed_index))
            self.results.add(run.model_copy(update={"test": outcome.score, "predictions": outcome.predictions}))
        else:
            self.notice(f"{entrant.name} could not be scored on test: {outcome.reason or outcome.state}")
        self.tick()


def _evaluation_seconds(trials: Sequence[TrialRecord]) -> float:
    """What one evaluation on validation takes, as a rule."""
    found = [trial.curve[-1].evaluation_seconds / len(trial.curve) for trial in trials if trial.curve]
    return float(np.median(found)) if found else 0.0


def run_folder(folder: Path, entrant: Entrant, seed_index: int) -> Path:
    """Where a confirmation run keeps its weights; a full path, as a worker may stand in another folder."""
    return (folder / FOLDER / f"{entrant.candidate.key}-{seed_index}").absolute()
