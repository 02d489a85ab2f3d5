"""A trained model on disk: a folder with ``meta.safetensors`` and ``meta.json``, both of one version and one fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autodelta.errors import UserError, first_problem, one_line
from autodelta.files import write_json, write_whole
from autodelta.frozen import Frozen
from autodelta.meta.inputs import Inputs, Scale
from autodelta.meta.level import Levels
from autodelta.meta.model import Found, Model
from autodelta.meta.network import Network, Sizes
from autodelta.meta.plain import Plain
from autodelta.meta.problem import Configurations, Layout
from autodelta.meta.training import Settings

VERSION = 3
WEIGHTS, ABOUT = "meta.safetensors", "meta.json"
FORMAT = "autodelta.meta"
SCALES = ("token", "setting", "feature", "cost")
PLAIN = ("spread", "settings", "units")
NETWORK = "network."


class _About(Frozen):
    """What the JSON file holds."""

    format: str
    version: int
    fingerprint: str  # of the weights' file, so that two fits never mix
    layout: dict[str, tuple[str, ...]]
    settings: Settings
    sizes: Sizes
    found: Found
    tasks: tuple[str, ...]
    portfolio: tuple[str, ...]


def save(model: Model, folder: Path) -> None:
    """Writes a model; the folder is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {NETWORK + name: value for name, value in model.network.state_dict().items()}
    for name in SCALES:
        scale: Scale = getattr(model.inputs, name)
        arrays |= {f"{name}.mean": torch.from_numpy(scale.mean), f"{name}.sd": torch.from_numpy(scale.sd)}
    arrays |= {f"plain.{part}": torch.from_numpy(getattr(model.plain, part)) for part in PLAIN}
    arrays["plain.noise"] = torch.tensor(model.plain.noise, dtype=torch.float64)
    arrays |= {f"levels.{part}": torch.from_numpy(value) for part, value in model.levels._asdict().items()}
    for part in ("tokens", "present", "settings"):
        arrays[f"portfolio.{part}"] = torch.from_numpy(getattr(model.portfolio, part).astype(np.float64))
    arrays = {name: value.contiguous() for name, value in arrays.items()}
    fingerprint = str(sum(float(value.double().nan_to_num().abs().sum()) for value in arrays.values()))
    about = _About(
        format=FORMAT,
        version=VERSION,
        fingerprint=fingerprint,
        layout=vars(model.layout),
        settings=model.settings,
        sizes=model.network.sizes,
        found=model.found,
        tasks=model.tasks,
        portfolio=model.portfolio.keys,
    )
    known = {"format": FORMAT, "version": str(VERSION), "fingerprint": fingerprint}
    write_whole(folder / WEIGHTS, lambda path: save_file(arrays, path, metadata=known))
    write_json(folder / ABOUT, about.model_dump(mode="json"))


def load(folder: Path) -> Model:
    """The model in a folder.

    Raises:
        UserError: there is none, or a file is broken, of another kind or version, or of another fit.
    """
    about = _about(folder / ABOUT)
    path = folder / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: no readable weights: {one_line(error)}") from error
    if known.get("fingerprint") != about.fingerprint:
        raise UserError(f"{path}: not of the same fit as {ABOUT} beside it; fit the model again")
    try:
        return _model(about, arrays)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: weights are missing or of another shape: {one_line(error)}") from error


def _about(path: Path) -> _About:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"no model in {str(path.parent)!r}: {error.strerror or error}: {path.name}") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON: {one_line(error)}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"{path}: no model of autodelta (its format is not {FORMAT!r})")
    if data.get("version") != VERSION:
        raise UserError(f"{path}: a model of version {data.get('version')!r}; this version reads {VERSION}")
    try:
        return _About.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from error


def _model(about: _About, arrays: dict[str, torch.Tensor]) -> Model:
    network = Network(about.sizes)
    weights = {name.removeprefix(NETWORK): value for name, value in arrays.items() if name.startswith(NETWORK)}
    network.load_state_dict(weights)
    layout = Layout(**about.layout)
    found = {name: value.numpy() for name, value in arrays.items() if not name.startswith(NETWORK)}
    scales = {name: Scale(found[f"{name}.mean"], found[f"{name}.sd"]) for name in SCALES}
    portfolio = Configurations(
        about.portfolio, found["portfolio.tokens"], found["portfolio.present"] > 0, found["portfolio.settings"]
    )
    return Model(
        layout=layout,
        settings=about.settings,
        inputs=Inputs(layout, **scales),
        network=network.eval().requires_grad_(False),
        levels=Levels(*(found[f"levels.{part}"] for part in Levels._fields)),
        plain=Plain(layout, **{part: found[f"plain.{part}"] for part in PLAIN}, noise=float(found["plain.noise"])),
        portfolio=portfolio,
        found=about.found,
        tasks=about.tasks,
    )
