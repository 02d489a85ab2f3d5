"""Taking a search up again: what may change, and what must not have changed since."""

import os
from collections.abc import Callable
from dataclasses import asdict

from pydantic.dataclasses import dataclass

from autodelta.engine import devices
from autodelta.errors import UserError
from autodelta.search import placement, worth
from autodelta.search.budget import parse
from autodelta.search.driver import take_up, told
from autodelta.search.events import Event, Listener, Notice
from autodelta.search.executors import cluster_address
from autodelta.search.kept import scene
from autodelta.search.lock import driving
from autodelta.search.run import Run, open_run, write_settings
from autodelta.search.samplers import sampler
from autodelta.search.settings import Settings
from autodelta.search.transfer import lost
from autodelta.search.typed import STRICT, Whole, typed
from autodelta.space import Space


def resume(
    run: str | os.PathLike[str],
    *,
    budget: str | None = None,
    executor: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    stop_when_worth_less: float | None = None,
    runs: str | os.PathLike[str] = "runs",
    listener: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Takes a search up again where it stands, whatever ended it: with its own budget, or a larger one.

    Args:
        run: its name in ``runs``, or its folder.
        budget: what it may spend in all, with what it has spent already.
        executor, workers, address: others than before, if the machine or the cluster has changed.
        stop_when_worth_less: another one than before; 0 spends the rest of the budget, too.
        runs: the folder of runs.
        listener: is told everything that happens.

    Raises:
        UserError: no such run, another search works on it, its task or backbone has changed, or the budget is smaller.
    """
    found = open_run(os.fspath(run), os.fspath(runs))
    settings = changed(
        found.settings,
        budget=budget,
        executor=executor,
        workers=workers,
        address=address,
        stop_when_worth_less=stop_when_worth_less,
    )
    say_dropped(found.settings, settings, listener)
    space = Space.of_text(settings.space, settings.shape, name=f"the space of run {found.name}")
    with driving(found.path), told(found.path):  # so that no search that is under way sees other settings
        _ = found.trials  # a study that cannot be read is refused before anything is written
        write_settings(found.path, settings)
    gone = lost(scene(settings, space, found.path)) if sampler(settings.sampler).transfers else None
    if gone is not None:
        listener(Notice(text=gone))
    resumed = Run(found.path, settings)
    take_up(resumed, space, events=listener)
    return resumed


@dataclass(frozen=True, config=STRICT)
class Changes:
    """What may be asked anew of a search that goes on; None: as before."""

    budget: str | None = None
    executor: str | None = None
    workers: Whole | None = None
    address: str | None = None
    stop_when_worth_less: float | None = None


def changed(
    settings: Settings,
    *,
    budget: str | None,
    executor: str | None,
    workers: int | None,
    address: str | None,
    stop_when_worth_less: float | None = None,
) -> Settings:
    """What a search is told that goes on with another budget, or elsewhere.

    Raises:
        UserError: as ``resume``.
    """
    changes = typed(
        Changes,
        budget=budget,
        executor=executor,
        workers=workers,
        address=address,
        stop_when_worth_less=stop_when_worth_less,
    )
    if changes.budget is not None:
        _refuse_less(settings.budget, changes.budget)
        parse(changes.budget, has_gpu=settings.has_gpu)
    if changes.stop_when_worth_less is not None:
        worth.check(changes.stop_when_worth_less, settings.sampler)
    found = settings.model_copy(update={name: value for name, value in asdict(changes).items() if value is not None})
    placement.check(found.executor, found.workers, address=address)  # Ray may be gone since
    _refuse_without_gpu(found)
    _refuse_changed(found)
    return found


def say_dropped(before: Settings, now: Settings, listener: Listener) -> None:
    """Says which limits a new budget has not any more: it takes the place of the old one as a whole."""
    gone = ", ".join(now.limits.without(before.limits))
    if gone:
        listener(Notice(text=f"the budget {now.budget} is in place of {before.budget}: no limit of {gone} is left"))


def _refuse_less(before: str, now: str) -> None:
    if not parse(now).covers(parse(before)):
        raise UserError(f"a search is continued with its own budget or a larger one: {before!r}, not {now!r}")


def _refuse_without_gpu(settings: Settings) -> None:
    """A search keeps its device, as its trials must compare."""
    there = cluster_address(settings.address) if settings.executor == "ray" else None
    if there is None and settings.has_gpu and devices.chosen(None) != "cuda":
        raise UserError("the search began on a GPU, but torch finds none here; go on where there is one")


def _refuse_changed(settings: Settings) -> None:
    """A search must not go on with other rows or another backbone than it began with."""
    if settings.worker.load_task().fingerprint() != settings.fingerprint:
        raise UserError(f"the rows of task {settings.task!r} are not those that the search began with")
    on_cpu = settings.worker.model_copy(update={"device": "cpu"})  # there may be no GPU where a cluster is driven
    if on_cpu.load_backbone().sha256 != settings.backbone_sha256:
        raise UserError(f"the backbone {settings.worker.backbone!r} is not the one that the search began with")
