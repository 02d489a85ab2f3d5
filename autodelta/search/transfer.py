"""What past tasks give to a search: whether the records fit its space, backbone and task, and the model if they do.

Whatever is wrong with records or model is one line; the search then goes on without them.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autodelta.errors import UserError, one_line
from autodelta.meta import past
from autodelta.meta.problem import NoTransfer
from autodelta.search.kept import check, sha256
from autodelta.search.knowledge import known
from autodelta.search.samplers import Scene, sampler
from autodelta.space import Space
from autodelta.tasks import Task

if TYPE_CHECKING:
    from autodelta.backbones import Backbone
    from autodelta.meta.model import Model

WITH, WITHOUT = "meta", "tpe"  # the samplers that a search has by itself


class Chosen(NamedTuple):
    """With which sampler a search starts, and what that knows of the task."""

    sampler: str
    features: dict[str, float] | None = None
    meta: Path | None = None  # the model's folder; None: the one that ships


def check_named(asked: str | None, meta: Path | None) -> None:
    """Raises UserError where the model that was named is none, or is for no sampler that was asked for.

    One that is there and broken is none of the user's mistakes: the search goes on without it.
    """
    if meta is None:
        return
    if asked is not None and not sampler(asked).transfers:
        raise UserError(f"--meta is for the sampler {WITH!r}, not for {asked!r}; leave one of them out")
    if not (meta / past.MODEL).is_file():
        raise UserError(f"no model in {str(meta)!r}: {past.MODEL} is missing; name a folder that `meta fit` wrote")


def chosen(
    asked: str | None,
    meta: Path | None,
    *,
    space: Space,
    task: Task,
    backbone: "Backbone",
    say: Callable[[str], None],
) -> Chosen:
    """The sampler that was asked for; if none was, ``meta`` where the records fit, else ``tpe``.

    Args:
        asked: a sampler's name, or None.
        meta: the folder of a fitted model, or None for the one that ships.
        space, task, backbone: of the search.
        say: is told, in one line, what the search begins with; or why with nothing, where that was asked for.
    """
    if asked is not None and not sampler(asked).transfers:
        return Chosen(asked)
    wanted = asked is not None or meta is not None
    if not wanted and past.bundled() is None:
        return Chosen(WITHOUT)
    try:
        features, model = looked_at(meta, space=space, task=task, backbone=backbone, elsewhere=wanted, say=say)
    except (NoTransfer, UserError) as reason:
        if wanted:
            say(f"nothing is known from other tasks, so the sampler is {WITHOUT}: {one_line(reason)}")
        return Chosen(WITHOUT)
    say(f"sampler {WITH}, learned from {len(model.tasks)} other tasks")
    return Chosen(WITH, features, meta and meta.absolute())


def looked_at(
    meta: Path | None,
    *,
    space: Space,
    task: Task,
    backbone: "Backbone",
    elsewhere: bool,
    say: Callable[[str], None],
) -> "tuple[dict[str, float], Model]":
    """A task's features, and the model that has something to say of it. Cheap things are looked at first.

    ``elsewhere``: also where the records are of other backbones, which is then said.

    Raises:
        NoTransfer: the past says nothing of this space, backbone or task.
        UserError: a file is broken.
    """
    folder = located(meta)
    found = past.read(folder)
    if found is not None:
        found.check(space.methods)
        try:
            found.check((), backbone_sha256=backbone.sha256)
        except NoTransfer as reason:
            if not elsewhere:
                raise
            say(f"{reason}; what they say of {backbone.name!r} is a guess")
    features = features_of(task, backbone)
    return features, fitted(Scene(space, features, folder))


def located(meta: Path | None) -> Path:
    """The folder of the model that was named, or of the one that ships.

    Raises:
        NoTransfer: there is none.
    """
    folder = meta or past.bundled()
    if folder is None:
        raise NoTransfer("no fitted meta-learner was named with --meta, and none ships with this version")
    return folder


def features_of(task: Task, backbone: "Backbone") -> dict[str, float]:
    """A task's features on a backbone.

    Raises:
        NoTransfer: they cannot be computed.
    """
    try:
        return known(task, backbone)[0]
    except (ValueError, ArithmeticError) as error:
        raise NoTransfer(f"the task's features cannot be computed: {one_line(error)}") from error


def fitted(scene: Scene) -> "Model":
    """The fitted meta-learner of a scene, if it has something to say of its space and task.

    Raises:
        NoTransfer: there is none, or it does not fit.
        UserError: its files are broken, or of another version.
    """
    from autodelta.meta.compositions import layout

    folder = located(scene.model).absolute()
    found, recorded = _loaded(folder, scene.sha256 or sha256(folder))  # it may have been fitted anew since
    if recorded is not None:
        recorded.check(scene.space.methods)
    found.on(scene.features, layout())
    return found


def lost(scene: Scene) -> str | None:
    """Why a search that was begun with the model can go on only without it; None if it can."""
    try:
        fitted(scene)
    except (NoTransfer, UserError) as reason:
        return f"nothing is known from other tasks any more, so the sampler is {WITHOUT}: {one_line(reason)}"
    return None


@cache
def _loaded(folder: Path, expected: str) -> "tuple[Model, past.Past | None]":
    from autodelta.meta.saved import load

    check(folder, expected)
    return load(folder), past.read(folder)
