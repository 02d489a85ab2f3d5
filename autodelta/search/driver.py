"""A whole search: from settings and a space to a run with its best trial scored on test."""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from autodelta.errors import UserError
from autodelta.files import write_json
from autodelta.search.budget import parse
from autodelta.search.events import Event, Listener, SearchEnded, SearchStarted, Tested
from autodelta.search.executors import Executor, executor
from autodelta.search.ledger import Ledger
from autodelta.search.run import LEDGER_FILE, LOG_FILE, TEST_FILE, Run, TestScore, create, discard
from autodelta.search.samplers import sampler
from autodelta.search.session import BUDGET, INTERRUPTED, Session
from autodelta.search.settings import Settings
from autodelta.search.storage import quiet
from autodelta.search.study import Study
from autodelta.space import Space


def search(
    settings: Settings,
    space: Space,
    *,
    folder: Path,
    events: Listener = lambda event: None,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Searches until the budget is spent, then scores the best trial once on test.

    The run lies in ``folder``, which must not be there yet (``run.new_folder`` finds a place). Ctrl-C ends the search
    in good order: running trials are pruned, workers ended, and the run can be read; test stays untouched.

    Raises:
        UserError: wrong settings, a name that is taken, or a budget too small for one trial; the folder is gone again.
    """
    budget = parse(settings.budget, has_gpu=settings.has_gpu)
    chosen = partial(Study, sampler=sampler(settings.sampler), seed=settings.seed, repeats=settings.repeats)
    started = clock()
    run = create(folder, settings)
    emit = _logged(run.path / LOG_FILE, events)
    try:
        with quiet(), closing(chosen(folder, space)) as study:
            ledger = Ledger(folder / LEDGER_FILE, clock=clock, since=started)
            session = Session(folder, study, budget, ledger, workers=settings.workers, emit=emit, clock=clock)
            emit(SearchStarted(path=folder, budget=settings.budget, workers=settings.workers))
            with executor(settings) as workers:
                _run(session, workers, settings.metric)
            _refuse_if_too_small(session, settings.budget)
            emit(SearchEnded(reason=session.end_reason, trials=session.spent().trials))
    except UserError:
        discard(run)
        raise
    return run


def _run(session: Session, workers: Executor, metric: str) -> None:
    """Trials, then the test; whatever happens, no trial is left running and all spending is written down."""
    try:
        workers.run(session)
        session.stop_running()
        _score_on_test(session, workers, metric)
    except KeyboardInterrupt:
        session.interrupt()
    finally:
        session.stop_running()
        session.study.reconcile(INTERRUPTED)
        session.ledger.close()


def _score_on_test(session: Session, workers: Executor, metric: str) -> None:
    run_best = session.best()
    if run_best is None or run_best.candidate is None or run_best.seed is None:
        return
    score = workers.score(session, run_best.candidate, session.weights(run_best.number), "test")
    found = TestScore(metric=metric, score=score, seeds=(run_best.seed,), trial=run_best.number)
    write_json(session.folder / TEST_FILE, found.model_dump(mode="json"))
    session.emit(Tested(number=run_best.number, metric=metric, score=score))


def _refuse_if_too_small(session: Session, budget: str) -> None:
    """A budget that ended before the first trial did is a mistake to mend, not a result."""
    if session.end_reason == BUDGET and all(trial.state == "pruned" for trial in session.study.trials()):
        needed = session.costs().cheapest()
        hint = f"; a trial takes about {needed:.0f} s" if needed else ""
        raise UserError(f"the budget {budget!r} is too small for one trial{hint}; give it more")


def _logged(path: Path, events: Listener) -> Listener:
    """Writes events into the run's log before handing them on."""

    def emit(event: Event) -> None:
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {event}\n")
        events(event)

    return emit
