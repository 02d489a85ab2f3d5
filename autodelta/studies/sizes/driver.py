"""Drives a size study: one search after another, from few rows to many, then the winners at every size, the answer."""

import shutil
from pathlib import Path

from autodelta.candidate import Candidate
from autodelta.engine import devices
from autodelta.engine.assignment import TRAIN_ROWS_SEED
from autodelta.errors import UserError
from autodelta.files import write_json
from autodelta.meta.problem import NoTransfer
from autodelta.search.budget import parse
from autodelta.search.driver import TooSmall, logged, told
from autodelta.search.driver import search as run_search
from autodelta.search.driver import take_up as take_up_run
from autodelta.search.events import Answered, Event, Listener, Notice, SearchEnded
from autodelta.search.executors import driven_elsewhere
from autodelta.search.kept import still
from autodelta.search.lock import driving
from autodelta.search.records import INTERRUPTED
from autodelta.search.run import LOG_FILE, RUN_FILE, Run, open_run, write_settings
from autodelta.search.session import FINISHED
from autodelta.search.settings import Settings
from autodelta.search.transfer import features_of
from autodelta.space import Space
from autodelta.studies.sizes import matrix
from autodelta.studies.sizes.answer import winners_of
from autodelta.studies.sizes.asked import shares
from autodelta.studies.sizes.lines import lines
from autodelta.studies.sizes.study import RESULT_FILE, Asked, SizeStudy, write_asked
from autodelta.tasks import Task


class _Interrupted(Exception):
    """A search was ended by Ctrl-C, and has told so."""


def begin(path: Path, asked: Asked, *, events: Listener) -> SizeStudy:
    """Makes a study's folder, and drives it.

    Raises:
        UserError: as ``search``; if no search of it has begun, the folder is gone again.
    """
    study = SizeStudy(path, asked)
    _refuse_elsewhere(asked.settings)
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"the run {path.name!r} is there already, in {path.parent}; choose another name") from None
    except OSError as error:
        raise UserError(f"cannot make the study's folder {path}: {error.strerror}") from None
    try:
        with told(path):
            write_asked(path, asked)
        take_up(study, events=events)
    except UserError:
        if not study.runs:
            shutil.rmtree(path)
        raise
    return study


def take_up(study: SizeStudy, *, events: Listener) -> None:
    """Goes on with a study where it stands. Ctrl-C ends it in good order: there is no answer from a part of it.

    Raises:
        UserError: another process works on it, a search of it cannot go on, or the disk is full.
    """
    settings = study.asked.settings
    _refuse_elsewhere(settings)
    with driving(study.path), told(study.path):
        emit = logged(study.path / LOG_FILE, events)
        emit(Notice(text=shares(settings.budget, settings.confirm_share, len(study.asked.sizes)).line))
        try:
            _drive(study, emit, events)
        except _Interrupted:
            return
        except KeyboardInterrupt:
            emit(SearchEnded(reason=INTERRUPTED, trials=study.spent().trials))
            return
        answer = study.conclude(finished=True)
        write_json(study.path / RESULT_FILE, answer.model_dump(mode="json"))
        emit(Answered(lines=tuple(lines(answer))))
        emit(SearchEnded(reason=FINISHED, trials=study.spent().trials))


def _drive(study: SizeStudy, emit: Listener, events: Listener) -> None:
    """Every search, then the winners at every size."""
    settings = study.asked.settings
    task = settings.worker.load_task()
    space = Space.of_text(settings.space, settings.shape, name=f"the space of study {study.name}")
    for place, rows in enumerate(study.asked.sizes):
        limited = task.limited(rows, TRAIN_ROWS_SEED)
        part = _settings(study, place, limited)
        if _ended(study.run_folder(rows), part):
            emit(Notice(text=f"{rows:,} rows of train: the search has ended before"))
            continue
        emit(Notice(text=f"{rows:,} rows of train: search {place + 1} of {len(study.asked.sizes)}"))
        try:
            _search(study.run_folder(rows), part, limited, space, events)
        except TooSmall as error:
            raise UserError(
                f"{error}: it is what {rows:,} rows get of {settings.budget!r} for {len(study.asked.sizes)} train sizes"
            ) from None
    searched = study.searched()
    winners = winners_of(searched)
    if not settings.confirm_share or len(winners) < 2:
        return
    for one in searched:
        emit(Notice(text=f"{one.rows:,} rows of train: the winners of all sizes"))
        run = study.runs[one.rows]
        matrix.train(
            study.matrix_folder(one.rows),
            winners,
            study.confirmed(one.rows),
            run.trials,
            settings=run.settings,
            budget=study.for_matrix(one.rows),
            emit=emit,
        )


def _settings(study: SizeStudy, place: int, task: Task) -> Settings:
    """What the search of a size is told, with its rows: the winners of the sizes before it go first, the nearest of
    them before."""
    before = [one for one in study.searched() if one.rows < study.asked.sizes[place]]
    first: list[Candidate] = [one.exported.candidate for one in reversed(before) if one.exported is not None]
    update = {"fingerprint": task.fingerprint(), "first": tuple(dict.fromkeys(first))}
    return study.settings(place).model_copy(update=update)


def _informed(settings: Settings, task: Task) -> Settings:
    """With what a sampler that learns across tasks is to know of these rows of train, where it knows it of all."""
    if settings.features is None or settings.worker.train_rows is None:
        return settings
    device = devices.chosen(None) if settings.has_gpu else settings.worker.device  # a cluster's driver may have no GPU
    backbone = settings.worker.model_copy(update={"device": device}).load_backbone()
    try:
        features = features_of(task, backbone)
    except NoTransfer:  # of so few rows: it goes by what all tasks have in common
        features = None
    return settings.model_copy(update={"features": features})


def _ended(folder: Path, settings: Settings) -> bool:
    """Whether a search has an answer from such a budget or a larger one, as somebody may have gone on with it alone; if
    it ended before that, then at no larger gain than is asked for now."""
    result = Run(folder, settings).result
    if result is None or not parse(result.budget).covers(parse(settings.budget)):
        return False
    return not result.ended_early or result.stop_when_worth_less <= settings.stop_when_worth_less


def _search(folder: Path, settings: Settings, task: Task, space: Space, events: Listener) -> None:
    """One search, from its begin or where it stands.

    Raises:
        _Interrupted: Ctrl-C ended it.
    """
    reasons: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, SearchEnded):
            reasons.append(event.reason)
        events(event)

    if (folder / RUN_FILE).is_file():
        settings = still(settings, open_run(folder).settings)
        with driving(folder):
            write_settings(folder, settings)
        take_up_run(Run(folder, settings), space, events=hear)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # of a study that was killed before it had written what to do
        run_search(_informed(settings, task), space, folder=folder, events=hear)
    if INTERRUPTED in reasons:
        raise _Interrupted


def _refuse_elsewhere(settings: Settings) -> None:
    address = driven_elsewhere(settings)
    if address is not None:
        raise UserError(
            f"a study over train sizes is driven inside the cluster, not from {address!r}; start it there, with "
            "--address auto or host:port"
        )
