"""A whole search: trials until only the confirmation share of the budget is left, then the answer."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shlex import quote

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from autodelta.errors import UserError, one_line
from autodelta.files import NO_ROOM, write_json
from autodelta.search import answer
from autodelta.search.answer.entrants import Entrant, baselines, finalists
from autodelta.search.answer.results import Confirmed
from autodelta.search.answer.select import contenders
from autodelta.search.attempt import CHECKPOINT, WEIGHTS
from autodelta.search.believed import of_search
from autodelta.search.confirmation import FOLDER, Confirmation, Field, Results, Testing, run_folder
from autodelta.search.events import (
    Answered,
    BestChanged,
    BudgetSpent,
    Event,
    Listener,
    Notice,
    SearchEnded,
    SearchStarted,
)
from autodelta.search.executors import Executor, driven_elsewhere, executor
from autodelta.search.kept import scene
from autodelta.search.ledger import Ledger
from autodelta.search.lock import driving
from autodelta.search.pruning import pruner, rungs
from autodelta.search.records import BUDGET
from autodelta.search.run import LEDGER_FILE, LOG_FILE, RESULT_FILE, Exported, Result, Run, create, discard
from autodelta.search.samplers import sampler
from autodelta.search.session import Session
from autodelta.search.settings import Settings
from autodelta.search.storage import quiet
from autodelta.search.study import Study, trial_folder
from autodelta.search.work import Accounts
from autodelta.search.worth import rule
from autodelta.space import Space
from autodelta.tasks.floor import floors


class TooSmall(UserError):
    """A budget that is spent before the first trial ends."""


class AllFail(UserError):
    """Trials that fail one like the other, from the first on. The search can be taken up again once that is mended."""


class CannotWrite(UserError):
    """The run's folder takes no more. The search can be taken up again, also one that has no trial yet."""


def search(
    settings: Settings,
    space: Space,
    *,
    folder: Path,
    events: Listener = lambda event: None,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Searches in a new folder (``run.new_folder`` finds a place), and answers.

    Ctrl-C ends the search in good order: workers are ended, and the run can be read and taken up again, which goes on
    with the trials that ran; there is no answer from a part of its confirmation.

    Raises:
        UserError: wrong settings, a name that is taken, or a budget too small for one trial; the folder is gone again.
            Or the disk is full, or every trial fails: what is there stays, and the search can be taken up again.
    """
    sampler(settings.sampler)
    run = create(folder, settings)
    try:
        take_up(run, space, events=events, clock=clock)
    except TooSmall:
        discard(run)
        raise
    except (CannotWrite, AllFail):
        raise
    except UserError:
        if _without_trials(run):
            discard(run)
        raise
    return run


def _without_trials(run: Run) -> bool:
    """Whether nothing would be lost with the run; what cannot be read may yet be mended."""
    try:
        return not run.trials
    except UserError:
        return False


def take_up(
    run: Run,
    space: Space,
    *,
    events: Listener = lambda event: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Goes on with a run where it stands, whatever ended it before.

    Raises:
        UserError: as ``search``; another search works on it.
    """
    settings, folder = run.settings, run.path
    elsewhere = driven_elsewhere(settings)
    if elsewhere is not None:
        from autodelta.search.executors.ray.client import take_up_there

        return take_up_there(run, elsewhere, events=events)
    started = clock()
    emit = logged(folder / LOG_FILE, events)
    with (
        driving(folder),
        told(folder),
        quiet(),
        closing(_study(settings, space, folder)) as study,
        executor(settings) as workers,
    ):
        budget = settings.limits
        ledger = Ledger(folder / LEDGER_FILE, clock=clock, since=started)
        accounts = Accounts(budget, ledger, emit=emit, confirm_share=settings.confirm_share, clock=clock)
        enough = rule(settings, space, folder)
        session = Session(folder, study, accounts, workers=settings.workers, enough=enough)
        emit(SearchStarted(path=folder, budget=settings.budget, workers=settings.workers, ended=session.ended_before()))
        session.tick()
        best = session.best()
        if best is not None:
            emit(BestChanged(trial=best))
        _run(session, workers, settings, space)
        emit(SearchEnded(reason=session.end_reason, trials=session.outlook.spent().trials))


def _study(settings: Settings, space: Space, folder: Path) -> Study:
    return Study(
        folder,
        space,
        sampler=sampler(settings.sampler),
        seed=settings.seed,
        repeats=settings.repeats,
        first=settings.first,
        scene=scene(settings, space, folder),
        pruner=pruner(settings.pruner, rungs(space.settings.most_steps)),
        can_continue=lambda number: (trial_folder(folder, number) / CHECKPOINT).exists(),
    )


def _run(session: Session, workers: Executor, settings: Settings, space: Space) -> None:
    """Trials, then the answer; whatever happens, all spending is written down. What ends a search from outside leaves
    the trials under way to whoever takes it up again."""
    try:
        workers.run(session)
        session.stop_running()
        _refuse_if_too_small(session, settings.budget)
        _refuse_if_all_fail(session)
        _answer(session, workers, settings, space)
    except KeyboardInterrupt:
        session.interrupt()
    finally:
        session.accounts.ledger.close()


def _answer(session: Session, workers: Executor, settings: Settings, space: Space) -> None:
    """Confirms the best trials at fresh seeds, scores them once on test, and writes the answer down."""
    assert session.folder is not None
    trials, folder, accounts = session.study.trials(), session.folder, session.accounts
    before = Run(folder, settings).result
    if before is not None and (before.trials, before.budget) == (len(trials), settings.budget):
        way = "lower --stop-when-worth-less" if session.ended_early else "give it a larger budget"
        accounts.emit(Notice(text=f"the search has ended before; {way} to go on"))
        return
    rows, metric = settings.rows["validation"], settings.metric
    believed = of_search(settings, space, folder, trials)
    entrants = finalists(trials, rows=rows, metric=metric, believed=believed)
    entrants += baselines(space) if entrants else ()
    results = Results(folder)
    field = Field(folder, settings, entrants, trials, results)
    if entrants and settings.confirm_share:
        workers.run(Confirmation(field, accounts))
    testing = Testing(field, accounts, runs=answer.to_test(entrants, results.of(entrants)))
    if testing.owed:
        workers.run(testing)
    task = settings.worker.load_task()
    done = results.of(entrants)
    if not contenders(entrants, done):
        # What the search itself left is handed over, so the answer speaks of trials it kept the weights of.
        kept = [trial for trial in trials if _weights(folder, trial.number).exists()]
        plain = [entrant for entrant in entrants if entrant.kind == "baseline"]
        entrants = (*finalists(kept, rows=rows, metric=metric, believed=believed), *plain)
    found = answer.conclude(
        entrants,
        done,
        task=settings.task,
        metric=settings.metric,
        rows=settings.rows,
        score=task.score,
        gold=[example.label for example in task.examples("test")],
        floors=floors(task) if any(run.test is not None for run in done) else {},
    )
    exported = _exported(found, entrants, done, session)
    result = Result(
        trials=len(trials),
        budget=settings.budget,
        ended_early=session.ended_early,
        stop_when_worth_less=settings.stop_when_worth_less,
        answer=found,
        exported=exported,
    )
    write_json(folder / RESULT_FILE, result.model_dump(mode="json"))
    _clear(folder, entrants, done)
    accounts.emit(Answered(lines=tuple(answer.lines(found))))


def _weights(folder: Path, trial: int) -> Path:
    return trial_folder(folder, trial) / WEIGHTS


def _exported(
    found: answer.Answer, entrants: Sequence[Entrant], done: Sequence[Confirmed], session: Session
) -> Exported | None:
    """Of the candidate to be exported, the run that validation prefers; the search's own if none was confirmed."""
    entrant = next((one for one in entrants if one.name == found.export), None)
    if entrant is None:
        return None
    assert session.folder is not None
    best = _preferred(session.folder, entrant, done)
    if best is not None:
        folder = run_folder(session.folder, entrant, best.seed_index)
        seed: int | None = best.seed
        validation, test = best.validation, best.test
    else:
        assert entrant.trial is not None
        trial = session.study.trial(entrant.trial)
        folder = trial_folder(session.folder, trial.number).absolute()
        seed, validation, test = trial.seed, trial.score, None
    if seed is None or validation is None or not (folder / WEIGHTS).exists():
        return None
    return Exported(
        name=entrant.name,
        candidate=entrant.candidate,
        parameters=entrant.parameters,
        trial=entrant.trial,
        seed=seed,
        weights=str((folder / WEIGHTS).relative_to(session.folder.absolute())),
        validation=validation,
        test=test,
    )


def _preferred(folder: Path, entrant: Entrant, done: Sequence[Confirmed]) -> Confirmed | None:
    """Of an entrant's runs whose weights are there, the one of the highest score on validation."""
    runs = [run for run in done if run.entrant == entrant.name and run.validation is not None]
    there = [run for run in runs if (run_folder(folder, entrant, run.seed_index) / WEIGHTS).exists()]
    return max(there, key=lambda run: (run.validation or 0.0, -run.seed_index), default=None)


def _clear(folder: Path, entrants: Sequence[Entrant], done: Sequence[Confirmed]) -> None:
    """Removes the weights of confirmation runs that nobody will ask for: not those of a finalist's preferred run, which
    a larger budget may come to export, nor of runs that there was no time to score on test.
    """
    waiting = {(run.entrant, run.seed_index) for run in done if run.test is None} & {*answer.to_test(entrants, done)}
    kept = {run_folder(folder, entrant, seed) for entrant in entrants for name, seed in waiting if name == entrant.name}
    for entrant in entrants:
        best = _preferred(folder, entrant, done) if entrant.kind == "finalist" else None
        if best is not None:
            kept.add(run_folder(folder, entrant, best.seed_index))
    for file in (folder / FOLDER).absolute().glob(f"*/{WEIGHTS}"):
        if file.parent not in kept:
            file.unlink()
            with suppress(OSError):
                file.parent.rmdir()


def _refuse_if_too_small(session: Session, budget: str) -> None:
    """A budget that ended before the first trial did is a mistake to mend, not a result."""
    trials = [trial for trial in session.study.trials() if trial.seed is not None]  # of the others nothing was trained
    if session.end_reason == BUDGET and all(t.state == "pruned" and t.reason.startswith(BUDGET) for t in trials):
        needed = session.outlook.costs().cheapest(session.study.fewest_steps)
        hint = f"; a trial takes about {needed:.0f} s" if needed else ""
        raise TooSmall(f"the budget {budget!r} is too small for one trial{hint}; give it more")


def _refuse_if_all_fail(session: Session) -> None:
    """What fails each trial in the same way is to be mended; to spend the budget on it would tell nothing more, and to
    confirm earlier trials would only have them break down, too, for good."""
    if not session.all_fail:
        return
    number = len(session.failures) + len(session.infeasible)
    which = f"{'first' if len(session.study.trials()) == number else 'last'} {number}"
    if not session.infeasible:
        raise AllFail(f"the {which} trials all failed: {session.failures[0]}; once that is mended, go on with --resume")
    raise AllFail(
        f"none of the {which} candidates could be trained, the last for {session.infeasible[-1]!r}: search again in a "
        "space of looser constraints; or, where the machine has more room by now, go on with --resume"
    )


def logged(path: Path, events: Listener) -> Listener:
    """Writes events into the run's log before handing them on; not how the budget stands, which the ledger knows."""

    def emit(event: Event) -> None:
        if not isinstance(event, BudgetSpent):
            with path.open("a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {event}\n")
        events(event)

    return emit


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Trouble with the disk is one line, and the run stays as it is."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise _cannot_write(folder, one_line(error.__cause__ or error)) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise _cannot_write(folder, ": ".join(map(str, filter(None, (error.strerror, error.filename))))) from error


def _cannot_write(folder: Path, cause: str) -> CannotWrite:
    return CannotWrite(
        f"the search in {folder} cannot go on: {cause}; nothing that was finished is lost: mend it, then "
        f"autodelta search --resume {quote(str(folder))}"
    )
