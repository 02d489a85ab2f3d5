"""The winners of all train sizes at every size: trained at the same fresh seeds, scored once on test.

What a size's own search confirmed of a winner counts; only what is missing is trained. These runs are kept beside the
searches, in ``matrix/<size>``, with a ledger of their own, so that each search stays what its budget made it.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from autodelta.search.answer import Confirmed, Entrant
from autodelta.search.answer.race import UNLIMITED, Left
from autodelta.search.answer.results import failure, of
from autodelta.search.budget import Budget
from autodelta.search.confirmation import FOLDER, Confirmation, Field, Results, Testing
from autodelta.search.events import Listener
from autodelta.search.executors import executor
from autodelta.search.ledger import Ledger
from autodelta.search.records import TrialRecord
from autodelta.search.run import LEDGER_FILE
from autodelta.search.settings import Settings
from autodelta.search.work import Accounts
from autodelta.studies.sizes.answer import Winner

MATRIX = "matrix"
SEEDS, MOST_SEEDS = 3, 5  # for each winner at each size: with a budget in trials alone, and where there is time


class Rounds:
    """Chooses confirmation runs seed by seed, for each entrant in turn; ``known``: runs that were made elsewhere."""

    def __init__(self, known: Iterable[Confirmed], *, seeds: int) -> None:
        self._known = list(known)
        self._seeds = seeds

    def __call__(
        self,
        entrants: Sequence[Entrant],
        results: Sequence[Confirmed],
        left: Left = UNLIMITED,
    ) -> tuple[Entrant, int] | None:
        """The next run: an entrant and the number of a seed; None where all are done or none is foreseen to fit."""
        done = [*self._known, *results]
        taken = {(run.entrant, run.seed_index) for run in done} | set(left.running)
        for seed in range(self._seeds):
            for entrant in entrants:
                if (entrant.name, seed) in taken or failure(done, entrant.name) is not None:
                    continue
                measured = max((run.device_seconds for run in of(done, entrant.name)), default=0.0)
                if (measured or left.seconds_of(entrant.candidate) or 0.0) <= min(left.seconds, left.device_seconds):
                    return entrant, seed
        return None


def trained(folder: Path) -> list[Confirmed]:
    """The runs of winners that a size's folder in the matrix holds."""
    return Results(folder).all() if folder.is_dir() else []


def train(
    folder: Path,
    winners: Sequence[Winner],
    known: Iterable[Confirmed],
    trials: Sequence[TrialRecord],
    *,
    settings: Settings,
    budget: Budget,
    emit: Listener,
) -> None:
    """Trains the winners at one size at the seeds that they lack there, and scores them on test.

    Args:
        folder: for this size, in the matrix; what it holds is not done again.
        known: the confirmation runs of the size's own search.
        trials: of that search, which say what a run takes.
        settings: of that search.
        budget: of this size's part of the matrix; what was spent in its folder before counts.
    """
    started = time.monotonic()
    entrants = tuple(_entrant(winner) for winner in winners)
    names = {entrant.candidate: entrant.name for entrant in entrants}
    elsewhere = [
        run.model_copy(update={"entrant": names[run.candidate]})
        for run in known
        if run.candidate in names and (run.failed or run.test is not None)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder)
    choose = Rounds(elsewhere, seeds=MOST_SEEDS if budget.timed else SEEDS)
    waiting = _untested(results, entrants)
    if not waiting and choose(entrants, results.of(entrants)) is None:
        return
    field = Field(folder, settings, entrants, trials, results)
    ledger = Ledger(folder / LEDGER_FILE, since=started)
    accounts = Accounts(budget, ledger, emit=emit, confirm_share=settings.confirm_share)
    try:
        with executor(settings) as workers:
            workers.run(Confirmation(field, accounts, choose=choose))
            testing = Testing(field, accounts, runs=_untested(results, entrants))
            if testing.owed:
                workers.run(testing)
    finally:
        ledger.close()
    if not _untested(results, entrants):  # else there was no time to score some, which their weights are kept for
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _untested(results: Results, entrants: Sequence[Entrant]) -> list[tuple[str, int]]:
    return [
        (run.entrant, run.seed_index) for run in results.of(entrants) if run.validation is not None and run.test is None
    ]


def _entrant(winner: Winner) -> Entrant:
    """By a name that stays the candidate's own, whichever sizes it comes to win at."""
    return Entrant(
        name=f"{' + '.join(winner.methods)} {winner.candidate.key}",
        kind="finalist",
        candidate=winner.candidate,
        parameters=winner.parameters,
    )
