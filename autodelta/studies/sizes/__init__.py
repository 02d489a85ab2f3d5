"""A search through train sizes: the recommendation as a function of how much labelled data there is."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from autodelta.search.budget import parse
from autodelta.search.driver import told
from autodelta.search.events import Event, Listener
from autodelta.search.lock import driving
from autodelta.search.request import Request, checked
from autodelta.search.resuming import changed, say_dropped
from autodelta.search.typed import typed
from autodelta.studies.sizes.answer import SizesAnswer as SizesAnswer
from autodelta.studies.sizes.asked import Size, ordered, shares
from autodelta.studies.sizes.asked import read_sizes as read_sizes
from autodelta.studies.sizes.driver import begin, take_up
from autodelta.studies.sizes.study import RESULT_FILE, Asked, write_asked
from autodelta.studies.sizes.study import SizeStudy as SizeStudy
from autodelta.studies.sizes.study import is_study as is_study
from autodelta.studies.sizes.study import open_sizes as open_sizes
from autodelta.tasks import load as load_task

__all__ = [
    "SizeStudy",
    "SizesAnswer",
    "is_study",
    "open_sizes",
    "read_sizes",
    "resume_sizes",
    "search_sizes",
    "submit_sizes",
]


def search_sizes(
    task: str,
    *,
    budget: str,
    train_sizes: Sequence[Size],
    listener: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> SizeStudy:
    """Searches a task at several amounts of labelled data, and says which composition is best at which.

    Args:
        task: as ``search`` takes it.
        budget: of all searches together; it is shared out evenly over the sizes.
        train_sizes: numbers of rows of train, or ``"all"``; a larger size holds the rows of a smaller one.
        listener: is told everything that happens.
        options: what else ``search`` takes.

    Raises:
        UserError: as ``search``; or a train size that cannot be. Nothing was changed.
        TypeError: an option that ``search`` does not take.
    """
    return submit_sizes(typed(Request, task=task, budget=budget, **options), train_sizes, listener)


def submit_sizes(request: Request, train_sizes: Sequence[Size], listener: Listener) -> SizeStudy:
    """Checks a request, and searches at each train size.

    Raises:
        UserError: as ``search_sizes``.
    """
    parse(request.budget)
    sizes = ordered(train_sizes, load_task(request.task, data=request.data, columns=request.columns))
    shares(request.budget, request.confirm_share, len(sizes))
    folder, settings, _ = checked(request, listener)
    return begin(folder, Asked(sizes=sizes, settings=settings), events=listener)


def resume_sizes(
    study: str | os.PathLike[str],
    *,
    budget: str | None = None,
    executor: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    stop_when_worth_less: float | None = None,
    runs: str | os.PathLike[str] = "runs",
    listener: Callable[[Event], None] = lambda event: None,
) -> SizeStudy:
    """Takes a size study up again where it stands, whatever ended it: with its own budget, or a larger one.

    Args:
        study: its name in ``runs``, or its folder.
        budget: what all of it may spend, with what it has spent already.
        executor, workers, address: others than before, if the machine or the cluster has changed.
        stop_when_worth_less: another one than before, for each of its searches; those that ended at a larger one go on.
        runs: the folder of runs.
        listener: is told everything that happens.

    Raises:
        UserError: no such study, somebody else works on it, its task or backbone has changed, or the budget is smaller.
    """
    found = open_sizes(os.fspath(study), os.fspath(runs))
    settings = changed(
        found.asked.settings,
        budget=budget,
        executor=executor,
        workers=workers,
        address=address,
        stop_when_worth_less=stop_when_worth_less,
    )
    say_dropped(found.asked.settings, settings, listener)
    again = SizeStudy(found.path, found.asked.model_copy(update={"settings": settings}))
    with driving(found.path), told(found.path):
        write_asked(found.path, again.asked)
        before = found.asked.settings
        if (settings.budget, settings.stop_when_worth_less) != (before.budget, before.stop_when_worth_less):
            (found.path / RESULT_FILE).unlink(missing_ok=True)
    take_up(again, events=listener)
    return again
