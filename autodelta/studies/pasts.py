"""What past tasks teach about each task of one recorded table: models fitted without its family, and how they rank."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autodelta.errors import UserError
from autodelta.meta.problem import FEW_TASKS, NoTransfer
from autodelta.meta.records import Table
from autodelta.search.believed import standing
from autodelta.search.samplers import PoolEntry, Rank, Scene, names
from autodelta.search.samplers.meta import ranked
from autodelta.search.simulation import HandOver
from autodelta.search.transfer import fitted
from autodelta.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna import Study

    from autodelta.meta.problem import Sources
    from autodelta.search.records import TrialRecord

META, NEAREST = "meta", "nearest"
PER_SECOND = "meta-per-second"  # by what a trial promises for each second
BY_SCORE = "meta-by-score"  # hands over the best score, and not what it believes to be best
VARIANTS = {PER_SECOND: META, BY_SCORE: META}
BY_FEATURES = "hypernetwork"  # knows nothing without a task's features


class Taught(NamedTuple):
    """What is known of a task from the others of its table, none of its own family."""

    model: Path  # the folder of the model
    features: dict[str, float] | None
    nearest: tuple[str, ...]  # what did best on the most similar tasks, the best first; candidates as JSON


def transferring() -> tuple[str, ...]:
    """The names of the rankings that learn from other tasks: the sampler, its parts alone, and its rivals."""
    from autodelta.meta.policies import POLICIES

    return (META, *VARIANTS, *(name for name in (*POLICIES, NEAREST) if name not in names()))


def taught(table: Table, folder: Path, *, folds: int, seed: int, say: Callable[[str], None]) -> dict[str, Taught]:
    """Fits a model for each fold of tasks, to the tasks of all others; of one family all are in the same fold.

    Args:
        table: with the features of its tasks.
        folder: where the models go.
        folds: how many, where there are so many families.
        seed: of folds and fits.
        say: is told of each fit.

    Raises:
        UserError: too few tasks are left for a fold.
    """
    from autodelta.meta.compositions import sources
    from autodelta.meta.fitting import fit
    from autodelta.meta.folds import folds as dealt
    from autodelta.meta.saved import save

    known = sources(table)
    families = [task.family for task in known.tasks]
    number = min(folds, len(set(families)))
    fold = dealt(families, number, seed=seed)
    found: dict[str, Taught] = {}
    for out in range(number):
        inside = np.flatnonzero(fold == out)
        say(f"fitting {out + 1} of {number} models, each without the tasks that it is judged on")
        try:
            others = known.without(int(at) for at in inside).usable()
            save(fit(others, seed=seed), folder / str(out))
        except NoTransfer as reason:
            raise UserError(
                f"a ranking that learns from other tasks needs {FEW_TASKS} of them beside each family of the table: "
                f"{reason}"
            ) from None
        for at in inside:
            task = known.tasks[at]
            found[task.name] = Taught(folder / str(out), _features(table, task.name), _nearest(others, task.features))
    return found


def _features(table: Table, task: str) -> dict[str, float] | None:
    """A task's features, if none is missing."""
    from autodelta.meta.compositions import layout

    known = table.tasks.get(task)
    if known is None or any(not math.isfinite(known.features.get(name, math.nan)) for name in layout().features):
        return None
    return known.features


def _nearest(others: "Sources", features: "NDArray[np.float64]") -> tuple[str, ...]:
    from autodelta.meta.portfolio import of_nearest

    if not np.isfinite(features).all():
        return ()
    rows = of_nearest(others, features, len(others.configurations))
    return tuple(others.configurations.keys[row] for row in rows)


def ranking(name: str, space: Space, known: Taught) -> Rank:
    """How a pool of recorded candidates is ranked by what other tasks have taught, by one of ``transferring``.

    Raises:
        UserError: it goes by the task's features, and the table lacks one.
    """
    if name == BY_FEATURES and known.features is None:
        raise UserError(f"{name!r} ranks by a task's features, which the table does not have for all; leave it out")
    scene = Scene(space, known.features, known.model, per_second=name == PER_SECOND)
    return _by_order(known.nearest, scene) if name == NEAREST else ranked(VARIANTS.get(name, name), scene)


def handing_over(name: str, space: Space, known: Taught) -> HandOver | None:
    """What a search hands over that one of ``transferring`` chose for: what that believes to be best. None: it goes by
    the best score."""
    from autodelta.meta.compositions import configurations
    from autodelta.meta.policies import BELIEVED, handed_over

    policy = VARIANTS.get(name, name)
    if policy not in BELIEVED or name == BY_SCORE:
        return None
    scene = Scene(space, known.features, known.model)

    def hand_over(trials: "Sequence[TrialRecord]") -> str | None:
        tried = [one for trial in trials if trial.state == "complete" and (one := trial.candidate) is not None]
        on = standing(fitted(scene), scene, trials)
        row = handed_over(policy, on, configurations(tried, space.shape))
        return None if row is None else tried[row].key

    return hand_over


def _by_order(keys: Sequence[str], scene: Scene) -> Rank:
    """The candidates in this order; what is not in it as the shared prior wants it."""
    places = {key: place for place, key in enumerate(keys)}
    rest = ranked("shared", scene)

    def rank(study: "Study", pool: Sequence[PoolEntry], seed: int) -> "NDArray[np.float64]":
        keys = [entry.candidate.model_dump_json() if entry.candidate else "" for entry in pool]
        found = np.array([-places.get(key, math.inf) for key in keys])
        return found if np.isfinite(found).any() else rest(study, pool, seed)

    return rank
