"""From what a user asks for to what a search is told: checks, defaults, and the one function that does it all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic.dataclasses import dataclass

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.costs import Costs
from autodelta.errors import UserError, one_of
from autodelta.search import loggers, placement, worth
from autodelta.search.budget import CONFIRM_SHARE, parse
from autodelta.search.driver import search as run_search
from autodelta.search.events import Event, Listener, Notice
from autodelta.search.pruning import PRUNERS
from autodelta.search.run import Run, new_folder
from autodelta.search.samplers import sampler as sampler_named
from autodelta.search.settings import Settings
from autodelta.search.transfer import WITHOUT, Chosen, check_named, chosen
from autodelta.search.typed import STRICT, Folder, Named, Whole, typed
from autodelta.space import Space, find
from autodelta.tasks import SPLITS, Columns, Task
from autodelta.tasks import load as load_task
from autodelta.tasks.catalogue import data_folder

if TYPE_CHECKING:
    from autodelta.backbones import Backbone

ON_CUDA, ON_CPU = ("google/t5-base-lm-adapt", "thorough"), ("nano", "default")  # backbone and space
LOOKED_AT = 1000  # rows of train whose length is looked at


@dataclass(frozen=True, config=STRICT)
class Request:
    """A search as it is asked for; what is None is decided from the machine."""

    task: str
    budget: str
    data: Folder | None = None
    columns: Columns | None = None
    backbone: Named | None = None
    space: Named | None = None
    sampler: str | None = None
    meta: Folder | None = None
    stop_when_worth_less: float = 0.0
    pruner: str | None = None
    confirm_share: float = CONFIRM_SHARE
    executor: str | None = None
    workers: Whole | None = None
    pack: bool = False
    gpus_per_worker: float = 1.0
    address: str | None = None
    log: str = ""
    seed: Whole = 0
    name: str | None = None
    runs: Folder = Path("runs")
    device: str | None = None
    dtype: str | None = None
    allow_pickle: bool = False


def search(
    task: str,
    *,
    budget: str,
    data: str | os.PathLike[str] | None = None,
    columns: Columns | None = None,
    backbone: str | None = None,
    space: str | os.PathLike[str] | None = None,
    sampler: str | None = None,
    meta: str | os.PathLike[str] | None = None,
    stop_when_worth_less: float = 0.0,
    pruner: str | None = None,
    confirm_share: float = CONFIRM_SHARE,
    executor: str | None = None,
    workers: int | None = None,
    pack: bool = False,
    gpus_per_worker: float = 1.0,
    address: str | None = None,
    log: str = "",
    seed: int = 0,
    name: str | None = None,
    runs: str | os.PathLike[str] = "runs",
    device: str | None = None,
    dtype: str | None = None,
    allow_pickle: bool = False,
    listener: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Searches the best composition of delta-tuning methods for a task, confirms it, and scores it once on test.

    Args:
        task: a name as ``autodelta tasks`` lists them, ``hf:dataset/config`` or ``demo/NAME``.
        budget: ``50gpu-h``, ``2cpu-h``, ``30min``, ``200trials``, or several joined by commas.
        data: a folder of task folders.
        columns: which columns of an ``hf:`` data set are what.
        backbone: a bundled name, hub id or path; ``google/t5-base-lm-adapt`` with CUDA, else ``nano``.
        space: the name of a space that ships with autodelta, or a YAML file; ``thorough`` with CUDA, else ``default``.
        sampler: tpe, meta, random, grid, gp or nsga2; meta where recorded trials fit space and backbone, else tpe.
        meta: the folder of a fitted meta-learner, for the sampler of that name; else the one that ships.
        stop_when_worth_less: no more trials start once the meta-learner expects less gain in score than this of the
            best next one; 0: only the budget ends the search.
        pruner: asha, hyperband or none; asha where the sampler allows it.
        confirm_share: of a budget in time, kept for training the best again at fresh seeds; of one in trials, as many.
        executor: local or ray; ray if it is installed and there is more than one worker.
        workers: one per GPU, or one per physical core; or as many as a cluster has room for.
        pack: a worker trains several candidates at a time where that pays on this machine, which is measured once.
        gpus_per_worker: the share of a GPU that one worker takes; at 0.25 four workers share one.
        address: of a Ray cluster: ``auto``, ``host:port`` or ``ray://host:10001``; else RAY_ADDRESS; else Ray, if it is
            used, is started on this machine.
        log: loggers of Ray Tune, with commas: tensorboard, mlflow, wandb.
        seed: of the run; every draw of every trial comes from it and the trial's number.
        name: of the run's folder in ``runs``.
        device: ``cpu`` or ``cuda``.
        dtype: ``bf16`` or ``fp32``; what the device is fast at.
        allow_pickle: also read weights that exist only in pickled form.
        listener: is told everything that happens.

    Raises:
        UserError: something asked for does not exist, is taken, or cannot be done; nothing was changed.
    """
    request = typed(
        Request,
        task=task,
        budget=budget,
        data=data,
        columns=columns,
        backbone=backbone,
        space=space,
        sampler=sampler,
        meta=meta,
        stop_when_worth_less=stop_when_worth_less,
        pruner=pruner,
        confirm_share=confirm_share,
        executor=executor,
        workers=workers,
        pack=pack,
        gpus_per_worker=gpus_per_worker,
        address=address,
        log=log,
        seed=seed,
        name=name,
        runs=runs,
        device=device,
        dtype=dtype,
        allow_pickle=allow_pickle,
    )
    return submit(request, listener)


def submit(request: Request, listener: Listener) -> Run:
    """Checks a request, and searches.

    Raises:
        UserError: as ``search``.
    """
    folder, settings, space = checked(request, listener)
    return run_search(settings, space, folder=folder, events=listener)


def checked(request: Request, listener: Listener) -> tuple[Path, Settings, Space]:
    """A request looked through, cheap things first: the folder for it, which is not made yet, what it comes to, and its
    space.

    Raises:
        UserError: as ``search``.
    """
    parse(request.budget)
    _pruner(request)
    if request.space is not None:
        find(request.space)
    log = _check_numbers(request)
    folder = new_folder(request.runs, request.name, task=request.task)
    task = load_task(request.task, data=request.data, columns=request.columns)
    place = _place(request, log)
    spec = _spec(request, place)
    backbone = spec.model_copy(update={"device": place.here}).load_backbone()
    _check_words(task, backbone)
    space = Space.load(request.space or _by_device(place)[1], backbone.shape)
    for text in (*task.notes, *_defaults(request, spec, place), *_cut(task, backbone)):
        listener(Notice(text=text))
    start = chosen(
        request.sampler,
        request.meta,
        space=space,
        task=task,
        backbone=backbone,
        say=lambda text: listener(Notice(text=text)),
    )
    if request.stop_when_worth_less and start.sampler == WITHOUT:
        listener(Notice(text=f"{worth.NEEDS}: the whole budget is used"))
    spec = spec.model_copy(update={"dtype": backbone.dtype_name})
    if request.pack:
        spec = spec.model_copy(update={"costs": _costs(request, place, spec, backbone, listener)})
    return folder, _settings(request, _Found(task, backbone, space, spec, place, start, log)), space


def _check_words(task: Task, backbone: "Backbone") -> None:
    """Label words that the backbone cannot tell apart would fail every trial."""
    from autodelta.engine.encode import encode_labels

    encode_labels(backbone, [task.word(label) for label in task.labels])


def _cut(task: Task, backbone: "Backbone") -> list[str]:
    """A line about inputs that the model will not see to their end, where there are any, and one about answers."""
    from autodelta.engine.encode import MAX_INPUT_TOKENS, longer

    train = task.examples("train")
    shown = train[:LOOKED_AT]
    of = f"of {'the first ' if len(train) > len(shown) else ''}{len(shown):,}"
    found = []
    cut = longer(backbone, [example.input for example in shown])
    if cut:
        found.append(
            f"{cut:,} {of} rows of train are longer than {MAX_INPUT_TOKENS} tokens: they are cut at their end, so what "
            "matters should stand first in the template"
        )
    most = task.max_new_tokens
    cut = longer(backbone, [example.target for example in shown], most=most) if task.open_ended else 0
    if cut:
        found.append(
            f"{cut:,} {of} answers of train are longer than max_new_tokens ({most}): they are cut at their end"
        )
    return found


class _Found(NamedTuple):
    """What a request comes to on this machine."""

    task: Task
    backbone: "Backbone"
    space: Space
    spec: WorkerSpec
    place: placement.Place
    start: Chosen
    log: tuple[str, ...]


def _settings(request: Request, found: _Found) -> Settings:
    """What the search is told."""
    return Settings(
        task=request.task,
        view=found.task.view(),
        fingerprint=found.task.fingerprint(),
        rows={split: len(found.task.examples(split)) for split in SPLITS},
        worker=found.spec,
        backbone_sha256=found.backbone.sha256,
        shape=found.backbone.shape,
        space=found.space.text,
        budget=request.budget,
        sampler=found.start.sampler,
        features=found.start.features,
        meta=found.start.meta,
        stop_when_worth_less=request.stop_when_worth_less,
        pruner=_pruner(request),
        confirm_share=request.confirm_share,
        seed=request.seed,
        executor=found.place.executor,
        workers=found.place.workers,
        gpus_per_worker=request.gpus_per_worker,
        address=request.address,
        log=found.log,
    )


def _costs(
    request: Request, place: placement.Place, spec: WorkerSpec, backbone: "Backbone", listener: Listener
) -> Costs:
    """What packs cost where the trials run: on this machine, or on one of a cluster's."""

    def say(text: str) -> None:
        listener(Notice(text=text))

    if place.cluster:
        from autodelta.search.executors.ray import cluster

        return cluster.costs(spec, address=request.address, gpus_per_worker=request.gpus_per_worker, say=say)
    from autodelta.engine.calibration import calibrated

    return calibrated(backbone, say)


def _place(request: Request, log: tuple[str, ...]) -> placement.Place:
    """Where the trials run, if the budget can be counted there."""
    place = placement.place(
        executor=request.executor,
        workers=request.workers,
        device=request.device,
        gpus_per_worker=request.gpus_per_worker,
        address=request.address,
        log=log,
    )
    parse(request.budget, has_gpu=place.device == "cuda")
    return place


def _spec(request: Request, place: placement.Place) -> WorkerSpec:
    """What each worker opens."""
    data = data_folder(request.data)
    return WorkerSpec(
        backbone=_placed(request.backbone) or _by_device(place)[0],
        task=request.task,
        data=data and data.absolute(),  # workers may stand in another folder
        columns=request.columns,
        device=place.device,
        dtype=request.dtype or place.dtype,
        allow_pickle=request.allow_pickle,
    )


def _by_device(place: placement.Place) -> tuple[str, str]:
    """The backbone and the space of a search that names none."""
    return ON_CUDA if place.device == "cuda" else ON_CPU


def _pruner(request: Request) -> str:
    """The pruner that was asked for, or one that suits the sampler."""
    sampler = sampler_named(request.sampler or WITHOUT)
    plain = sampler.two_directions or sampler.build is None
    name = request.pruner or ("none" if plain else "asha")
    if name not in PRUNERS:
        raise one_of("pruner", name, tuple(PRUNERS))
    if sampler.two_directions and name != "none":
        raise UserError(f"the sampler {request.sampler!r} has two directions and cannot prune; choose --pruner none")
    return name


def _placed(backbone: str | None) -> str | None:
    """A backbone in a folder by its full path, as workers may stand in another folder."""
    return str(Path(backbone).absolute()) if backbone and Path(backbone).is_dir() else backbone


def _check_numbers(request: Request) -> tuple[str, ...]:
    """Looks at what can be judged by itself; the loggers that were asked for."""
    if request.seed < 0:
        raise UserError(f"a seed must not be negative: {request.seed}")
    worth.check(request.stop_when_worth_less, request.sampler)
    check_named(request.sampler, request.meta)
    if not 0 <= request.confirm_share < 1:
        raise UserError(f"the share for confirmation lies from 0 to below 1: {request.confirm_share}")
    log = loggers.names(request.log)
    placement.check(
        request.executor,
        request.workers,
        gpus_per_worker=request.gpus_per_worker,
        address=request.address,
        log=log,
    )
    loggers.check(log)
    return log


def _defaults(request: Request, spec: WorkerSpec, place: placement.Place) -> list[str]:
    """One line about what was not asked for, and so was chosen."""
    chosen = {
        "--backbone": None if request.backbone else spec.backbone,
        "--space": None if request.space else _by_device(place)[1],
        "--executor": None if request.executor else place.executor,
        "--workers": None if request.workers else str(place.workers),
        "--device": None if request.device else spec.device,
    }
    found = [f"{flag} {value}" for flag, value in chosen.items() if value is not None]
    return [f"defaults in use: {' '.join(found)}"] if found else []
