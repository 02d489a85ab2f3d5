"""AutoDelta finds, for a task, a T5 and a budget, the best composition of delta-tuning methods.

>>> import autodelta
>>> run = autodelta.search(task="demo/entailment", budget="3min")  # doctest: +SKIP
>>> run.leaderboard()  # doctest: +SKIP
>>> recipe = autodelta.Recipe.load("recipe")  # doctest: +SKIP

Importing the package loads neither torch nor ray: what needs them is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autodelta import backbones as backbones
    from autodelta import deltas as deltas
    from autodelta import tasks as tasks
    from autodelta.candidate import Candidate as Candidate
    from autodelta.candidate import Delta as Delta
    from autodelta.candidate import Training as Training
    from autodelta.errors import UserError as UserError
    from autodelta.recipe import Recipe as Recipe
    from autodelta.recipe.export import export as export
    from autodelta.recipe.peft import export_peft as export_peft
    from autodelta.search import Run as Run
    from autodelta.search import open_run as open_run
    from autodelta.search import resume as resume
    from autodelta.search import search as search
    from autodelta.search.samplers import Scene as Scene
    from autodelta.search.samplers.meta import MetaSampler as MetaSampler
    from autodelta.search.transfer import features_of as features_of
    from autodelta.space import Space as Space
    from autodelta.studies.sizes import SizeStudy as SizeStudy
    from autodelta.studies.sizes import open_sizes as open_sizes
    from autodelta.studies.sizes import resume_sizes as resume_sizes
    from autodelta.studies.sizes import search_sizes as search_sizes

__version__ = "0.1.0"

_HOME = {
    "Candidate": "candidate",
    "Delta": "candidate",
    "MetaSampler": "search.samplers.meta",
    "Recipe": "recipe",
    "Run": "search",
    "Scene": "search.samplers",
    "SizeStudy": "studies.sizes",
    "Space": "space",
    "Training": "candidate",
    "UserError": "errors",
    "export": "recipe.export",
    "export_peft": "recipe.peft",
    "features_of": "search.transfer",
    "open_run": "search",
    "open_sizes": "studies.sizes",
    "resume": "search",
    "resume_sizes": "studies.sizes",
    "search": "search",
    "search_sizes": "studies.sizes",
}
_SUBMODULES = ("backbones", "deltas", "engine", "tasks")

__all__ = [*sorted(_HOME), *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"autodelta.{_HOME[name]}"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"autodelta.{name}")
    raise AttributeError(f"module 'autodelta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
