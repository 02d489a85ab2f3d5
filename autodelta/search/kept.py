"""The fitted meta-learner that a run uses, kept in the run's folder: whoever takes the run up asks the same one."""

import hashlib
from pathlib import Path

from autodelta.errors import UserError
from autodelta.files import write_whole
from autodelta.search.samplers import Scene, sampler
from autodelta.search.settings import Settings
from autodelta.space import Space

FOLDER = "meta"  # inside the run's
FILES = ("meta.json", "meta.safetensors", "past.json")  # of a model; its records stay where they are


def keep(settings: Settings, run: Path) -> Settings:
    """Copies the model that a search is to use into its run's folder; what the search is told from then on.

    Raises:
        OSError: it cannot be read or written.
    """
    from autodelta.meta.past import bundled

    source = settings.meta or bundled()
    if source is None or not sampler(settings.sampler).transfers:
        return settings
    found = {name: (source / name).read_bytes() for name in FILES if (source / name).is_file()}
    (run / FOLDER).mkdir()
    for name, content in found.items():
        write_whole(run / FOLDER / name, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]
    return settings.model_copy(update={"meta": Path(FOLDER), "meta_sha256": sha256(run / FOLDER)})


def still(settings: Settings, before: Settings) -> Settings:
    """What a run is told that goes on: others as they may be, it keeps its model and what that knows of the task."""
    kept = {"meta": before.meta, "meta_sha256": before.meta_sha256, "features": before.features}
    return settings.model_copy(update=kept)


def scene(settings: Settings, space: Space, run: Path) -> Scene:
    """What the sampler of a run may know beside the trials."""
    model = settings.meta and run.absolute() / settings.meta
    return Scene(space, settings.features, model, settings.meta_sha256)


def check(folder: Path, expected: str | None) -> None:
    """Raises UserError where a model is not the one that its run began with; nothing is expected of one without run."""
    if expected is not None and sha256(folder) != expected:
        raise UserError(f"the model in {folder} is not the one that the search began with")


def sha256(folder: Path) -> str:
    """The hash of a model's files and their names."""
    digest = hashlib.sha256()
    for name in FILES:
        path = folder / name
        if path.is_file():
            digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
