"""Suggestions without a trial: what past tasks foretell of compositions on a new one, and why.

A pool is drawn as the sampler ``meta`` draws it, only larger, and improved by the model's own foresight: neighbours of
the best so far, twice. The front over foretold score and parameters is what is suggested.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.errors import UserError
from autodelta.frozen import Frozen
from autodelta.meta import past
from autodelta.meta.compositions import configurations
from autodelta.meta.model import Model
from autodelta.meta.on_task import OnTask
from autodelta.meta.problem import NoTransfer, known_features
from autodelta.recipe.recipe import RECIPE_FILE, Recipe
from autodelta.recipe.use import check_place, reference
from autodelta.search.samplers.meta import neighbours, winners
from autodelta.search.settings import versions
from autodelta.search.transfer import located, looked_at
from autodelta.space import Space, find
from autodelta.studies.reasons import Mattered, mattered
from autodelta.tasks import Columns, Task
from autodelta.tasks import load as load_task
from autodelta.tasks.metrics import ends

if TYPE_CHECKING:
    from autodelta.backbones import Backbone

SCHEMA: Literal[1] = 1
BACKBONE = "nano"
DRAWS, ROUNDS, BEST, NEIGHBOURS = 256, 2, 8, 64  # of the pool
SHARE = 0.9  # that an interval holds
SHOWN = 8  # of the front
APART = 0.03  # of the front's range: what lies nearer to a smaller one is left out
NEAREST = 3  # tasks

Floats = NDArray[np.float64]


class Foretold(Frozen):
    """A composition on the foretold front."""

    number: int  # from 1, the smallest first
    methods: tuple[str, ...]
    parameters: int
    score: float  # on validation, of one seed
    low: float
    high: float
    device_seconds: float | None  # of the whole trial, as on the machines of the records
    memory_bytes: float | None
    candidate: Candidate


class Near(Frozen):
    """A recorded task, and how far off the model sees it."""

    task: str
    kind: str
    train_rows: int
    distance: float  # 1: as far as recorded tasks lie from each other, in the middle
    best: past.Winner | None


class Suggestion(Frozen):
    """What ``suggest --json`` prints."""

    schema_version: Literal[1] = SCHEMA
    task: str
    metric: str
    backbone: str
    space: str
    share: float = SHARE  # of scores that lie between low and high
    tasks: int  # that the model has learned from
    trials: int | None  # on these
    front: tuple[Foretold, ...]
    pick: int  # the number of the one that is suggested: the best, unless another was asked for
    nearest: tuple[Near, ...]
    mattered: tuple[Mattered, ...]
    notes: tuple[str, ...]
    recipe: str | None  # the folder that it was written to

    @property
    def picked(self) -> Foretold:
        """The one that is suggested."""
        return self.front[self.pick - 1]


def suggest(
    task: str,
    *,
    data: Path | None = None,
    columns: Columns | None = None,
    backbone: str = BACKBONE,
    space: str = "default",
    meta: Path | None = None,
    pick: int | None = None,
    to: Path | None = None,
    seed: int = 0,
    allow_pickle: bool = False,
) -> Suggestion:
    """Compositions for a task from what past tasks teach, in seconds; nothing is trained.

    Args:
        task: as ``autodelta.search`` takes it, and ``data``, ``columns``, ``backbone`` and ``space``, too.
        meta: the folder of a fitted meta-learner; the one that ships.
        pick: which of the front becomes the recipe, by its number; the best foretold.
        to: a new folder for the recipe, which ``autodelta train`` trains.
        seed: of the draws.

    Raises:
        UserError: something asked for does not exist, or the past says nothing of it.
    """
    find(space)
    notes: list[str] = []
    try:
        folder = located(meta)
        if to is not None:
            check_place(to, taken_by=RECIPE_FILE)
        rows = load_task(task, data=data, columns=columns)
        spec = WorkerSpec(backbone=backbone, task=task, device="cpu", allow_pickle=allow_pickle)
        loaded = spec.load_backbone()
        bound = Space.load(space, loaded.shape)
        features, model = looked_at(folder, space=bound, task=rows, backbone=loaded, elsewhere=True, say=notes.append)
    except NoTransfer as reason:
        raise UserError(f"nothing can be suggested: {reason}; autodelta search needs no past") from None
    if model.found.opening is None:
        notes.append("the records do not predict even their own tasks: no search asks them, and this is a guess")
    on = model.on(features)
    found = _foretold(model, on, bound, np.random.default_rng(seed), ends=ends(rows.metric))
    front = _lines(on, found, _front(found), bound, ends=ends(rows.metric))
    if pick is not None and not 1 <= pick <= len(front):
        raise UserError(f"--pick is the number of a line of the front, from 1 to {len(front)}: {pick}")
    learned = past.read(folder)
    suggestion = Suggestion(
        task=rows.name,
        metric=rows.metric,
        backbone=backbone,
        space=bound.name,
        tasks=len(model.tasks),
        trials=learned.trials if learned else None,
        front=front,
        pick=pick or len(front),
        nearest=_nearest(model, features, learned),
        mattered=mattered(found.candidates[: found.drawn], found.scores[: found.drawn]),
        notes=tuple(notes),
        recipe=None if to is None else str(to),
    )
    if to is not None:
        _write(suggestion, to, rows, columns, loaded)
    return suggestion


class _Pool(NamedTuple):
    """Candidates with what the model foretells of them; the first ``drawn`` are a fair sample of the space."""

    candidates: list[Candidate]
    drawn: int
    parameters: NDArray[np.int64]
    scores: Floats
    costs: Floats  # (N, 2) log seconds and log bytes


def _foretold(model: Model, on: OnTask, space: Space, rng: np.random.Generator, *, ends: tuple[float, float]) -> _Pool:
    """Draws, past winners and neighbours of the best of these; scores end where the metric does."""
    found = dict.fromkeys(space.sample(rng) for _ in range(DRAWS))
    drawn = len(found)
    found |= dict.fromkeys(one for one in winners(model) if space.contains(one))
    for _ in range(ROUNDS):
        pool = list(found)
        scores, _ = on.predict(configurations(pool, space.shape))
        best = [pool[row] for row in np.argsort(-scores)[:BEST]]
        found |= dict.fromkeys(neighbours(space, best, NEIGHBOURS, rng))
    pool = list(found)
    seen = configurations(pool, space.shape)
    scores = np.clip(on.predict(seen)[0], *ends)
    parameters = np.array([one.count_parameters(space.shape) for one in pool])
    return _Pool(pool, drawn, parameters, scores, on.costs(seen))


def _front(pool: _Pool) -> list[int]:
    """What nothing smaller is foretold to beat, from the smallest; of those that lie close together, the smallest."""
    rising: list[int] = []
    for row in np.lexsort((-pool.scores, pool.parameters)):
        if not rising or pool.scores[row] > pool.scores[rising[-1]]:
            rising.append(int(row))
    apart = APART * float(pool.scores[rising[-1]] - pool.scores[rising[0]])
    kept = rising[:1]
    for row in rising[1:-1]:
        if pool.scores[row] - pool.scores[kept[-1]] > apart:
            kept.append(row)
    kept += rising[1:][-1:]  # the best, however near
    while len(kept) > SHOWN:
        del kept[min(range(1, len(kept) - 1), key=lambda at: _gains(pool, kept, at))]
    return kept


def _gains(pool: _Pool, kept: Sequence[int], at: int) -> float:
    """How much one of the front is foretold to be better than the one before it."""
    return float(pool.scores[kept[at]] - pool.scores[kept[at - 1]])


def _lines(
    on: OnTask, pool: _Pool, rows: Sequence[int], space: Space, *, ends: tuple[float, float]
) -> tuple[Foretold, ...]:
    """Those of a pool with these rows; intervals are made for them alone, as they take the time."""
    kept = [pool.candidates[row] for row in rows]
    intervals = (np.clip(one, *ends) for one in on.interval(configurations(kept, space.shape), share=SHARE))
    lines = []
    for number, (row, low, high) in enumerate(zip(rows, *intervals, strict=True), start=1):
        seconds, memory = (float(np.exp(cost)) if np.isfinite(cost) else None for cost in pool.costs[row])
        lines.append(
            Foretold(
                number=number,
                methods=pool.candidates[row].methods,
                parameters=int(pool.parameters[row]),
                score=float(pool.scores[row]),
                low=float(low),
                high=float(high),
                device_seconds=seconds,
                memory_bytes=memory,
                candidate=pool.candidates[row],
            )
        )
    return tuple(lines)


def _nearest(model: Model, features: dict[str, float], learned: past.Past | None) -> tuple[Near, ...]:
    """The recorded tasks that the hypernetwork sees nearest to this one."""
    tasks = [task for task in learned.tasks if set(model.layout.features) <= task.features.keys()] if learned else []
    if len(tasks) < 2:
        return ()
    rows = np.stack([known_features(model.layout, one) for one in (features, *(task.features for task in tasks))])
    places = model.network.embedded(model.inputs.features(rows)).numpy()  # (members, 1 + tasks, embedding)
    far = np.sqrt(((places[:, :, None] - places[:, None, :]) ** 2).sum(axis=(0, 3)))
    among = far[1:, 1:][np.triu_indices(len(tasks), 1)]
    unit = float(np.median(among)) or 1.0
    return tuple(
        Near(
            task=tasks[at].task,
            kind=tasks[at].kind,
            train_rows=tasks[at].train_rows,
            distance=float(far[0, 1 + at]) / unit,
            best=tasks[at].best,
        )
        for at in np.argsort(far[0, 1:], kind="stable")[:NEAREST]
    )


# --- the recipe ------------------------------------------------------------------------------------------------------


def _write(found: Suggestion, to: Path, task: Task, columns: Columns | None, backbone: "Backbone") -> None:
    picked = found.picked
    recipe = Recipe(
        candidate=picked.candidate,
        parameters=picked.parameters,
        backbone=reference(backbone),
        task=task.view() | {"name": task.name},
        columns=columns,
        seed=0,
        scores=(),
        statement=tuple(said(found)),
        versions=versions(),
    )
    try:
        recipe.write(to, None)
    except OSError as error:
        raise UserError(f"the recipe cannot be written to {to}: {error.strerror or error}") from error


def said(found: Suggestion) -> list[str]:
    """The reason, in sentences."""
    picked, learned = found.picked, f"learned from {found.tasks} tasks"
    lines = [
        f"predicted {found.metric} on validation {picked.score:.3f} ({found.share:.0%} interval {picked.low:.3f} to "
        f"{picked.high:.3f}), {learned}{'' if found.trials is None else f' and {found.trials:,} trials'}"
    ]
    if found.nearest:
        lines.append("nearest recorded tasks: " + "; ".join(map(_near, found.nearest)))
    lines += [f"what matters: {'; '.join(one.words for one in found.mattered)}"] if found.mattered else []
    return [*lines, *found.notes]


def _near(near: Near) -> str:
    best = "" if near.best is None else f", best there {' + '.join(near.best.methods)} at {near.best.score:.3f}"
    return f"{near.task}{best}"
